//! Ids of requests.

use types::RequestId;

/// A new id: 128 random bits, so that it is unique over all machines and tells nothing about other requests.
#[allow(clippy::expect_used)]
pub(crate) fn random() -> RequestId {
    let mut bytes = [0; 16];
    // The kernel's generator cannot fail once the machine has booted; without it there could be no keys either.
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    RequestId(u128::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_differ() {
        assert_ne!(super::random(), super::random());
    }
}
