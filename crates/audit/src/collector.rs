//! Every record of the log, sent to a system that whoever holds this machine does not hold: what has left cannot be deleted by who
//! breaks in, and is there to be searched and to raise alarms.
//!
//! ```text
//! Log ── what the newest checkpoint vouches for ──▶ Forwarder ── POST …/v1/logs (OTLP/HTTP, JSON) ──▶ collector
//!                                                   │    ▲                                            │
//!                                                   ▼    └──── 200, no body or JSON: it has them ─────┘
//!                                                 cursor (on the disk, after the answer)
//! ```
//!
//! - **What is sent** (`otlp.rs`): each entry of the log byte for byte as the body, with its index and its leaf hash, and what alarms go by
//!   as attributes. What is sealed stays sealed: who is erased here is erased there. The record that a checkpoint is about, the last of
//!   those it vouches for, carries it: whoever has all bodies up to there computes its root, and so sees that nothing is missing.
//! - **Only what is signed** leaves, so that a collector never has a record which a crash has cut from the log.
//! - **In order, at least once**: one request at a time, and the cursor moves when the collector has confirmed. Whoever is killed between
//!   the two sends that one batch again; log and index make it the same. A collector that is new gets everything from the first record on.
//! - **A collector that does not answer stops nothing**, nor one for which something else answers (a page, and no JSON): it is said once, shown, recorded (`audit_forward`), and tried again less and less
//!   often. There is no queue but the log itself, so nothing is lost or grows meanwhile.
//! - **What it refuses for good** (400, 413) is sent in halves until one record is refused alone. That is left out, said and recorded: at
//!   once if the collector has taken another one before it, else after it was refused [`REFUSED_TRIES_MAX`] times in a row, because it
//!   may be the collector that is wrong and not the record. What it says that it dropped of a batch it took (`partialSuccess`) is never sent again, as OTLP wants.
//! - **Records about forwarding itself** are refused, and wait where nothing else waits, without a record: or one would follow the other
//!   for ever.
//!
//! The address is `https`, as everything that `outbound` connects to.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::Method;
use outbound::{Call, Outbound, Place, Url};
use tokio::{
    sync::watch,
    time::{sleep, sleep_until, timeout},
};
use types::Secret;

use crate::{Audit, Facts, Happening, audit::now_ms, log::Checkpointed};

mod cursor;
mod otlp;
mod step;

use cursor::{Cursor, Start};
use otlp::{Batch, Meaning, understand};
use step::{Step, Tried, decide};

/// Most records of one request.
const BATCH_RECORDS_MAX: usize = 512;
/// What comes in this time goes together.
const GATHER: Duration = Duration::from_secs(1);
/// Longest that a collector may take for a batch.
const SEND_WAIT_MAX: Duration = Duration::from_secs(30);
/// Longest that the rest may take when the server goes.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Times in a row that a record is refused before it is left out by a collector which has taken none since it last refused one: some
/// minutes.
const REFUSED_TRIES_MAX: u32 = 6;
/// What records say that are about forwarding.
const FORWARD: &str = "audit_forward";

/// Reads the token from its file, each time it is needed: one that is replaced holds at once. Why not, in words. May block.
pub type ReadToken = Arc<dyn Fn() -> Result<Secret, String> + Send + Sync>;

/// Where records go.
pub struct Collector {
    /// The whole address that takes logs (`https://…/v1/logs`).
    pub url: Url,
    /// By what it knows us, if it asks (`Authorization: Bearer …`).
    pub token: Option<ReadToken>,
    /// The file that says how far it has got.
    pub cursor: PathBuf,
}

/// How records arrive at a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorStatus {
    /// The collector, for people.
    pub place: String,
    /// Records, from the first one on, that it was sent and has answered.
    pub sent: u64,
    /// Records among them that it did not take.
    pub refused: u64,
    /// When it last took some, in milliseconds since 1970; none since the start.
    pub at_ms: Option<u64>,
    /// Why the last try failed.
    pub error: Option<String>,
}

impl CollectorStatus {
    /// Records that it does not have yet, of a log with so many.
    pub fn behind(&self, size: u64) -> u64 {
        size.saturating_sub(self.sent)
    }
}

