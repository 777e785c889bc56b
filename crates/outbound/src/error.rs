use std::{net::IpAddr, path::PathBuf, time::Duration};

use crate::Place;

/// What to do when nothing answers.
const WITHOUT_A_NETWORK: &str = "check the name and that this machine has a network; proxies are not supported yet, \
                                 so behind one use a mirror in your own network";

/// Why there is no answer, or no more of it. No text contains a query string, a token, or what a server wrote.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// Not a network that may be named in the rules.
    #[error(
        "`{text}` is not a network that can be named: {why}; write it like 10.20.0.0/16 or fd12:3456::/32"
    )]
    BadNetwork {
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// Not a host that may stand on a list.
    #[error(
        "`{text}` is not a host: {why}; write it like models.example.org, or *.example.org for all below"
    )]
    BadHost {
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is a list of hosts that may be asked, and this one is not on it.
    #[error(
        "`{place}` is not fetched: its host is not one of those that models may come from; if you trust it, add it to \
         `outbound.hosts`"
    )]
    NotListed {
        /// The address (URL) that leads there.
        place: Place,
    },
    /// The file of additional certificates cannot be used.
    #[error(
        "cannot use the certificates in `{}`: {why}; name a file that holds the certificate of your own authority \
         in PEM (it begins with -----BEGIN CERTIFICATE-----)",
        .file.display()
    )]
    CaFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// This machine trusts no certificate at all.
    #[error(
        "this machine has no certificates to check servers by ({why}); install the package ca-certificates, or name \
         the certificates of your own authority"
    )]
    NoTrust {
        /// What the system says.
        why: String,
    },
    /// An address (URL) that is never fetched.
    #[error("`{place}` is not fetched: {why}")]
    BadUrl {
        /// The address.
        place: Place,
        /// What is wrong with it, and what to do.
        why: &'static str,
    },
    /// A request that cannot be written in HTTP.
    #[error("cannot ask for it: {what} contains characters that a header field cannot hold; correct it")]
    BadField {
        /// Which part of the request.
        what: &'static str,
    },
    /// The host is not on the internet, and not in a network that the operator named.
    #[error(
        "`{place}` is not fetched: its host is at {address}, which is {what}, not a public address; if that is a \
         mirror of your own, allow its network"
    )]
    NotPublic {
        /// The address (URL) that leads there.
        place: Place,
        /// The address of the host.
        address: IpAddr,
        /// What that is.
        what: &'static str,
    },
    /// Nothing answers there, or not in time.
    #[error("cannot reach `{place}`: {why}; {WITHOUT_A_NETWORK}")]
    Unreachable {
        /// Where we wanted to go.
        place: Place,
        /// What was tried, and what came of it.
        why: String,
    },
    /// Somebody answers, but cannot prove to be the host that was asked.
    #[error(
        "no secure connection to `{place}`: {why}; if the host is your own, name the certificate of its authority, \
         else check this machine's clock and who is between (nothing was sent)"
    )]
    Insecure {
        /// Where we wanted to go.
        place: Place,
        /// What is wrong.
        why: String,
    },
    /// Sent on once too often.
    #[error(
        "followed {} redirects, which is the most, and was sent on again ({}); ask for the address that they should \
         lead to",
        .hosts.len().saturating_sub(2), .hosts.join(" -> ")
    )]
    Redirects {
        /// The hosts that were asked, and the one that was not any more.
        hosts: Vec<String>,
    },
    /// Sent on to where we do not go.
    #[error("`{place}` redirects to somewhere that is not fetched: {why}")]
    BadRedirect {
        /// Who sends us on.
        place: Place,
        /// What is wrong, and with what.
        why: String,
    },
    /// The answer breaks the rules of HTTP, or has a shape that was not asked for.
    #[error(
        "`{place}` gives an answer that cannot be used: {why}; something other than a file server may answer there"
    )]
    BadAnswer {
        /// Who answers.
        place: Place,
        /// What is wrong.
        why: String,
    },
    /// A part of the file was asked for, and another one came.
    #[error("`{place}` sends another part than the one from byte {from}: {why}; fetch the whole file again")]
    WrongPart {
        /// Who answers.
        place: Place,
        /// The first byte that was asked for.
        from: u64,
        /// What came.
        why: String,
    },
    /// What was asked for begins behind the end (416).
    #[error("`{place}` has no byte {from}{}; compare the lengths, or fetch the whole file again", of(*total))]
    PastTheEnd {
        /// Who answers.
        place: Place,
        /// The first byte that was asked for.
        from: u64,
        /// How many there are, if the server says so. Equal to `from`: everything is there already.
        total: Option<u64>,
    },
    /// It is not there (404, 410).
    #[error("there is nothing at `{place}` (status {status}); check the name")]
    NotFound {
        /// Who answers.
        place: Place,
        /// The status.
        status: u16,
    },
    /// Not for us (401, 403, 407, 451).
    #[error(
        "`{place}` does not let us have it (status {status}); check that the token is right, and that its owner \
         accepted the terms"
    )]
    NotAllowed {
        /// Who answers.
        place: Place,
        /// The status.
        status: u16,
    },
    /// Not now (429, 503).
    #[error("`{place}` is too busy (status {status}); try again{}", after(*retry_after))]
    Busy {
        /// Who answers.
        place: Place,
        /// The status.
        status: u16,
        /// When the server wants to be asked again, if it says so.
        retry_after: Option<Duration>,
    },
    /// The server failed (5xx).
    #[error("`{place}` failed (status {status}); try again later")]
    ServerFailed {
        /// Who answers.
        place: Place,
        /// The status.
        status: u16,
    },
    /// A status that has no meaning here.
    #[error("`{place}` answers with status {status}, which is no file; check the address")]
    UnexpectedStatus {
        /// Who answers.
        place: Place,
        /// The status.
        status: u16,
    },
    /// More than the caller wants.
    #[error("`{place}` is larger than {bytes_max} bytes, the most that is taken")]
    TooLarge {
        /// Who answers.
        place: Place,
        /// The limit.
        bytes_max: u64,
    },
    /// The answer ended before its end.
    #[error("`{place}` stopped after {bytes} bytes{}; fetch the rest", of(*promised))]
    CutShort {
        /// Who answers.
        place: Place,
        /// How many bytes of this answer came.
        bytes: u64,
        /// How many were promised, if it said so.
        promised: Option<u64>,
    },
    /// The answer goes on behind its end.
    #[error("`{place}` promised {promised} bytes and sent at least {bytes}; its file cannot be trusted")]
    Overlong {
        /// Who answers.
        place: Place,
        /// How many bytes came at least.
        bytes: u64,
        /// How many were promised.
        promised: u64,
    },
    /// The answer does not go on.
    #[error(
        "`{place}` sent {bytes} bytes, then fewer than {progress} in {} s; fetch the rest later",
        .wait.as_secs_f32()
    )]
    Stalled {
        /// Who answers.
        place: Place,
        /// How many bytes of this answer came.
        bytes: u64,
        /// How many are expected in that time, at the least.
        progress: u64,
        /// How long we waited.
        wait: Duration,
    },
}

impl OutboundError {
    /// Whether the same request may succeed if it is sent again, for what is missing if a part came already.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Busy { .. }
                | Self::ServerFailed { .. }
                | Self::CutShort { .. }
                | Self::Stalled { .. }
        )
    }
}

fn of(total: Option<u64>) -> String {
    total.map_or_else(String::new, |total| format!(" of {total}"))
}

fn after(wait: Option<Duration>) -> String {
    wait.map_or_else(|| " later".to_owned(), |wait| format!(" in {} s", wait.as_secs()))
}
