/// How much a search may do: the same on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Most plans that are evaluated. With zero the answer is the first plan found, which is valid.
    pub evaluations: u64,
}

/// How far a search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Plans evaluated so far.
    pub evaluations: u64,
    /// Objective of the best plan so far.
    pub best: i64,
    /// No plan can be better than this.
    pub bound: i64,
}

/// Is told how far a search is, and may end it: a clock, a progress bar, a key that was pressed. Called often, so it has to be
/// quick; a search that is ended gives the best plan so far.
pub trait Control {
    /// Whether to go on.
    fn goes_on(&mut self, progress: Progress) -> bool;
}

/// Never ends a search before its budget does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unlimited;

impl Control for Unlimited {
    fn goes_on(&mut self, _: Progress) -> bool {
        true
    }
}

impl<F: FnMut(Progress) -> bool> Control for F {
    fn goes_on(&mut self, progress: Progress) -> bool {
        self(progress)
    }
}