/// Sends records to a collector.
pub struct Forwarder {
    audit: Arc<Audit>,
    outbound: Outbound,
    collector: Collector,
    /// For people.
    place: String,
    state: Mutex<State>,
    /// Whoever sends: one at a time.
    turn: tokio::sync::Mutex<()>,
    closing: watch::Sender<bool>,
}

struct State {
    cursor: Cursor,
    at_ms: Option<u64>,
    error: Option<String>,
    tried: Tried,
    due: Option<Instant>,
    /// Most records of the next request: fewer where something among them is refused.
    records_max: usize,
    /// It was said that nothing arrives.
    is_failing: bool,
    /// It was said that some of what arrives is dropped there.
    is_dropping: bool,
    /// It was said that the cursor cannot be written.
    is_unwritten: bool,
}

impl Forwarder {
    /// Finds out how far the collector has got.
    pub async fn open(audit: Arc<Audit>, collector: Collector, outbound: Outbound) -> Arc<Self> {
        let (file, url) = (collector.cursor.clone(), collector.url.to_string());
        let (log, name) = (audit.log().clone(), audit.key().name().to_owned());
        let fresh = Cursor::new(&url, &name);
        let opened = tokio::task::spawn_blocking(move || {
            let (cursor, start) = Cursor::open(&file, &url, &log, &name);
            let is_kept = matches!(start, Start::Goes | Start::Unchecked(_));
            let written = if is_kept { Ok(()) } else { cursor.write(&file) };
            (cursor, start, written)
        });
        let given_up = |_| (fresh, Start::Unreadable("it was given up".to_owned()), Ok(()));
        let (cursor, start, written) = opened.await.unwrap_or_else(given_up);
        let state = State {
            cursor,
            at_ms: None,
            error: None,
            tried: Tried::default(),
            due: None,
            records_max: BATCH_RECORDS_MAX,
            is_failing: false,
            is_dropping: false,
            is_unwritten: false,
        };
        let place = Place::of(&collector.url).to_string();
        let (state, turn, closing) =
            (Mutex::new(state), tokio::sync::Mutex::default(), watch::Sender::new(false));
        let forwarder = Self { audit, outbound, collector, place, state, turn, closing };
        forwarder.kept(written);
        forwarder.show();
        forwarder.begin(start).await;
        Arc::new(forwarder)
    }

    /// Says where the records go.
    async fn begin(&self, start: Start) {
        let (place, next) = (&self.place, self.state().cursor.next);
        let facts = Facts::none();
        match start {
            Start::Goes => tracing::info!(%place, next, "records of the audit log go to the collector"),
            Start::Unchecked(why) => tracing::warn!(
                %place, next,
                "whether the collector was sent this audit log cannot be read, and it goes on where it was: {why}"
            ),
            Start::Begins => {
                tracing::info!(%place, "all records of the audit log go to the collector, from the first one on");
                self.note("begun", facts).await;
            }
            Start::Unreadable(why) => {
                tracing::warn!(
                    %place,
                    "how far the collector has got cannot be read, so that it gets the audit log from the first record on again: {why}"
                );
                self.note("begun", facts.with("why", why)).await;
            }
            Start::NotTheLog(known) => {
                tracing::warn!(
                    alarm = "audit_rollback", %place, known,
                    "the collector was sent {known} records of this log, and they are not those that are here: somebody put an older copy \
                     back. It gets the log from the first record on again; compare what it has"
                );
                self.happened("audit_rollback", "found", facts.with("known", known)).await;
            }
        }
    }

