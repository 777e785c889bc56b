//! Keeps what was decided, so that a stranger can check it.
#![forbid(unsafe_code)]

pub mod log;
