//! Distributions in fixed buckets. Observing costs a look through a dozen numbers and two
//! atomic additions, so it may stand where every message passes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of buckets, and what one unit of them is in the base unit of the metric.
#[derive(Debug, PartialEq, Eq)]
struct Scale {
    bounds: &'static [u64],
    units_per_base: u64,
}

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// A module's call, a write to the disk: 10 µs to 10 s.
static WORK: Scale = Scale {
    bounds: &[
        10 * US,
        50 * US,
        100 * US,
        500 * US,
        MS,
        5 * MS,
        10 * MS,
        50 * MS,
        100 * MS,
        500 * MS,
        S,
        10 * S,
    ],
    units_per_base: S,
};

/// How far behind something is: 1 ms to a day.
static LAG: Scale = Scale {
    bounds: &[
        MS,
        5 * MS,
        10 * MS,
        50 * MS,
        100 * MS,
        500 * MS,
        S,
        2 * S,
        5 * S,
        10 * S,
        60 * S,
        600 * S,
        3_600 * S,
        86_400 * S,
    ],
    units_per_base: S,
};

/// A number of things that go together: 1 to 256.
static SIZE: Scale = Scale { bounds: &[1, 2, 4, 8, 16, 32, 64, 128, 256], units_per_base: 1 };

/// A distribution that is being counted.
#[derive(Debug)]
pub struct Histogram {
    scale: &'static Scale,
    /// One a bound, and one for what lies above them all.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A [`Histogram`] at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    scale: &'static Scale,
    buckets: Vec<u64>,
    sum: u64,
}

impl Histogram {
    /// Of durations of work.
    pub fn of_work() -> Self {
        Self::new(&WORK)
    }

    /// Of how far something lags behind.
    pub fn of_lags() -> Self {
        Self::new(&LAG)
    }

    /// Of numbers of things.
    pub fn of_sizes() -> Self {
        Self::new(&SIZE)
    }

    fn new(scale: &'static Scale) -> Self {
        let buckets = (0..=scale.bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { scale, buckets, sum: AtomicU64::new(0) }
    }

    pub fn took(&self, time: Duration) {
        self.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn lagged_ms(&self, ms: u64) {
        self.observe(ms.saturating_mul(MS));
    }

    pub fn size(&self, size: usize) {
        self.observe(size as u64);
    }

    fn observe(&self, value: u64) {
        let bounds = self.scale.bounds;
        let bucket = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            scale: self.scale,
            buckets: self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

impl Snapshot {
    /// How many were observed.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// In the base unit.
    #[allow(clippy::cast_precision_loss)] // what Prometheus reads is a float anyway
    pub fn sum(&self) -> f64 {
        self.sum as f64 / self.scale.units_per_base as f64
    }

    /// Of a distribution of times: all of them together.
    pub fn millis(&self) -> u64 {
        self.sum / MS
    }

    /// Upper bound in the base unit and how many lie in this bucket alone; the last bound is
    /// infinite.
    #[allow(clippy::cast_precision_loss)]
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let base = self.scale.units_per_base as f64;
        let bounds = self.scale.bounds.iter().map(|bound| *bound as f64 / base);
        bounds.chain([f64::INFINITY]).zip(self.buckets.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_the_first_bucket_that_it_does_not_exceed() {
        let sizes = Histogram::of_sizes();
        for size in [1, 2, 3, 256, 257] {
            sizes.size(size);
        }
        let seen = sizes.snapshot();
        let filled: Vec<_> = seen.buckets().into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(filled, [(1.0, 1), (2.0, 1), (4.0, 1), (256.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((seen.count(), seen.sum()), (5, 519.0));
    }

    #[test]
    fn times_are_told_in_seconds() {
        let lag = Histogram::of_lags();
        lag.lagged_ms(1500);
        lag.took(Duration::from_millis(500));
        assert_eq!(lag.snapshot().sum(), 2.0);
        assert!(lag.snapshot().buckets().contains(&(0.5, 1)));
    }

    #[test]
    fn what_no_bucket_holds_is_counted_all_the_same() {
        let lag = Histogram::of_lags();
        lag.lagged_ms(u64::MAX);
        assert_eq!(lag.snapshot().count(), 1);
    }
}
