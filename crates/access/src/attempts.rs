//! How often somebody may be wrong about who they are, from one place.
//!
//! Whoever shows what is right is let in all the same: a limit that locked them out would be a weapon against them, and what they show
//! cannot be guessed. It is the guesses that are not answered any more.

use std::net::{IpAddr, Ipv6Addr};

use types::Instant;

use crate::{AccessError, rates::Rates};

/// Wrong credentials that are answered from one place, in a minute.
const WRONG_PER_MINUTE: u64 = 120;
/// Who holds an address of version 6 holds, as a rule, all with the same first half.
const PREFIX_V6: u128 = !(u64::MAX as u128);

/// Wrong credentials, by the place that they came from.
pub(crate) struct Attempts(Rates<IpAddr>);

impl Default for Attempts {
    fn default() -> Self {
        Self(Rates::new(WRONG_PER_MINUTE))
    }
}

impl Attempts {
    /// What is said to somebody at this address whose credential is wrong. At the local socket nobody guesses.
    pub(crate) fn wrong(&self, address: Option<IpAddr>, now: Instant) -> AccessError {
        match address.map(|address| self.0.take(place(address), now)) {
            Some(Err(retry_after)) => AccessError::TooManyAttempts { retry_after },
            Some(Ok(())) | None => AccessError::Unauthenticated,
        }
    }
}

fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & PREFIX_V6)),
        IpAddr::V4(address) => IpAddr::V4(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_from_one_place_are_answered_only_so_often() {
        let attempts = Attempts::default();
        let wrong = |address: &str, seconds: u64| {
            let now = Instant { nanos: seconds * 1_000_000_000 };
            matches!(attempts.wrong(address.parse().ok(), now), AccessError::Unauthenticated)
        };
        let answered = (0..1_000).filter(|_| wrong("192.0.2.1", 0)).count();
        assert_eq!(answered, 120);
        assert!(wrong("192.0.2.2", 0), "another place");
        assert_eq!((0..1_000).filter(|_| wrong("192.0.2.1", 1)).count(), 2, "two come back in a second");
        let by_neighbours = (0..1_000).filter(|host| wrong(&format!("2001:db8::{host:x}"), 0)).count();
        assert_eq!(by_neighbours, 120, "one network");
        assert!((0..1_000).all(|_| wrong("", 0)), "the local socket");
    }
}
