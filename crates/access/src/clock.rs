use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const DAY_S: u64 = 86_400;

/// Days since 1970, UTC.
pub(crate) fn today() -> u64 {
    now_s() / DAY_S
}

/// Seconds since 1970. A clock that is set before that gives 0.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