    /// Sends until [`Forwarder::close`].
    pub async fn run(self: Arc<Self>) {
        let (mut closing, mut checkpoints) = (self.closing.subscribe(), self.audit.log().checkpoints());
        loop {
            self.catch_up(false).await;
            let due = self.state().due;
            let next = async {
                sleep(GATHER).await;
                if let Some(due) = due {
                    sleep_until(due.into()).await;
                } else if checkpoints.changed().await.is_err() {
                    // The log is gone: nothing comes any more.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                _ = closing.wait_for(|closing| *closing) => return,
                () = next => {}
            }
        }
    }

    /// Sends the rest, as far as time allows. Called when the log is closed.
    pub async fn close(&self) {
        self.closing.send_replace(true);
        let is_late = timeout(CLOSE_WAIT_MAX, self.catch_up(true)).await.is_err();
        let behind = self.audit.log().size().saturating_sub(self.state().cursor.next);
        if behind > 0 {
            let why = self.state().error.clone().unwrap_or_default();
            let why =
                if is_late { format!("it took longer than {} s", CLOSE_WAIT_MAX.as_secs()) } else { why };
            let place = &self.place;
            tracing::warn!(%place, behind, "records of the audit log go to the collector only after the next start: {why}");
        }
    }

    /// Sends all that the newest checkpoint vouches for, or as much as goes. The `last` time nothing is recorded any more.
    async fn catch_up(&self, last: bool) {
        let _turn = self.turn.lock().await;
        let checkpoint = self.audit.log().checkpoint();
        loop {
            let goes_on = match self.batch(&checkpoint).await {
                Ok(None) => {
                    self.state().due = None;
                    false
                }
                Ok(Some(mut batch)) => match self.send(&mut batch, last).await {
                    Some((meaning, after)) => self.take(&batch, meaning, after, last).await,
                    None => false,
                },
                Err(why) => {
                    let tried = self.state().tried;
                    self.state().tried = tried.failed(tried.refusals);
                    self.wait(why, None, last).await;
                    false
                }
            };
            self.show();
            if !goes_on {
                return;
            }
        }
    }

    /// What is sent next; nothing if the collector has all that the checkpoint vouches for.
    async fn batch(&self, checkpoint: &Checkpointed) -> Result<Option<Batch>, String> {
        let (next, records_max) = {
            let state = self.state();
            (state.cursor.next, state.records_max)
        };
        let end = checkpoint.size.min(next.saturating_add(records_max as u64));
        if next >= end {
            return Ok(None);
        }
        let note = (end == checkpoint.size).then(|| checkpoint.note.clone());
        let (log, name) = (self.audit.log().clone(), self.audit.key().name().to_owned());
        let made = tokio::task::spawn_blocking(move || {
            let entries = log.entries(next..end).map_err(|error| error.to_string())?;
            Ok(Batch::of(&name, next, &entries, note.as_deref()))
        });
        made.await.unwrap_or_else(|_| Err("it was given up".to_owned()))
    }

    /// What the collector says, and when it wants to be asked again. None if the server goes meanwhile, unless this is the `last` time.
    async fn send(&self, batch: &mut Batch, last: bool) -> Option<(Meaning, Option<Duration>)> {
        let mut closing = self.closing.subscribe();
        let text = std::mem::take(&mut batch.text);
        let asked = async {
            let authorization = match self.collector.token.clone() {
                Some(read) => {
                    let token = tokio::task::spawn_blocking(move || read()).await;
                    Some(Call::bearer(&token.unwrap_or_else(|_| Err("it was given up".to_owned()))?))
                }
                None => None,
            };
            let call = Call {
                method: Method::POST,
                body: Some(("application/json", Secret::from(text))),
                authorization,
                bytes_max: ANSWER_BYTES_MAX,
            };
            self.outbound.call(&self.collector.url, &call).await.map_err(|error| error.to_string())
        };
        let replied = tokio::select! {
            _ = closing.wait_for(|closing| *closing), if !last => return None,
            replied = timeout(SEND_WAIT_MAX, asked) => replied,
        };
        Some(match replied {
            Ok(Ok(reply)) => (understand(reply.status.as_u16(), &reply.body), reply.retry_after),
            Ok(Err(why)) => (Meaning::Later(why), None),
            Err(_) => {
                (Meaning::Later(format!("it did not answer within {} s", SEND_WAIT_MAX.as_secs())), None)
            }
        })
    }

    /// Takes note of what the collector has said; whether it is asked again at once.
    async fn take(&self, batch: &Batch, meaning: Meaning, after: Option<Duration>, last: bool) -> bool {
        let step = {
            let mut state = self.state();
            let (step, tried) = decide(meaning, batch.count, state.tried);
            state.tried = tried;
            step
        };
        match step {
            Step::Go { refused, why } => {
                let dropped = refused.min(batch.count as u64);
                let (is_back, is_news) = {
                    let mut state = self.state();
                    state.records_max = state.records_max.saturating_mul(2).min(BATCH_RECORDS_MAX);
                    let is_back = std::mem::take(&mut state.is_failing);
                    let is_news = dropped > 0 && !state.is_dropping && !batch.is_own;
                    state.is_dropping = dropped > 0 && (state.is_dropping || is_news);
                    (state.due, state.error, state.at_ms) = (None, None, Some(now_ms()));
                    (is_back, is_news)
                };
                let place = &self.place;
                if is_back {
                    tracing::info!(%place, "records of the audit log arrive at the collector again");
                    self.note_unless(last, "recovered", Facts::none()).await;
                }
                if is_news {
                    let first = batch.first;
                    tracing::warn!(
                        %place, first, dropped,
                        "the collector drops records of the audit log, which it gets no second time, and says {why:?}"
                    );
                    let facts = Facts::none().with("first", first).with("count", dropped).with("why", why);
                    self.note_unless(last, "refused", facts).await;
                }
                self.advance(batch, dropped).await;
                true
            }
            Step::Halve => {
                self.state().records_max = batch.count.div_ceil(2);
                true
            }
            Step::Skip(why) => {
                let (place, index) = (&self.place, batch.first);
                tracing::warn!(%place, index, "the collector refuses a record of the audit log, which is left out there: {why}");
                let facts = Facts::none().with("index", index).with("why", why);
                self.note_unless(last || batch.is_own, "refused", facts).await;
                self.advance(batch, 1).await;
                true
            }
            Step::Wait(why) => {
                self.wait(why, after, last || (batch.is_own && batch.is_rest)).await;
                false
            }
        }
    }

    /// The collector has answered for this batch.
    async fn advance(&self, batch: &Batch, refused: u64) {
        let cursor = {
            let mut state = self.state();
            let cursor = &mut state.cursor;
            (cursor.next, cursor.last) = (batch.end(), Some(batch.last.to_string()));
            cursor.refused = cursor.refused.saturating_add(refused);
            cursor.clone()
        };
        let file = self.collector.cursor.clone();
        let written = tokio::task::spawn_blocking(move || cursor.write(&file)).await;
        self.kept(written.unwrap_or_else(|_| Err("it was given up".to_owned())));
    }

    /// Whether the cursor is on the disk. If it is not, records go on; only more of them come again after the next start.
    fn kept(&self, written: Result<(), String>) {
        let is_unwritten = written.is_err();
        let was_unwritten = std::mem::replace(&mut self.state().is_unwritten, is_unwritten);
        if let (Err(why), false) = (written, was_unwritten) {
            let file = self.collector.cursor.display();
            tracing::warn!(
                "how far the collector of the audit log has got cannot be written down, so that it may get records twice: {file}: {why}"
            );
        }
    }

    /// The try has failed, and the next one is later. If that `is_quiet`, it is only shown.
    async fn wait(&self, why: String, after: Option<Duration>, is_quiet: bool) {
        let is_news = {
            let mut state = self.state();
            state.due = Some(Instant::now() + state.tried.pause(after));
            state.error = Some(why.clone());
            !is_quiet && !std::mem::replace(&mut state.is_failing, true)
        };
        if is_news {
            let place = &self.place;
            tracing::warn!(%place, "no record of the audit log arrives at the collector, and it is tried again: {why}");
            self.note("failed", Facts::none().with("why", why)).await;
        }
    }

    async fn note_unless(&self, not: bool, how: &str, facts: Facts) {
        if !not {
            self.note(how, facts).await;
        }
    }

    async fn note(&self, how: &str, facts: Facts) {
        self.happened(FORWARD, how, facts).await;
    }

    async fn happened(&self, what: &str, how: &str, facts: Facts) {
        let next = self.state().cursor.next;
        let facts = facts.with("place", &self.place).with("next", next);
        if let Err(error) = self.audit.note(Happening { facts, ..Happening::of(what, how) }).await {
            let place = &self.place;
            tracing::error!(%place, "how records arrive at the collector is not in the audit log: {error}");
        }
    }

    /// Shows how it is.
    fn show(&self) {
        let state = self.state();
        let status = CollectorStatus {
            place: self.place.clone(),
            sent: state.cursor.next,
            refused: state.cursor.refused,
            at_ms: state.at_ms,
            error: state.error.clone(),
        };
        drop(state);
        self.audit.set_collector(status);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
