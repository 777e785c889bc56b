//! Which sequence runs next, with how many tokens. Pure: `plan`, run elsewhere, `apply`.
//!
//! **Does**: admission with a bound, the order of waiting sequences, the token budget of a step, the ledger of
//! KV memory. **Never** knows the time (it is an argument), a socket, a model or a thread. The server and the
//! simulator drive this same code, so a run can be repeated exactly.
//!
//! The three types to know: [`Scheduler`], [`Arrival`] (what it is told), [`StepPlan`] (what it answers).
//!
//! The policy of today is first come, first served:
//! 1. every running sequence that only needs its next token gets one token of the step's budget;
//! 2. what is left of the budget fills prompts, oldest first, in chunks;
//! 3. a waiting sequence starts when its whole prompt fits in free KV memory, and never overtakes;
//! 4. a prompt of which nothing is generated (an embedding) is read whole, in one step, or not yet;
//! 5. when KV memory runs out, the newest sequence gives up its memory and waits at the head of the queue.
//!
//! So the oldest sequence always makes progress, and no sequence starves.
//!
//! ```
//! use scheduler::{Admission, Arrival, Limits, Scheduler, StepOutcome};
//! use types::{Instant, PriorityClass, SequenceId, TenantId, Tokens};
//!
//! let mut scheduler = Scheduler::new(Limits {
//!     kv: Tokens(1024), sequence_max: Tokens(1024), step: Tokens(8), running_max: 4, waiting_max: 4,
//! });
//! let now = Instant::default();
//! let admission = scheduler.arrive(now, Arrival {
//!     sequence: SequenceId(1), tenant: TenantId(1), class: PriorityClass::Normal,
//!     prompt: vec![7; 12].into(), tokens_max: Tokens(16),
//! });
//! assert!(matches!(admission, Admission::Accepted { .. }));
//! // The prompt of 12 tokens is read in two steps, because a step has a budget of 8.
//! assert_eq!(scheduler.plan().run[0].tokens, Tokens(8));
//! scheduler.apply(&StepOutcome::default());
//! assert_eq!(scheduler.plan().run[0].tokens, Tokens(4));
//! ```
#![forbid(unsafe_code)]

mod cost;
mod queue;
mod step;

pub use queue::{Admission, Arrival, Limits, Load, RefusalReason, Scheduler, SequenceState, SequenceView};
pub use step::{Preemption, Slice, StepOutcome, StepPlan};
