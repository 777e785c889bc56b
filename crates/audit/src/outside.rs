//! Checkpoints of the log at places that whoever holds this machine does not hold: the only thing that shows that an older
//! copy was put back, or that the log was rewritten with its own key.
//!
//! ```text
//! Log ── newest checkpoint, each `every` ──▶ Outside ──▶ folder      a file for each size, never overwritten
//!                                                    └─▶ witness     countersigns if the log has only grown
//! ```
//!
//! Before anything is served each place is asked for what it has ([`Outside::look`]): a log that is smaller, or another, is not
//! served. A place that does not answer stops nothing; it is said once, shown, and recorded. Only the newest checkpoint matters,
//! so nothing is queued.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::future::join_all;
use http::Method;
use outbound::{Call, Outbound, Place, Url};
use tlog::{
    WitnessKey, cosignature,
    note::{Note, Signature},
    witness::AddCheckpoint,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use types::Secret;

use crate::{Audit, Facts, Happening, audit::now_ms, log::Checkpointed, outside::verdict::compare, retry};

mod folder;
mod verdict;

pub use verdict::Contradiction;
use verdict::{Asked, Meaning, understand};

/// What cannot be found out as long as no checkpoint is kept elsewhere.
pub const NOTHING_OUTSIDE: &str = "no checkpoint of the audit log is kept off this machine, so nobody can tell this log from an older copy of it \
     that was put back, or from one that was rewritten by whoever has its key; configure an `[[audit_anchor]]`";

/// Longest that a place may take before anything is served.
const LOOK_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest that a place may take later.
const PUSH_WAIT_MAX: Duration = Duration::from_secs(30);
/// Longest that a place may take when the server goes.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Longest answer of a witness that is read: some lines of signatures.
const ANSWER_BYTES_MAX: u64 = 16 << 10;
/// How often a witness is asked in a row, if it knows another size than we believe.
const ASKS_MAX: usize = 3;
/// The call of a witness, below its address.
const ADD_CHECKPOINT: &str = "add-checkpoint";

/// A place off this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// A folder; it must exist, and be for this log only.
    Folder(PathBuf),
    /// A witness (C2SP `tlog-witness`).
    Witness {
        /// Its address, without the name of the call.
        url: Url,
        /// What verifies its countersignatures.
        key: WitnessKey,
    },
}

/// What is known of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorStatus {
    /// The place, for people.
    pub place: String,
    /// Entries of the last checkpoint that is known to be there.
    pub size: Option<u64>,
    /// When it was said to be there, in milliseconds since 1970.
    pub at_ms: Option<u64>,
    /// Why the last try failed.
    pub error: Option<String>,
}

impl AnchorStatus {
    /// How old the last checkpoint there is; nothing, if nothing was recorded since. `size` is that of the log now. None if
    /// none is known to be there.
    pub fn age(&self, size: u64) -> Option<Duration> {
        let since = now_ms().saturating_sub(self.at_ms?);
        Some(if self.size == Some(size) { Duration::ZERO } else { Duration::from_millis(since) })
    }
}

/// A place knows another log than the one that is here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the audit log is not the one that was: {place} says that {contradiction}. Somebody put an older copy back or began another \
     log here, or another server writes a log with the same key or to the same place"
)]
pub struct NotTheLog {
    /// The place.
    pub place: String,
    /// What it knows.
    pub contradiction: Contradiction,
}

/// Why a checkpoint is not at a place.
#[derive(Debug)]
enum PushError {
    Contradicted(Contradiction),
    Failed(String),
}

impl From<Contradiction> for PushError {
    fn from(contradiction: Contradiction) -> Self {
        Self::Contradicted(contradiction)
    }
}

/// Pushes checkpoints.
pub struct Outside {
    audit: Arc<Audit>,
    outbound: Outbound,
    every: Duration,
    places: Vec<Arc<At>>,
    closing: watch::Sender<bool>,
}

