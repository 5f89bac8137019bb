//! A fast 64-bit hash that never changes, for the recognition of redeliveries.
//!
//! It stands in the store beside packet id and session, so it need not withstand an adversary,
//! but must be the same after an upgrade: that rules out hashers whose output is unspecified.

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

/// Hashes topic and payload; where one ends and the other begins counts.
pub(super) fn content(topic: &[u8], payload: &[u8]) -> u64 {
    absorb(absorb(SEED, topic), payload)
}

/// Eight bytes a step by a folded multiplication, as wyhash and foldhash do.
fn absorb(mut state: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("chunks of eight"));
        state = fold(state ^ word, FACTOR);
    }
    let mut last = [0; 8];
    let rest = words.remainder();
    last[..rest.len()].copy_from_slice(rest);
    state = fold(state ^ u64::from_le_bytes(last), FACTOR);
    fold(state ^ bytes.len() as u64, SEED)
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::content;

    #[test]
    fn tells_contents_apart_and_stays_as_it_is() {
        assert_ne!(content(b"a", b"bc"), content(b"ab", b"c"));
        assert_ne!(content(b"t", b"12345678"), content(b"t", b"12345678\0"));
        assert_ne!(content(b"t", b""), content(b"t", b"\0"));
        assert_eq!(content(b"shelly/status/pm1:0", b"{\"apower\":12.5}"), PINNED);
    }

    /// Recorded when the hash was first used; marks in stores depend on it.
    const PINNED: u64 = 1_431_217_542_364_811_431;
}
