//! How often somebody may be wrong about who they are, from one place.
//!
//! Whoever shows what is right is let in all the same: a limit that locked them out would be a weapon against them, and what they show
//! cannot be guessed. It is the guesses that are not answered any more.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use types::Instant;

use crate::{
    AccessError,
    bucket::{Bucket, UNIT},
    quota::MINUTE,
};

/// Wrong credentials that are answered from one place, in a minute.
const WRONG_PER_MINUTE: u64 = 120;
/// Most places that are remembered.
const PLACES_MAX: usize = 10_000;
/// Who holds an address of version 6 holds, as a rule, all with the same first half.
const PREFIX_V6: u128 = !(u64::MAX as u128);

/// Wrong credentials, by the place that they came from.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<HashMap<IpAddr, Bucket>>);

impl Attempts {
    /// What is said to somebody at this address whose credential is wrong. At the local socket nobody guesses.
    pub(crate) fn wrong(&self, address: Option<IpAddr>, now: Instant) -> AccessError {
        let Some(address) = address else { return AccessError::Unauthenticated };
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= PLACES_MAX {
            places.retain(|_, bucket| {
                bucket.fill(now);
                !bucket.is_full()
            });
            if places.len() >= PLACES_MAX {
                places.clear();
            }
        }
        let bucket =
            places.entry(place(address)).or_insert_with(|| Bucket::new(WRONG_PER_MINUTE, MINUTE, now));
        bucket.fill(now);
        match bucket.wait(UNIT) {
            Some(Duration::ZERO) => {
                bucket.take(UNIT);
                AccessError::Unauthenticated
            }
            wait => AccessError::TooManyAttempts { retry_after: wait.unwrap_or(MINUTE) },
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

    #[test]
    fn only_so_many_places_are_remembered() {
        let attempts = Attempts::default();
        for place in 0..u32::try_from(PLACES_MAX).unwrap() + 5 {
            attempts.wrong(Some(IpAddr::V4(place.into())), Instant { nanos: 0 });
        }
        assert!(attempts.0.lock().unwrap().len() <= PLACES_MAX);
    }
}
