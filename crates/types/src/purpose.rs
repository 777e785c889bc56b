use std::{fmt, str::FromStr, sync::Arc};

use crate::OutOfRange;

/// What somebody uses a model for: `treatment`, `billing`, `research`. The names are the installation's own. (HL7 and ISO 14265 call it
/// by the same name.)
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PurposeOfUse(Arc<str>);

impl PurposeOfUse {
    /// Longest name, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PurposeOfUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PurposeOfUse {
    type Err = OutOfRange;

    /// Accepts 1 to 64 bytes of small letters, digits and `-_.`, so that one purpose has one name.
    fn from_str(name: &str) -> Result<Self, OutOfRange> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > Self::BYTES_MAX || !name.bytes().all(plain) {
            let allowed = "1 to 64 characters out of small letters, digits and -_.";
            return Err(OutOfRange::new("purpose", "no name of a purpose", allowed));
        }
        Ok(Self(name.into()))
    }
}

/// The purposes that somebody is bound to, or that they are bound to none. Cheap to copy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Purposes(Option<Arc<[PurposeOfUse]>>);

impl Purposes {
    /// Most purposes that somebody can be bound to.
    pub const COUNT_MAX: usize = 32;

    /// Bound to none: any will do, also none that is stated.
    pub const fn any() -> Self {
        Self(None)
    }

    /// Bound to these; to none at all nothing is left.
    ///
    /// # Errors
    /// If there are more than [`Self::COUNT_MAX`].
    pub fn only(purposes: impl IntoIterator<Item = PurposeOfUse>) -> Result<Self, OutOfRange> {
        let mut purposes: Vec<PurposeOfUse> = purposes.into_iter().collect();
        purposes.sort_unstable();
        purposes.dedup();
        if purposes.len() > Self::COUNT_MAX {
            let allowed = format!("at most {}", Self::COUNT_MAX);
            return Err(OutOfRange::new("purposes", purposes.len(), allowed));
        }
        Ok(Self(Some(purposes.into())))
    }

    /// Those that somebody is bound to, in the order of their names; none if it is none.
    pub fn bound(&self) -> Option<&[PurposeOfUse]> {
        self.0.as_deref()
    }

    /// What is left for who is bound to these and to those.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            (None, _) => other.clone(),
            (_, None) => self.clone(),
            (Some(one), Some(two)) => Self(Some(one.iter().filter(|it| two.contains(it)).cloned().collect())),
        }
    }

    /// Whether all that these allow is allowed by those.
    pub fn is_within(&self, wide: &Self) -> bool {
        match (&self.0, &wide.0) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(narrow), Some(wide)) => narrow.iter().all(|purpose| wide.contains(purpose)),
        }
    }
}

impl fmt::Display for Purposes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bound() {
            None => f.write_str("any"),
            Some([]) => f.write_str("none"),
            Some([first, rest @ ..]) => {
                first.fmt(f)?;
                rest.iter().try_for_each(|purpose| write!(f, ", {purpose}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(names: &[&str]) -> Purposes {
        Purposes::only(names.iter().map(|name| name.parse().unwrap())).unwrap()
    }

    #[test]
    fn one_purpose_has_one_name() {
        for bad in ["", "Treatment", "two words", "ümlaut", "a\n", &"x".repeat(65)] {
            assert!(bad.parse::<PurposeOfUse>().is_err(), "{bad:?}");
        }
        assert_eq!("direct-care.v2".parse::<PurposeOfUse>().unwrap().as_str(), "direct-care.v2");
    }

    /// Two that have nothing in common leave nothing, which is not the same as being bound to none.
    #[test]
    fn what_is_left_is_never_more() {
        let (any, none) = (Purposes::any(), only(&[]));
        let (care, both) = (only(&["care"]), only(&["research", "care", "care"]));
        for (one, two, left) in [
            (&any, &any, &any),
            (&any, &care, &care),
            (&both, &care, &care),
            (&only(&["billing"]), &both, &none),
            (&none, &any, &none),
        ] {
            assert_eq!((&one.and(two), &two.and(one)), (left, left), "{one} and {two}");
            assert!(left.is_within(one) && left.is_within(two));
        }
        assert!(!any.is_within(&both) && !both.is_within(&care) && !care.is_within(&none));
        assert_eq!([any, none, both].map(|it| it.to_string()), ["any", "none", "care, research"]);
        assert!(Purposes::only((0..33).map(|i| format!("p{i}").parse().unwrap())).is_err());
    }
}