/// A place, and how it is there.
struct At {
    anchor: Anchor,
    name: String,
    state: Mutex<State>,
    /// Whoever works at it: what hangs there is not joined by another.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    /// Entries of the last checkpoint that is there.
    known: Option<u64>,
    at_ms: Option<u64>,
    error: Option<String>,
    /// Tries that have failed since one did not.
    failures: u32,
    due: Option<Instant>,
    /// It was said that this place knows another log.
    is_alarmed: bool,
}

impl Outside {
    /// Pushes the newest checkpoint of the log to these places, each `every` if it has grown.
    pub fn new(audit: Arc<Audit>, anchors: Vec<Anchor>, outbound: Outbound, every: Duration) -> Arc<Self> {
        let place = |anchor: Anchor| {
            let name = match &anchor {
                Anchor::Folder(folder) => folder.display().to_string(),
                Anchor::Witness { url, .. } => Place::of(url).to_string(),
            };
            Arc::new(At { anchor, name, state: Mutex::default(), turn: Arc::default() })
        };
        let outside = Self {
            audit,
            outbound,
            every,
            places: anchors.into_iter().map(place).collect(),
            closing: watch::Sender::new(false),
        };
        outside.show();
        Arc::new(outside)
    }

    /// Asks each place that answers for what it has, before anything is served, and pushes what is new.
    ///
    /// Nothing is signed or pushed anywhere before all have been asked, or had their time to answer. What is new goes first to the one
    /// that knows most: a place that has fallen behind would take an older copy of the log for the log, and later refuse the log itself.
    ///
    /// # Errors
    /// If the log is smaller than a place knows, or another. Nothing is recorded or signed then: the folder is evidence.
    pub async fn look(&self) -> Result<(), NotTheLog> {
        self.compare_cosigned().await?;
        if self.places.is_empty() {
            return Ok(());
        }
        let signed = self.audit.log().checkpoint();
        let looks = join_all(self.places.iter().map(|at| self.compare(at, &signed))).await;
        let mut looked: Vec<_> = self.places.iter().zip(looks).collect();
        for (at, found) in &looked {
            Self::must_agree(at, found.as_ref().err())?;
        }
        self.audit.log().begin_signing();
        let newest = self.newest().await;
        looked.sort_by_key(|(at, _)| std::cmp::Reverse(at.state().known));
        for (at, found) in looked {
            let pushed = match found {
                Ok(Found::Same) if newest.size == signed.size => Ok(()),
                Ok(Found::Same | Found::Another) => self.push(at, &newest, LOOK_WAIT_MAX).await,
                Err(error) => Err(error),
            };
            Self::must_agree(at, pushed.as_ref().err())?;
            self.report(at, &newest, pushed).await;
        }
        Ok(())
    }

    fn must_agree(at: &At, error: Option<&PushError>) -> Result<(), NotTheLog> {
        let Some(PushError::Contradicted(contradiction)) = error else { return Ok(()) };
        let found = NotTheLog { place: at.name.clone(), contradiction: contradiction.clone() };
        alarm(&found);
        Err(found)
    }

    /// Asks a place for what it has, with the checkpoint that was signed last, and changes nothing there.
    async fn compare(&self, at: &Arc<At>, signed: &Checkpointed) -> Result<Found, PushError> {
        let compared = async {
            match &at.anchor {
                Anchor::Folder(folder) => {
                    let (audit, folder) = (self.audit.clone(), folder.clone());
                    let look = move || folder::look(&folder, audit.log(), audit.key(), true);
                    let kept = blocking(at, look).await?;
                    at.state().known = kept.map(|kept| kept.size());
                    Ok(Found::Another)
                }
                // From its own size no proof is needed: a witness that knows this very checkpoint signs it again, and any other
                // says what it knows.
                Anchor::Witness { url, key } => match self.ask_from(signed.size, url, signed).await? {
                    Meaning::Cosigned(lines) => {
                        self.keep(key, signed, lines).await?;
                        at.state().known = Some(signed.size);
                        Ok(Found::Same)
                    }
                    Meaning::Again(known) => {
                        at.state().known = Some(known);
                        Ok(Found::Another)
                    }
                    // The checkpoint is older than its entries, as in a copy that was made while the server ran: only the proof that comes
                    // with a new one can show whether they are those that the witness knows.
                    Meaning::Contradicts(Contradiction::Shorter { known, .. })
                        if known <= self.audit.log().size() =>
                    {
                        at.state().known = Some(known);
                        Ok(Found::Another)
                    }
                    Meaning::Contradicts(Contradiction::Shorter { known, .. }) => {
                        Err(Contradiction::Shorter { known, size: self.audit.log().size() }.into())
                    }
                    Meaning::Contradicts(contradiction) => Err(contradiction.into()),
                    Meaning::Failed(why) => Err(PushError::Failed(why)),
                },
            }
        };
        timeout(LOOK_WAIT_MAX, compared).await.unwrap_or_else(|_| Err(late(LOOK_WAIT_MAX)))
    }

