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

    /// With one too many, the one that has waited longest waits no more: nobody can keep others out by asking a lot and slowly.
    pub(crate) fn insert(&mut self, name: String, value: T) {
        let now = Instant::now();
        if self.all.len() >= self.most {
            self.all.retain(|_, (_, until)| now < *until);
        }
        if self.all.len() >= self.most {
            let oldest = self.all.iter().min_by_key(|(_, (_, until))| *until).map(|(name, _)| name.clone());
            oldest.map(|oldest| self.all.remove(&oldest));
        }
        self.all.insert(name, (value, now + self.lasts));
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
        for (name, value) in [("a", 1), ("b", 2), ("c", 3)] {
            waiting.insert(name.to_owned(), value);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(waiting.take("a"), None, "it had waited longest");
        assert_eq!((waiting.take("b"), waiting.take("b")), (Some(2), None));
        assert_eq!(waiting.get_mut("c"), Some(&mut 3));
        let mut over = Waiting::new(Duration::ZERO, 1);
        over.insert("a".to_owned(), 1);
        assert_eq!(over.take("a"), None);
    }
}
