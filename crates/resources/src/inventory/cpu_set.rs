use std::{fmt, iter::once, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Most logical CPUs of one machine: the largest number that Linux is built for.
pub const CPUS_MAX: u32 = 8_192;

/// A set of logical CPUs by number. Written as the kernel writes it: `0-3,8`.
///
/// Kept as ranges, ascending, with gaps between them: a file with a hundred thousand times `0-8191` takes no more
/// memory than its text.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuSet(Vec<Range>);

/// First and last.
type Range = (u32, u32);

/// Why a text is no set of CPUs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no list of CPUs; write numbers below {CPUS_MAX} and ranges, as in 0-3,8")]
pub struct CpuSetError(String);

impl CpuSet {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.iter().map(|&(first, last)| (last - first + 1) as usize).sum()
    }

    /// In ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|&(first, last)| first..=last)
    }

    /// Those that are in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(&&(a, b)), Some(&&(c, d))) = (ours.peek(), theirs.peek()) {
            if a.max(c) <= b.min(d) {
                both.push((a.max(c), b.min(d)));
            }
            // The one that ends first has nothing in common with what follows in the other.
            if b < d {
                ours.next()
            } else {
                theirs.next()
            };
        }
        Self(both)
    }

    /// Those that are in one of them.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied().collect())
    }

    /// Those that are not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let ends = other.0.iter().map(|&(_, last)| last + 1);
        let starts = other.0.iter().map(|&(first, _)| first);
        let gaps = once(0).chain(ends).zip(starts.chain(once(CPUS_MAX)));
        let gaps = gaps.filter(|(from, to)| from < to).map(|(from, to)| (from, to - 1));
        self.and(&Self(gaps.collect()))
    }

    /// Of ranges in any order, which may overlap or touch.
    fn of(mut ranges: Vec<Range>) -> Self {
        ranges.sort_unstable();
        let mut apart: Vec<Range> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match apart.last_mut() {
                Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
                _ => apart.push((first, last)),
            }
        }
        Self(apart)
    }
}

/// Numbers from [`CPUS_MAX`] on are left out.
impl FromIterator<u32> for CpuSet {
    fn from_iter<T: IntoIterator<Item = u32>>(cpus: T) -> Self {
        Self::of(cpus.into_iter().filter(|&cpu| cpu < CPUS_MAX).map(|cpu| (cpu, cpu)).collect())
    }
}

impl FromStr for CpuSet {
    type Err = CpuSetError;

    fn from_str(text: &str) -> Result<Self, CpuSetError> {
        let refused = || CpuSetError(text.chars().take(40).collect());
        let number = |text: &str| text.parse().ok().filter(|&cpu: &u32| cpu < CPUS_MAX);
        let mut ranges = Vec::new();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = number(first).zip(number(last)).ok_or_else(refused)?;
            if first > last {
                return Err(refused());
            }
            ranges.push((first, last));
        }
        Ok(Self::of(ranges))
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, &(first, last)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for CpuSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CpuSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written_as_the_kernel_does() {
        let cases = [
            ("0-3,8\n", Some("0-3,8")),
            ("", Some("")),
            ("5", Some("5")),
            ("0,1", Some("0-1")),
            ("3,1,2-4", Some("1-4")),
            ("8191", Some("8191")),
            ("8192", None),
            ("0-4294967295", None),
            ("3-1", None),
            ("-1", None),
            ("a", None),
        ];
        for (text, expected) in cases {
            let written = text.parse().ok().map(|cpus: CpuSet| cpus.to_string());
            assert_eq!(written.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn sets_are_joined_and_cut() {
        let set = |text: &str| text.parse::<CpuSet>().unwrap();
        // Two sets; both, either, the first without the second.
        let cases = [
            ("0-7", "2-3,6-9", "2-3,6-7", "0-9", "0-1,4-5"),
            ("1,3,5", "0-8191", "1,3,5", "0-8191", ""),
            ("0-8191", "0,8191", "0,8191", "0-8191", "1-8190"),
            ("0-1", "2-3", "", "0-3", "0-1"),
            ("", "4", "", "4", ""),
            ("4", "", "", "4", "4"),
        ];
        for (one, other, both, either, rest) in cases {
            let (one, other) = (set(one), set(other));
            let shown = [one.and(&other), one.or(&other), one.without(&other)].map(|cpus| cpus.to_string());
            assert_eq!(shown, [both, either, rest], "{one} and {other}");
            assert_eq!(one.iter().collect::<CpuSet>(), one);
            assert_eq!(one.iter().count(), one.len());
        }
    }
}
