//! Quantiles of a histogram: what is known of latencies that were counted into buckets.

/// A histogram with cumulative buckets, as in the `OpenMetrics` text format.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Buckets {
    /// Upper bound of each bucket, inclusive, and how many values are at most that; ascending, the last bound is
    /// infinite.
    counts: Vec<(f64, f64)>,
}

impl Buckets {
    /// Adds to the bucket of this upper bound.
    pub(crate) fn add(&mut self, bound: f64, count: f64) {
        match self.counts.iter().position(|&(other, _)| other >= bound) {
            Some(at) if self.counts[at].0.total_cmp(&bound).is_eq() => self.counts[at].1 += count,
            Some(at) => self.counts.insert(at, (bound, count)),
            None => self.counts.push((bound, count)),
        }
    }

    /// How many values were counted.
    pub(crate) fn total(&self) -> f64 {
        self.counts.last().map_or(0.0, |&(_, count)| count)
    }

    /// What was counted since `earlier`. A count that fell means that the server began anew: then all of it was.
    #[must_use]
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |bound: f64| {
            earlier.counts.iter().find(|(other, _)| other.total_cmp(&bound).is_eq()).map_or(0.0, |&(_, n)| n)
        };
        let fell = self.counts.iter().any(|&(bound, count)| count < before(bound));
        if fell || self.total() < earlier.total() {
            return self.clone();
        }
        Self { counts: self.counts.iter().map(|&(bound, count)| (bound, count - before(bound))).collect() }
    }

    /// The value that a share `q` (0 to 1) of all values does not exceed; `None` without values. Within a bucket
    /// values are taken to be spread evenly, the lowest bucket begins at 0, and what lies above the highest finite
    /// bound is answered with that bound: as Prometheus' `histogram_quantile` does
    /// (<https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile>).
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let rank = q * self.total();
        if self.total() <= 0.0 {
            return None;
        }
        let at = self.counts.iter().position(|&(_, count)| count >= rank)?;
        let (low, below) = if at == 0 { (0.0, 0.0) } else { self.counts[at - 1] };
        let (high, reached) = self.counts[at];
        if high.is_infinite() {
            return Some(low);
        }
        let within = reached - below;
        Some(if within <= 0.0 { low } else { low + (high - low) * (rank - below) / within })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: &[(f64, f64)]) -> Buckets {
        let mut buckets = Buckets::default();
        for &(bound, count) in counts.iter().rev() {
            buckets.add(bound, count);
        }
        buckets
    }

    #[test]
    fn quantiles_as_prometheus_has_them() {
        let inf = f64::INFINITY;
        let even = buckets(&[(1.0, 10.0), (2.0, 20.0), (4.0, 40.0), (inf, 40.0)]);
        let beyond = buckets(&[(1.0, 1.0), (2.0, 2.0), (inf, 10.0)]);
        let gap = buckets(&[(1.0, 0.0), (2.0, 0.0), (4.0, 8.0), (inf, 8.0)]);
        for (histogram, q, expected) in [
            (&even, 0.125, Some(0.5)),
            (&even, 0.25, Some(1.0)),
            (&even, 0.5, Some(2.0)),
            (&even, 0.75, Some(3.0)),
            (&even, 1.0, Some(4.0)),
            (&beyond, 0.15, Some(1.5)),
            (&beyond, 0.99, Some(2.0)),
            (&gap, 0.5, Some(3.0)),
            (&buckets(&[(inf, 3.0)]), 0.5, Some(0.0)),
            (&buckets(&[(1.0, 0.0), (inf, 0.0)]), 0.5, None),
            (&Buckets::default(), 0.5, None),
        ] {
            assert_eq!(histogram.quantile(q), expected, "{q} of {histogram:?}");
        }
    }

    #[test]
    fn a_window_is_a_difference_and_a_restart_is_not() {
        let earlier = buckets(&[(1.0, 4.0), (2.0, 6.0)]);
        let later = buckets(&[(1.0, 5.0), (2.0, 9.0)]);
        assert_eq!(later.since(&earlier), buckets(&[(1.0, 1.0), (2.0, 3.0)]));
        assert_eq!(earlier.since(&later), earlier);
        assert_eq!(later.since(&Buckets::default()), later);
    }

    #[test]
    fn buckets_of_two_models_add_up() {
        let mut both = buckets(&[(1.0, 1.0), (2.0, 2.0)]);
        both.add(1.0, 3.0);
        both.add(2.0, 3.0);
        assert_eq!(both, buckets(&[(1.0, 4.0), (2.0, 5.0)]));
    }
}
