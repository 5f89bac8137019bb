//! How often an address may ask, and how long one that guesses tokens has to wait.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// Wrong tokens that cost nothing: a person mistypes.
const FREE: u32 = 5;
/// The longest wait; each wrong token beyond the free ones doubles it.
const LONGEST: Duration = Duration::from_secs(300);
/// After this long without a wrong token everything is forgotten.
const FORGET: Duration = Duration::from_secs(3600);
/// Addresses that are remembered.
const ADDRESSES: usize = 4096;

type Limiter = RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>;

/// What is known of addresses.
pub(super) struct Floods {
    limiter: RwLock<(NonZeroU32, Arc<Limiter>)>,
    guesses: Mutex<HashMap<IpAddr, Guesses>>,
}

#[derive(Clone, Copy)]
struct Guesses {
    wrong: u32,
    last: Instant,
}

impl Guesses {
    fn wait(&self) -> Duration {
        match self.wrong.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(more) => Duration::from_secs(1 << more.min(16)).min(LONGEST),
        }
    }
}

fn limiter(rate: NonZeroU32) -> Arc<Limiter> {
    Arc::new(RateLimiter::hashmap(Quota::per_second(rate)))
}

/// Who counts as one: an address, and with IPv6 the network that a provider gives to one
/// customer.
fn one(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address => address,
    }
}

impl Floods {
    pub(super) fn new(rate: NonZeroU32) -> Self {
        Self { limiter: RwLock::new((rate, limiter(rate))), guesses: Mutex::default() }
    }

    /// Lets a request through, or tells how long to wait.
    pub(super) fn admit(
        &self,
        address: IpAddr,
        rate: NonZeroU32,
        now: Instant,
    ) -> Result<(), Duration> {
        let address = one(address);
        {
            let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = guesses.get(&address) {
                let since = now.saturating_duration_since(known.last);
                if since < known.wait() {
                    return Err(known.wait() - since);
                }
                if since > FORGET {
                    guesses.remove(&address);
                }
            }
        }
        let limiter = self.limiter(rate);
        if limiter.len() > ADDRESSES {
            limiter.retain_recent();
        }
        limiter
            .check_key(&address)
            .map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }

    /// A wrong token came from here.
    pub(super) fn guessed(&self, address: IpAddr, now: Instant) {
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let address = one(address);
        if guesses.len() >= ADDRESSES && !guesses.contains_key(&address) {
            // The one that has been quiet for longest makes room.
            let oldest = guesses.iter().min_by_key(|(_, known)| known.last).map(|(a, _)| *a);
            oldest.map(|oldest| guesses.remove(&oldest));
        }
        let known = guesses.entry(address).or_insert(Guesses { wrong: 0, last: now });
        known.wrong = known.wrong.saturating_add(1);
        known.last = now;
    }

    /// The limiter of this rate; another rate starts afresh.
    fn limiter(&self, rate: NonZeroU32) -> Arc<Limiter> {
        {
            let current = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
            if current.0 == rate {
                return current.1.clone();
            }
        }
        let mut current = self.limiter.write().unwrap_or_else(PoisonError::into_inner);
        *current = (rate, limiter(rate));
        current.1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: NonZeroU32 = NonZeroU32::MAX;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_wrong_token_beyond_the_first_few_doubles_the_wait() {
        let floods = Floods::new(MANY);
        let (guesser, other) = (address("10.0.0.7"), address("10.0.0.8"));
        let start = Instant::now();
        for _ in 0..FREE - 1 {
            floods.guessed(guesser, start);
            assert_eq!(floods.admit(guesser, MANY, start), Ok(()));
        }
        let mut now = start;
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            floods.guessed(guesser, now);
            let wait = Duration::from_secs(seconds);
            assert_eq!(floods.admit(guesser, MANY, now), Err(wait));
            assert_eq!(floods.admit(other, MANY, now), Ok(()));
            now += wait;
            assert_eq!(floods.admit(guesser, MANY, now), Ok(()));
        }
        now += FORGET + Duration::from_secs(1);
        assert_eq!(floods.admit(guesser, MANY, now), Ok(()));
        floods.guessed(guesser, now);
        assert_eq!(floods.admit(guesser, MANY, now), Ok(()));
    }

    #[test]
    fn a_flood_of_addresses_is_not_remembered_without_end() {
        let floods = Floods::new(MANY);
        let now = Instant::now();
        for n in 0..2 * ADDRESSES as u32 {
            floods.guessed(IpAddr::V4(n.into()), now);
        }
        assert_eq!(floods.guesses.lock().unwrap().len(), ADDRESSES);
    }

    #[test]
    fn an_address_asks_as_often_as_the_limit_says() {
        let rate = NonZeroU32::new(3).unwrap();
        let floods = Floods::new(rate);
        let now = Instant::now();
        let (one, neighbour) = (address("2001:db8::1"), address("2001:db8::2"));
        let admitted = (0..10).filter(|_| floods.admit(one, rate, now).is_ok()).count();
        assert!((3..10).contains(&admitted), "{admitted}");
        assert!(floods.admit(neighbour, rate, now).is_err(), "one customer's network is one");
        assert!(floods.admit(address("2001:db8:1::1"), rate, now).is_ok());
        assert!(floods.admit(one, MANY, now).is_ok(), "a new limit acts at once");
    }
}
