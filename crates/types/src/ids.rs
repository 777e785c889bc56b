use std::{fmt, str::FromStr};

use crate::OutOfRange;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id! {
    /// An organisation, or a part of one, whose data is walled off from all others.
    TenantId
}
number_id! {
    /// A person or a service account of one tenant.
    UserId
}
number_id! {
    /// One generation in an engine: the process of this operating system. `llmos kill` takes it.
    SequenceId
}

/// One request, unique over all machines. Printed as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub u128);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What callers call a model: its configured name or one of its aliases.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelName(String);

impl ModelName {
    /// Longest name accepted, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ModelName {
    type Err = OutOfRange;

    /// Accepts 1 to 128 bytes of letters, digits and `-_.:/@+`: safe in logs, labels and URLs.
    fn from_str(name: &str) -> Result<Self, OutOfRange> {
        let allowed = "1 to 128 characters out of letters, digits and -_.:/@+";
        if name.is_empty() || name.len() > Self::BYTES_MAX {
            return Err(OutOfRange::new("model", format!("{} bytes long", name.len()), allowed));
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/@+".contains(&b)) {
            return Err(OutOfRange::new("model", "a name with other characters", allowed));
        }
        Ok(Self(name.to_owned()))
    }
}

/// A machine that models run on, as it calls itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(String);

impl NodeName {
    /// Longest name accepted, in bytes: the longest of a host in Linux.
    pub const BYTES_MAX: usize = 64;

    /// The name of a host, whatever it is: what is not accepted in it becomes `-`, and one without a name is `localhost`.
    #[must_use]
    pub fn of_host(name: &str) -> Self {
        let or_dash = |letter: char| if is_of_host(letter) { letter } else { '-' };
        let name: String = name.chars().take(Self::BYTES_MAX).map(or_dash).collect();
        Self(if name.is_empty() { "localhost".to_owned() } else { name })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_of_host(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-_.".contains(letter)
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for NodeName {
    type Err = OutOfRange;

    /// Accepts 1 to 64 bytes of letters, digits and `-_.`: what hosts are called.
    fn from_str(name: &str) -> Result<Self, OutOfRange> {
        if !(1..=Self::BYTES_MAX).contains(&name.len()) || !name.chars().all(is_of_host) {
            let allowed = "1 to 64 characters out of letters, digits and -_.";
            return Err(OutOfRange::new("node", format!("a name of {} bytes", name.len()), allowed));
        }
        Ok(Self(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_and_nodes_are_checked() {
        for good in ["smollm2", "Qwen/Qwen3-8B@q4", "a.b:c+d_e"] {
            assert_eq!(good.parse::<ModelName>().unwrap().as_str(), good);
        }
        for bad in ["", "two words", "new\nline", "\"quoted\"", "ümlaut", &"x".repeat(129)] {
            assert!(bad.parse::<ModelName>().is_err(), "{bad:?}");
        }
        for good in ["gpu-1", "llm.example.org", "ward_3"] {
            assert_eq!(good.parse::<NodeName>().unwrap().as_str(), good);
        }
        for bad in ["", "two words", "a/b", "ümlaut", &"x".repeat(65)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
            assert!(NodeName::of_host(bad).as_str().parse::<NodeName>().is_ok(), "{bad:?}");
        }
    }
}
