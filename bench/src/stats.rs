//! The arithmetic: medians and quantiles.
//!
//! Nothing here knows what is measured. An empty or unusable sample has no median, rather than a zero that looks like a result.

/// Middle and ends of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Median.
    pub median: f64,
    /// Smallest.
    pub low: f64,
    /// Largest.
    pub high: f64,
}

impl Spread {
    /// Of all values that are finite; `None` where there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let sorted = sorted(values);
        Some(Self {
            median: middle(&sorted)?,
            low: *sorted.first()?,
            high: *sorted.last()?,
        })
    }
}

/// The median; of an even number the mean of the middle two. Values that are not finite are left out.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    middle(&sorted(values))
}

/// The smallest value such that at least `percent` % of the sample are not larger (nearest rank). Sorts the sample.
pub fn percentile(sample: &mut [u64], percent: u32) -> Option<u64> {
    sample.sort_unstable();
    let rank = (sample.len() as u64 * u64::from(percent.min(100))).div_ceil(100).max(1);
    sample.get(usize::try_from(rank).ok()? - 1).copied()
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[half]),
        _ => Some(f64::midpoint(sorted[half - 1], sorted[half])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_no_samples() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median([7.0]), Some(7.0));
        assert_eq!(median([]), None);
        assert_eq!(median([f64::NAN, f64::INFINITY, 5.0]), Some(5.0));
    }

    #[test]
    fn a_spread_has_its_ends() {
        let spread = Spread::of([0.9, 0.7, 0.8]).unwrap();
        assert_eq!((spread.median, spread.low, spread.high), (0.8, 0.7, 0.9));
        assert_eq!(Spread::of([f64::NAN]), None);
    }

    #[test]
    fn percentiles_by_nearest_rank() {
        let mut hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(percentile(&mut hundred, 50), Some(50));
        assert_eq!(percentile(&mut hundred, 99), Some(99));
        assert_eq!(percentile(&mut hundred, 100), Some(100));
        assert_eq!(percentile(&mut hundred, 0), Some(1));
        assert_eq!(percentile(&mut [5, 1], 50), Some(1));
        assert_eq!(percentile(&mut [5, 1], 99), Some(5));
        assert_eq!(percentile(&mut [], 50), None);
    }
}
