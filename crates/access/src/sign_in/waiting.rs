//! What waits for an answer, for a while, and never too much of it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Things by name, each good for a while.
pub(crate) struct Waiting<T> {
    all: HashMap<String, (T, Instant)>,
    lasts: Duration,
    most: usize,
}

impl<T> Waiting<T> {
    pub(crate) fn new(lasts: Duration, most: usize) -> Self {
        Self { all: HashMap::new(), lasts, most }
    }

    /// False if there are too many.
    pub(crate) fn insert(&mut self, name: String, value: T) -> bool {
        let now = Instant::now();
        if self.all.len() >= self.most {
            self.all.retain(|_, (_, until)| now < *until);
        }
        let fits = self.all.len() < self.most;
        if fits {
            self.all.insert(name, (value, now + self.lasts));
        }
        fits
    }

    /// What waits under this name, which then waits no more.
    pub(crate) fn take(&mut self, name: &str) -> Option<T> {
        let (value, until) = self.all.remove(name)?;
        (Instant::now() < until).then_some(value)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        let (value, until) = self.all.get_mut(name)?;
        (Instant::now() < *until).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_a_while_once_and_never_too_much_of_it() {
        let mut waiting = Waiting::new(Duration::from_secs(60), 2);
        assert!(waiting.insert("a".to_owned(), 1) && waiting.insert("b".to_owned(), 2));
        assert!(!waiting.insert("c".to_owned(), 3));
        assert_eq!((waiting.take("a"), waiting.take("a")), (Some(1), None));
        assert_eq!(waiting.get_mut("b"), Some(&mut 2));
        let mut over = Waiting::new(Duration::ZERO, 1);
        assert!(over.insert("a".to_owned(), 1) && over.insert("b".to_owned(), 2), "the first was over");
        assert_eq!(over.take("b"), None);
    }
}
