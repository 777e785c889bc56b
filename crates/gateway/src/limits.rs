//! Every bound of this crate, and what the caller gets at it.

use std::time::Duration;

/// Largest request body, in bytes. A larger one is answered 413.
pub(crate) const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest form, in bytes: a token of a provider and what is around it. A larger one is answered 413.
pub(crate) const FORM_BYTES_MAX: usize = 128 * 1024;
/// Largest body with a signed note, in bytes: the longest request to a witness. A larger one is answered 413.
pub(crate) const NOTE_BODY_BYTES_MAX: usize = audit::WITNESS_REQUEST_BYTES_MAX;
/// A body that is too large is read and thrown away up to here, so that the caller can read the answer instead
/// of a reset connection. Beyond it the connection is closed.
pub(crate) const DISCARD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Longest wait for the next piece of a body. Then 408.
pub(crate) const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for a whole body. Then 408.
pub(crate) const BODY_TOTAL_TIMEOUT: Duration = Duration::from_secs(300);
/// Most messages of one conversation. More are answered 400.
pub(crate) const MESSAGES_MAX: usize = 4096;
/// Most parts of one message. More are answered 400.
pub(crate) const PARTS_MAX: usize = 4096;
/// Most pairs of `metadata`, and their longest names and texts in characters, as in OpenAI's API. More are answered 400.
pub(crate) const METADATA_PAIRS_MAX: usize = 16;
/// See [`METADATA_PAIRS_MAX`].
pub(crate) const METADATA_KEY_CHARS_MAX: usize = 64;
/// See [`METADATA_PAIRS_MAX`].
pub(crate) const METADATA_VALUE_CHARS_MAX: usize = 512;
/// Most items of one list, as in OpenAI's API; and how many where nothing is said. More are answered 400.
pub(crate) const LIST_MAX: usize = 100;
/// See [`LIST_MAX`].
pub(crate) const LIST_DEFAULT: usize = 20;
/// Most inputs of one request for embeddings, as in OpenAI's API. More are answered 400.
pub(crate) const INPUTS_MAX: usize = 2048;
/// Most documents of one request to rerank. More are answered 400.
pub(crate) const DOCUMENTS_MAX: usize = 2048;
/// Longest piece of a caller's own text that an error repeats to them, in bytes.
pub(crate) const QUOTE_BYTES_MAX: usize = 64;

/// Most header lines of a request. More are answered 431.
pub(crate) const HEADERS_MAX: usize = 64;
/// Largest request head, in bytes. A larger one is answered 431.
pub(crate) const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Longest wait for a request's head, and so the longest that an idle connection is kept. Then it is closed.
pub(crate) const HEADER_READ_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest that the beginning of a TLS connection may take. Then it is closed.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most connections to the public address. Further ones wait in the operating system's backlog.
pub(crate) const TCP_CONNECTIONS_MAX: usize = 4096;
/// Most connections to the local socket, counted apart so that operators get in when the public door is full.
pub(crate) const LOCAL_CONNECTIONS_MAX: usize = 128;
/// Pause after a connection could not be accepted (usually: no file descriptors left).
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Least time that the last bytes of finished answers get to leave, also when the grace is used up.
pub(crate) const FLUSH: Duration = Duration::from_secs(1);

/// A stream with nothing to say sends a comment this often, so that nobody in between takes it for dead.
pub(crate) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