    /// Pushes until [`Outside::close`].
    pub async fn run(self: Arc<Self>) {
        let mut closing = self.closing.subscribe();
        while !self.places.is_empty() {
            let now = Instant::now();
            let next = self.places.iter().filter_map(|at| at.state().due).min().unwrap_or(now);
            tokio::select! {
                _ = closing.wait_for(|closing| *closing) => return,
                () = sleep(next.saturating_duration_since(now)) => {}
            }
            let (newest, now) = (self.audit.log().checkpoint(), Instant::now());
            let due = self.places.iter().filter(|at| at.state().due.is_none_or(|due| due <= now));
            let pushes = due.map(|at| async {
                if at.state().is_there(&newest) {
                    at.state().due = Some(now + self.every);
                    return;
                }
                let pushed = self.push(at, &newest, PUSH_WAIT_MAX).await;
                self.report(at, &newest, pushed).await;
            });
            // What hangs at one place is given up when the server goes.
            tokio::select! {
                _ = closing.wait_for(|closing| *closing) => return,
                _ = join_all(pushes) => {}
            }
        }
    }

    /// Pushes the last checkpoint. Called when the log is closed.
    pub async fn close(&self) {
        self.closing.send_replace(true);
        let newest = self.audit.log().checkpoint();
        let rest = self.places.iter().filter(|at| !at.state().is_there(&newest));
        let pushes = rest.map(|at| async {
            match self.push(at, &newest, CLOSE_WAIT_MAX).await {
                Ok(()) => {}
                Err(error) => {
                    let why = match error {
                        PushError::Contradicted(contradiction) => contradiction.to_string(),
                        PushError::Failed(why) => why,
                    };
                    tracing::warn!(place = %at.name, "the last checkpoint of the audit log is not there: {why}");
                }
            }
        });
        join_all(pushes).await;
    }

    /// The newest countersigned checkpoint is in the folder of the log, and so worth something only if the rest of it was put
    /// back without it.
    async fn compare_cosigned(&self) -> Result<(), NotTheLog> {
        let Some(kept) = self.audit.cosigned().newest() else { return Ok(()) };
        let audit = self.audit.clone();
        let compared = tokio::task::spawn_blocking(move || {
            let kept = verdict::believed(kept.note.as_bytes(), audit.key()).ok()?;
            let log = audit.log();
            compare(&kept, audit.key(), log.size(), |size| log.root(size)).ok()?
        });
        match compared.await.ok().flatten() {
            Some(contradiction) => {
                let place = format!("the countersigned checkpoint `{}` in its folder", crate::cosigned::FILE);
                let found = NotTheLog { place, contradiction };
                alarm(&found);
                Err(found)
            }
            None => Ok(()),
        }
    }

    /// All that is recorded by now, signed; or what was signed last, if the disk takes nothing.
    async fn newest(&self) -> Checkpointed {
        if let Err(error) = self.audit.log().checkpoint_now().await {
            tracing::warn!("the audit log has no new checkpoint: {error}");
        }
        self.audit.log().checkpoint()
    }

