use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use types::{Instant, PriorityClass, SequenceId, TenantId, Tokens};

use crate::{Preemption, Slice, StepOutcome, StepPlan, cost::StepCost};

/// Every bound of one replica's scheduler.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// KV memory of the replica, shared by its sequences.
    pub kv: Tokens,
    /// Longest single sequence, prompt and answer.
    pub sequence_max: Tokens,
    /// Most tokens processed by one step.
    pub step: Tokens,
    /// Most sequences that run at once.
    pub running_max: usize,
    /// Most sequences that wait; further ones are refused.
    pub waiting_max: usize,
}

/// A sequence that asks to run. Holds what a person wrote, as tokens, so it cannot be printed.
#[derive(Clone)]
pub struct Arrival {
    /// Its name from here on.
    pub sequence: SequenceId,
    /// For whom.
    pub tenant: TenantId,
    /// How urgent.
    pub class: PriorityClass,
    /// The rendered prompt; at least one token.
    pub prompt: Arc<[u32]>,
    /// Most tokens to generate. Prompt and answer together fit in `Limits::sequence_max`. Zero: nothing is
    /// generated, something is computed of the prompt as a whole; it is read in one step, so it fits in
    /// `Limits::step` too.
    pub tokens_max: Tokens,
}

/// Whether a sequence may wait for its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It will run; about when, judged by what lies before it.
    Accepted {
        /// When its first step is expected.
        expected_start: Instant,
    },
    /// It will not run.
    Refused {
        /// When to come back.
        retry_after: Duration,
        /// Why.
        why: RefusalReason,
    },
}

/// Why a sequence was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// `Limits::waiting_max` sequences wait already.
    QueueFull,
}

/// Where a sequence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceState {
    /// Not started.
    Waiting,
    /// On the device.
    Running,
    /// Started, then taken off the device; waits at the head of the queue.
    Preempted,
}

impl SequenceState {
    /// The name used in the API and the CLI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Preempted => "preempted",
        }
    }
}

/// One sequence as `llmos ps` shows it.
#[derive(Debug, Clone)]
pub struct SequenceView {
    /// Its name.
    pub sequence: SequenceId,
    /// Whose it is.
    pub tenant: TenantId,
    /// How urgent.
    pub class: PriorityClass,
    /// Where it stands.
    pub state: SequenceState,
    /// Tokens of its prompt.
    pub prompt: Tokens,
    /// Tokens generated so far.
    pub generated: Tokens,
    /// When it arrived.
    pub arrived: Instant,
}

/// How busy the replica is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Sequences on the device.
    pub running: usize,
    /// Sequences that wait, preempted ones included.
    pub waiting: usize,
    /// KV memory in use.
    pub kv_used: Tokens,
    /// KV memory in all.
    pub kv_total: Tokens,
    /// Sequences taken off the device since the start.
    pub preemptions: u64,
}

/// The queues and the KV ledger of one replica.
pub struct Scheduler {
    limits: Limits,
    cost: StepCost,
    sequences: BTreeMap<SequenceId, Entry>,
    /// Oldest first; preempted ones before all others.
    waiting: VecDeque<SequenceId>,
    /// Oldest first.
    running: Vec<SequenceId>,
    /// Gone, but the engine has not been told.
    released: Vec<SequenceId>,
    kv_used: Tokens,
    preemptions: u64,
    /// Tokens of the plan that is being run.
    planned: Tokens,
}

struct Entry {
    arrival: Arrival,
    arrived: Instant,
    generated: Tokens,
    /// How many of its tokens are in KV memory.
    filled: Tokens,
    preempted: bool,
}

impl Entry {
    /// Prompt and answer so far.
    fn length(&self) -> Tokens {
        Tokens::of(&self.arrival.prompt) + self.generated
    }

    /// Tokens still to be processed before the next one can be drawn.
    fn wanted(&self) -> Tokens {
        self.length() - self.filled
    }

    /// The most memory that its next token can need: none if nothing is generated.
    fn next_token(&self) -> Tokens {
        self.arrival.tokens_max.min(Tokens(1))
    }

    /// Whether this much of a step's budget is enough to start with.
    fn can_start_on(&self, budget: Tokens) -> bool {
        let whole = self.arrival.tokens_max == Tokens(0);
        budget >= if whole { self.wanted() } else { Tokens(1) }
    }
}

