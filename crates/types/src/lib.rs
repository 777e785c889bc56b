//! Ground floor: ids, principals, requests, units, [`Prompt`], [`Vector`], [`Secret`] and [`Sealed`].
//!
//! **Holds** data and the checks of its own values. **Never** does I/O, reads a clock, or decides
//! anything that concerns two values at once.
//!
//! The three types to know: [`Principal`] (who asks; travels unchanged from the socket to the engine),
//! [`GenerateRequest`] (what is asked, in no protocol's shape) and [`Event`] (what flows back).
#![forbid(unsafe_code)]

mod check;
mod embed;
mod event;
mod ids;
mod principal;
mod private;
mod purpose;
mod request;
mod sampling;
mod units;
pub mod utc;

pub use check::OutOfRange;
pub use embed::{EmbedRequest, Passage, RerankRequest};
pub use event::{Event, FinishReason};
pub use ids::{ModelName, NodeName, RequestId, SequenceId, TenantId, UserId};
pub use principal::{DataClass, Declared, Principal, PriorityClass, Role, Scope};
pub use private::{DataSubject, Prompt, Sealed, Secret, Vector};
pub use purpose::{PurposeOfUse, Purposes};
pub use request::{GenerateRequest, Input, Message, Speaker};
pub use sampling::{LOGIT_BIAS_MAX, STOP_BYTES_MAX, STOP_STRINGS_MAX, Sampling, SamplingValues, StopStrings};
pub use units::{Instant, Tokens};