    async fn push(&self, at: &Arc<At>, newest: &Checkpointed, wait: Duration) -> Result<(), PushError> {
        let pushed = async {
            match &at.anchor {
                Anchor::Folder(folder) => {
                    let (audit, folder, newest) = (self.audit.clone(), folder.clone(), newest.clone());
                    let known = at.state().known;
                    let push = move || folder::push(&folder, audit.log(), audit.key(), &newest, known);
                    blocking(at, push).await
                }
                Anchor::Witness { url, key } => self.ask(at, url, key, newest).await,
            }
        };
        let pushed = timeout(wait, pushed).await.unwrap_or_else(|_| Err(late(wait)));
        if pushed.is_ok() {
            at.state().known = Some(newest.size);
        }
        pushed
    }

    /// Asks a witness to countersign, from the size that it knows.
    async fn ask(
        &self,
        at: &Arc<At>,
        url: &Url,
        key: &WitnessKey,
        newest: &Checkpointed,
    ) -> Result<(), PushError> {
        let mut old = at.state().known.unwrap_or(0).min(newest.size);
        for _ in 0..ASKS_MAX {
            match self.ask_from(old, url, newest).await? {
                Meaning::Cosigned(lines) => return self.keep(key, newest, lines).await,
                Meaning::Again(known) => old = known,
                Meaning::Contradicts(contradiction) => return Err(contradiction.into()),
                Meaning::Failed(why) => return Err(PushError::Failed(why)),
            }
        }
        Err(PushError::Failed(format!("it says another size each time it is asked, {ASKS_MAX} times")))
    }

    async fn ask_from(&self, old: u64, url: &Url, newest: &Checkpointed) -> Result<Meaning, PushError> {
        let call = Call {
            method: Method::POST,
            body: Some(("text/plain", Secret::from(self.request(old, newest).await?))),
            authorization: None,
            bytes_max: ANSWER_BYTES_MAX,
        };
        let reply = self.outbound.call(&below(url, ADD_CHECKPOINT), &call).await;
        let reply = reply.map_err(|error| PushError::Failed(error.to_string()))?;
        Ok(understand(reply.status.as_u16(), &reply.body, Asked { old, size: newest.size }))
    }

    async fn request(&self, old: u64, newest: &Checkpointed) -> Result<String, PushError> {
        let (log, newest) = (self.audit.log().clone(), newest.clone());
        let written = tokio::task::spawn_blocking(move || {
            let proof = log.consistency_proof(old, newest.size).map_err(|error| error.to_string())?;
            let checkpoint = Note::parse(newest.note.as_bytes()).map_err(|error| error.to_string())?;
            Ok(AddCheckpoint { old_size: old, proof, checkpoint }.to_string())
        });
        written.await.unwrap_or_else(|_| Err("it was given up".to_owned())).map_err(PushError::Failed)
    }

    /// Keeps the countersignature, if it is the witness's.
    async fn keep(&self, key: &WitnessKey, newest: &Checkpointed, lines: String) -> Result<(), PushError> {
        let wrong = |why: String| PushError::Failed(format!("its countersignature is not believed: {why}"));
        let lines: Vec<&str> = lines.split_inclusive('\n').collect();
        let line = lines.iter().filter_map(|line| Signature::parse(line).ok());
        let line = line.into_iter().find(|line| line.name() == key.name());
        let line = line.ok_or_else(|| wrong(format!("no line of it names {:?}", key.name())))?;
        let note = Note::parse(format!("{}{line}", newest.note).as_bytes());
        let verified = note.map_err(Into::into).and_then(|note| cosignature::verify(&note, key));
        verified.map_err(|error| wrong(error.to_string()))?;
        let (audit, newest) = (self.audit.clone(), newest.clone());
        // If that is not done, the countersignature is asked for again with the next checkpoint.
        let _ = tokio::task::spawn_blocking(move || audit.cosigned().keep(&newest, &line)).await;
        Ok(())
    }

