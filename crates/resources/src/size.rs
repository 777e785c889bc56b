use std::fmt;

/// Bytes of a kilobyte, as disks and downloads are labelled.
const STEP: f64 = 1000.0;
const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];

/// A number of bytes as a person reads it: `98.4 MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut value, mut unit) = (self.0 as f64, 0);
        while value >= STEP && unit + 1 < UNITS.len() {
            value /= STEP;
            unit += 1;
        }
        // A tenth of a gigabyte is too coarse to see whether something fits.
        match unit {
            0 => write!(f, "{} {}", self.0, UNITS[0]),
            1 | 2 => write!(f, "{value:.1} {}", UNITS[unit]),
            _ => write!(f, "{value:.2} {}", UNITS[unit]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (98_362_432, "98.4 MB"),
            (4_661_211_808, "4.66 GB"),
            (u64::MAX, "18446.74 PB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
