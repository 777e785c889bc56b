//! The one door to elsewhere.
//!
//! **Does**: fetch a file over `https`, from a byte on if one likes, and hand its bytes over as they come; ask for something else and
//! read the answer (`call.rs`), a short one as single sign-on does, or as it comes. **Must
//! never** connect to an address that it did not check, or follow a redirect without checking it like a first
//! request; and nobody else opens a connection to elsewhere (`cargo xtask check` holds that).
//!
//! The three types to know: [`Outbound`] (made of [`Rules`]), [`Answer`], [`OutboundError`].
//!
//! # The way of a request
//!
//! 1. `location.rs`: may this URL be fetched at all? `https`, no user in it, a host; where there is a list of hosts, one on it
//!    (`hosts.rs`).
//! 2. The host is looked up, once.
//! 3. `address.rs`: every address that came back must be public, or in a network that the operator named. One that is
//!    not refuses the host. Only what passed can be connected to: it is a type.
//! 4. `client.rs`: a connection to that very address, so that a name that leads elsewhere a moment later (DNS
//!    rebinding) leads nowhere; then TLS, by the name, against the system's certificates and the operator's
//!    (`trust.rs`); then the request.
//! 5. `head.rs`: what does the head of the answer mean? A file, the part that was asked for, a redirect (back to 1,
//!    [`REDIRECTS_MAX`] times at the most), or an error with a kind that the caller can act on.
//! 6. `body.rs`: the bytes, counted against what was promised and what is allowed.
//!
//! Steps 1, 3 and 5 are pure. Each wait, each size and each count has a limit, a constant at the top of its file.
//!
//! # What is left out, and why
//!
//! - **Plain `http`**, also for a mirror of one's own: whoever is on the way could read the token and change the file,
//!   and a redirect could step down to it. A mirror takes a certificate of its own authority: [`Rules::ca_file`].
//! - **Proxies**: none is used, and none is taken from the environment. A proxy connects to addresses that we did not
//!   check.
//! - **Cookies, connections that are kept, HTTP/2**: state between requests to strangers. One request is one
//!   connection, which costs a handshake per file.
//! - **Compressed bodies**: a hash is of the file itself, and nothing can blow up that nobody unpacks.
//!
//! The system's certificates are where OpenSSL would look for them; its variables `SSL_CERT_FILE` and `SSL_CERT_DIR`
//! name others.
//!
//! ```no_run
//! # async fn example() -> Result<(), outbound::OutboundError> {
//! use outbound::{Extent, Fetch, Outbound, Rules, Url};
//!
//! let outbound = Outbound::new(Rules::default())?;
//! let url = Url::parse("https://models.example/tiny.gguf").expect("it is one");
//! // What was read before a connection broke.
//! let (mut have, etag) = (1_048_576, "\"5d41402a\"".to_owned());
//! let fetch = Fetch { from_byte: have, if_range: Some(etag), ..Fetch::new(1 << 30) };
//! let mut answer = outbound.get(&url, &fetch).await?;
//! if answer.extent == Extent::Whole {
//!     have = 0; // The file is another one by now: begin again.
//! }
//! while let Some(bytes) = answer.body.chunk().await? {
//!     have += bytes.len() as u64; // And write them.
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod address;
mod body;
mod call;
mod client;
mod error;
mod head;
mod hosts;
mod location;
mod trust;

pub use address::Network;
pub use body::Body;
pub use call::{Call, Reply, Streamed};
pub use client::{Answer, Fetch, Outbound, REDIRECTS_MAX, Rules};
pub use error::OutboundError;
pub use head::Extent;
pub use hosts::Listed;
pub use location::Place;
pub use url::{Host, Url};