    /// Takes note of how a try went: in the log and in the records when it changes, in the status always.
    async fn report(&self, at: &At, newest: &Checkpointed, pushed: Result<(), PushError>) {
        let now = Instant::now();
        let (name, size) = (&at.name, newest.size);
        let happened = match pushed {
            Ok(()) => {
                let mut state = at.state();
                let was_bad = state.failures > 0;
                let due = Some(now + self.every);
                *state = State { known: Some(size), at_ms: Some(now_ms()), due, ..State::default() };
                drop(state);
                if was_bad {
                    tracing::info!(place = %name, size, "checkpoints of the audit log arrive there again");
                }
                was_bad.then_some(("audit_push", "recovered", None))
            }
            Err(PushError::Failed(why)) => {
                let is_news = at.state().fail(now, why.clone()) == 1;
                if is_news {
                    tracing::warn!(
                        place = %name,
                        "no checkpoint of the audit log arrives there, and it is tried again: {why}"
                    );
                }
                is_news.then_some(("audit_push", "failed", Some(why)))
            }
            Err(PushError::Contradicted(contradiction)) => {
                let mut state = at.state();
                state.fail(now, contradiction.to_string());
                let is_news = !state.is_alarmed;
                state.is_alarmed = true;
                drop(state);
                let found = NotTheLog { place: name.clone(), contradiction };
                if is_news {
                    alarm(&found);
                }
                is_news.then(|| ("audit_rollback", "found", Some(found.contradiction.to_string())))
            }
        };
        self.show();
        let Some((what, how, why)) = happened else { return };
        let facts = Facts::none().with("place", name).with("size", size);
        let facts = why.iter().fold(facts, |facts, why| facts.with("why", why));
        if let Err(error) = self.audit.note(Happening { facts, ..Happening::of(what, how) }).await {
            tracing::error!(place = %name, "how checkpoints arrive there is not in the audit log: {error}");
        }
    }

    /// Shows how it is at each place.
    fn show(&self) {
        let status = |at: &Arc<At>| {
            let state = at.state();
            let size = state.at_ms.and(state.known);
            AnchorStatus { place: at.name.clone(), size, at_ms: state.at_ms, error: state.error.clone() }
        };
        self.audit.set_anchors(self.places.iter().map(status).collect());
    }
}

/// What a place has, compared with the checkpoint that was signed last.
enum Found {
    /// This very one.
    Same,
    /// Another one of this log, or none.
    Another,
}

/// Works at a place on a thread that may block. What hangs there keeps its turn, also if nobody waits any more.
async fn blocking<T: Send + 'static>(
    at: &At,
    work: impl FnOnce() -> Result<T, PushError> + Send + 'static,
) -> Result<T, PushError> {
    let turn = at.turn.clone().lock_owned().await;
    let worked = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    worked.await.unwrap_or_else(|_| Err(PushError::Failed("it was given up".to_owned())))
}

fn late(wait: Duration) -> PushError {
    PushError::Failed(format!("it did not answer within {} s", wait.as_secs()))
}

impl At {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_there(&self, newest: &Checkpointed) -> bool {
        self.failures == 0 && self.at_ms.is_some() && self.known == Some(newest.size)
    }

    /// The number of tries that have failed in a row.
    fn fail(&mut self, now: Instant, why: String) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.due = Some(now + retry::after(self.failures));
        self.error = Some(why);
        self.failures
    }
}

fn alarm(found: &NotTheLog) {
    tracing::warn!(alarm = "audit_rollback", place = %found.place, known = found.contradiction.known(), "{found}");
}

/// The address of something below another address, whether that ends with a slash or not.
fn below(url: &Url, name: &str) -> Url {
    let mut below = url.clone();
    below.set_path(&format!("{}/{name}", url.path().trim_end_matches('/')));
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_is_below_the_address_of_the_witness() {
        for (url, expected) in [
            ("https://witness.example", "https://witness.example/add-checkpoint"),
            ("https://witness.example/witness/v1", "https://witness.example/witness/v1/add-checkpoint"),
            ("https://witness.example/witness/v1/", "https://witness.example/witness/v1/add-checkpoint"),
        ] {
            assert_eq!(below(&Url::parse(url).unwrap(), ADD_CHECKPOINT).as_str(), expected);
        }
    }
}