impl Scheduler {
    /// An empty scheduler. `limits.sequence_max` may not exceed `limits.kv`, or a sequence could never finish.
    pub fn new(limits: Limits) -> Self {
        debug_assert!(limits.sequence_max <= limits.kv && limits.step > Tokens(0) && limits.running_max > 0);
        Self {
            limits,
            cost: StepCost::default(),
            sequences: BTreeMap::new(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            released: Vec::new(),
            kv_used: Tokens(0),
            preemptions: 0,
            planned: Tokens(0),
        }
    }

    /// Takes a sequence in, or says when to come back.
    pub fn arrive(&mut self, now: Instant, arrival: Arrival) -> Admission {
        debug_assert!(!arrival.prompt.is_empty());
        debug_assert!(arrival.tokens_max > Tokens(0) || Tokens::of(&arrival.prompt) <= self.limits.step);
        debug_assert!(Tokens::of(&arrival.prompt) + arrival.tokens_max <= self.limits.sequence_max);
        if self.waiting.len() >= self.limits.waiting_max {
            return Admission::Refused {
                retry_after: self.until_a_place_is_free(),
                why: RefusalReason::QueueFull,
            };
        }
        let expected_start = now + self.until_start_of_the_last();
        let entry =
            Entry { arrived: now, generated: Tokens(0), filled: Tokens(0), preempted: false, arrival };
        self.waiting.push_back(entry.arrival.sequence);
        self.sequences.insert(entry.arrival.sequence, entry);
        Admission::Accepted { expected_start }
    }

    /// The next step. Run it and [`apply`](Self::apply) its outcome before asking again.
    pub fn plan(&mut self) -> StepPlan {
        let preempt = self.make_room_for_next_tokens();
        let mut run = Vec::with_capacity(self.running.len());
        let mut budget = self.limits.step;
        self.next_tokens(&mut budget, &mut run);
        self.prompts(&mut budget, &mut run);
        if preempt.is_empty() {
            self.start_waiting(&mut budget, &mut run);
        }
        let plan = StepPlan { release: std::mem::take(&mut self.released), preempt, run };
        self.planned = plan.tokens();
        plan
    }

    /// Takes in what the step did.
    pub fn apply(&mut self, outcome: &StepOutcome) {
        self.cost.learn(outcome.took, self.planned);
        for (sequence, _) in &outcome.produced {
            // A sequence cancelled while the step ran is gone already.
            if let Some(entry) = self.sequences.get_mut(sequence) {
                entry.generated += Tokens(1);
            }
        }
        for &sequence in &outcome.finished {
            self.cancel(sequence);
        }
    }

    /// Forgets a sequence, whatever it does; the next plan releases its memory. Unknown ones are ignored.
    pub fn cancel(&mut self, sequence: SequenceId) {
        let Some(entry) = self.sequences.remove(&sequence) else { return };
        self.kv_used = self.kv_used - entry.filled;
        self.waiting.retain(|&other| other != sequence);
        self.running.retain(|&other| other != sequence);
        self.released.push(sequence);
    }

    /// The engine is gone, and what it had on the device with it. Returns the sequences that are lost: all that
    /// had started. Those that had not started keep their places.
    pub fn lose_engine(&mut self) -> Vec<SequenceId> {
        let started = |entry: &Entry| entry.preempted || entry.filled > Tokens(0);
        let lost: Vec<_> =
            self.sequences.values().filter(|e| started(e)).map(|e| e.arrival.sequence).collect();
        for &sequence in &lost {
            self.cancel(sequence);
        }
        self.released.clear();
        self.planned = Tokens(0);
        lost
    }

    /// Whether the plan that is being run reaches the last token of this sequence, so that its next one is drawn.
    pub fn at_its_end(&self, sequence: SequenceId) -> bool {
        self.sequences.get(&sequence).is_some_and(|entry| entry.wanted() == Tokens(0))
    }

    /// Why a sequence stands where it stands, in sentences.
    pub fn explain(&self, sequence: SequenceId) -> Vec<String> {
        let Some(entry) = self.sequences.get(&sequence) else {
            return vec![format!("sequence {sequence} is not here")];
        };
        let Some(place) = self.waiting.iter().position(|&other| other == sequence) else {
            let wanted = entry.wanted();
            return vec![match wanted {
                _ if entry.arrival.tokens_max == Tokens(0) => {
                    "runs; its prompt is read in one step".to_owned()
                }
                Tokens(0 | 1) => {
                    format!("runs; {} of at most {} tokens", entry.generated, entry.arrival.tokens_max)
                }
                _ => format!("runs; reads its prompt, {wanted} tokens to go"),
            }];
        };
        let mut why = vec![format!("is number {} of {} waiting", place + 1, self.waiting.len())];
        if entry.preempted {
            why.push("gave up its memory to an older sequence".into());
        }
        if self.running.len() >= self.limits.running_max {
            why.push(format!("{} sequences run, which is the most", self.running.len()));
        }
        let (needed, free) = (entry.length() + entry.next_token(), self.kv_unclaimed());
        if place == 0 && needed > free {
            why.push(format!("needs {needed} tokens of KV memory, {free} are free"));
        }
        why
    }

    /// All sequences, by id.
    pub fn sequences(&self) -> impl Iterator<Item = SequenceView> {
        self.sequences.values().map(|entry| SequenceView {
            sequence: entry.arrival.sequence,
            tenant: entry.arrival.tenant,
            class: entry.arrival.class,
            state: match entry {
                Entry { preempted: true, .. } => SequenceState::Preempted,
                _ if self.running.contains(&entry.arrival.sequence) => SequenceState::Running,
                _ => SequenceState::Waiting,
            },
            prompt: Tokens::of(&entry.arrival.prompt),
            generated: entry.generated,
            arrived: entry.arrived,
        })
    }

    /// How busy the replica is.
    pub fn load(&self) -> Load {
        Load {
            running: self.running.len(),
            waiting: self.waiting.len(),
            kv_used: self.kv_used,
            kv_total: self.limits.kv,
            preemptions: self.preemptions,
        }
    }

    /// Every running sequence will need room for the next token; the newest ones make it for the oldest.
    fn make_room_for_next_tokens(&mut self) -> Vec<(SequenceId, Preemption)> {
        let mut preempt = Vec::new();
        while Tokens(self.running.len() as u32) > self.kv_free() {
            let Some(newest) = self.running.pop() else { break };
            let entry = self.sequences.get_mut(&newest).expect_known();
            self.kv_used = self.kv_used - entry.filled;
            entry.filled = Tokens(0);
            entry.preempted = true;
            self.waiting.push_front(newest);
            self.preemptions += 1;
            preempt.push((newest, Preemption::Recompute));
        }
        preempt
    }

    /// One token for each running sequence that only needs its next one.
    fn next_tokens(&mut self, budget: &mut Tokens, run: &mut Vec<Slice>) {
        for i in 0..self.running.len() {
            if self.sequences[&self.running[i]].wanted() == Tokens(1) {
                self.slice(self.running[i], budget, run);
            }
        }
    }

    /// The rest of the budget for prompts that are being read, oldest first.
    fn prompts(&mut self, budget: &mut Tokens, run: &mut Vec<Slice>) {
        for i in 0..self.running.len() {
            let sequence = self.running[i];
            if !run.iter().any(|slice| slice.sequence == sequence) {
                self.slice(sequence, budget, run);
            }
        }
    }

    /// Starts waiting sequences in their order while budget, places and memory last. One that has to be read
    /// whole waits for a budget that holds it, and nothing overtakes it.
    fn start_waiting(&mut self, budget: &mut Tokens, run: &mut Vec<Slice>) {
        while self.running.len() < self.limits.running_max {
            let Some(&first) = self.waiting.front() else { return };
            let entry = &self.sequences[&first];
            let needed = entry.length() + entry.next_token();
            if !entry.can_start_on(*budget) || needed > self.kv_unclaimed() {
                return;
            }
            self.waiting.pop_front();
            self.sequences.get_mut(&first).expect_known().preempted = false;
            // Running is kept oldest first: a preempted sequence returns to the place of its age.
            let arrived = self.sequences[&first].arrived;
            let place = self.running.partition_point(|other| self.sequences[other].arrived <= arrived);
            self.running.insert(place, first);
            self.slice(first, budget, run);
        }
    }

    fn slice(&mut self, sequence: SequenceId, budget: &mut Tokens, run: &mut Vec<Slice>) {
        let free = self.kv_free();
        let entry = self.sequences.get_mut(&sequence).expect_known();
        let tokens = entry.wanted().min(*budget).min(free);
        if tokens == Tokens(0) {
            return;
        }
        entry.filled += tokens;
        self.kv_used += tokens;
        *budget = *budget - tokens;
        run.push(Slice { sequence, tokens });
    }

    fn kv_free(&self) -> Tokens {
        self.limits.kv - self.kv_used
    }

    /// Free memory less what running sequences still need for their prompts and their next token.
    fn kv_unclaimed(&self) -> Tokens {
        let claim = |entry: &Entry| entry.wanted() + entry.next_token();
        let claimed: Tokens = self.running.iter().map(|sequence| claim(&self.sequences[sequence])).sum();
        self.kv_free().saturating_sub(claimed)
    }

    /// A place is free when the running sequence nearest to its end has ended.
    fn until_a_place_is_free(&self) -> Duration {
        let remaining = |sequence: &SequenceId| {
            let entry = &self.sequences[sequence];
            entry.arrival.tokens_max.saturating_sub(entry.generated).0
        };
        self.cost.of_steps(self.running.iter().map(remaining).min().unwrap_or(0))
    }

    /// Time until all that wait now have started: their prompts are read, and a place is free.
    fn until_start_of_the_last(&self) -> Duration {
        let ahead = self.running.iter().chain(&self.waiting);
        let to_read: Tokens = ahead.map(|sequence| self.sequences[sequence].wanted()).sum();
        let full = self.running.len() + self.waiting.len() >= self.limits.running_max;
        let place = if full { self.until_a_place_is_free() } else { Duration::ZERO };
        self.cost.of_tokens(to_read) + place
    }
}

trait Known<T> {
    fn expect_known(self) -> T;
}

impl<T> Known<T> for Option<T> {
    #[allow(clippy::expect_used)] // `waiting` and `running` name only keys of `sequences`: see `cancel`.
    fn expect_known(self) -> T {
        self.expect("queues name only known sequences")
    }
}
