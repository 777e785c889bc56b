//! Which models are in memory: decided here, as a function of what happens and when; `replicas` carries it out.
//!
//! A model takes the bytes it needs, in main memory and on devices, from the moment its load begins until it is gone.
//! Room is made by bytes and by last use, never by count, and never at the cost of a model that is pinned or works.

use std::time::Duration;

use types::Instant;

use crate::memory::Split;

/// What is decided about a model that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is in memory, or on its way there.
    Present,
    /// Load it, when these are gone.
    Load {
        /// Models that make room.
        unload: Vec<usize>,
    },
    /// There is room for it only when others are gone that may not go now.
    Busy {
        /// Bytes that are missing until then.
        missing: Split,
    },
    /// There is not enough memory for it, whoever else goes.
    TooBig {
        /// Bytes that it could have: all but those of pinned models that are in memory.
        room: Split,
    },
}

/// How far to go for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eagerness {
    /// Others may have to go for it.
    MakeRoom,
    /// Only if there is room.
    IfFree,
}

/// How a model is to be treated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rights {
    /// Once in memory it stays.
    pub(crate) pinned: bool,
    /// It goes when unused for this long.
    pub(crate) keep_alive: Option<Duration>,
}

#[derive(Debug)]
struct Place {
    rights: Rights,
    /// Bytes, while it is in memory.
    taken: Option<Split>,
    /// Requests that have it in use.
    leases: usize,
    last_used: Instant,
}

impl Place {
    fn may_go(&self) -> bool {
        self.taken.is_some() && self.leases == 0 && !self.rights.pinned
    }
}

/// The memory of this machine and who has it. Models are numbered in their configured order.
#[derive(Debug)]
pub(crate) struct Residency {
    memory: Split,
    places: Vec<Place>,
}

impl Residency {
    /// Empty memory of this many bytes.
    pub(crate) fn new(memory: Split, rights: impl IntoIterator<Item = Rights>) -> Self {
        let place = |rights| Place { rights, taken: None, leases: 0, last_used: Instant::default() };
        Self { memory, places: rights.into_iter().map(place).collect() }
    }

    /// Decides how `model`, which needs `bytes`, gets into memory, and notes it: whoever makes room is gone, and
    /// `model` is there. With [`Eagerness::IfFree`] nobody goes for it.
    pub(crate) fn want(
        &mut self,
        now: Instant,
        model: usize,
        bytes: Split,
        eagerness: Eagerness,
    ) -> Decision {
        let decision = self.judge(model, bytes, eagerness);
        if let Decision::Load { unload } = &decision {
            for &victim in unload {
                self.places[victim].taken = None;
            }
            self.places[model].taken = Some(bytes);
            self.places[model].last_used = now;
        }
        decision
    }

    /// What [`want`](Self::want) would decide now. Changes nothing.
    pub(crate) fn judge(&self, model: usize, bytes: Split, eagerness: Eagerness) -> Decision {
        if self.places[model].taken.is_some() {
            return Decision::Present;
        }
        let pinned = self.places.iter().filter(|place| place.rights.pinned).filter_map(|place| place.taken);
        let room = self.memory.less(pinned.sum());
        if !bytes.fits(room) {
            return Decision::TooBig { room };
        }
        let missing = bytes.less(self.free());
        if eagerness == Eagerness::IfFree && missing != Split::default() {
            return Decision::Busy { missing };
        }
        match self.victims(missing) {
            Ok(unload) => Decision::Load { unload },
            Err(missing) => Decision::Busy { missing },
        }
    }

    /// Models that free `missing` bytes: the least recently used, and none that is not needed for it. Or the bytes
    /// that would still be missing.
    fn victims(&self, missing: Split) -> Result<Vec<usize>, Split> {
        let mut candidates: Vec<usize> =
            (0..self.places.len()).filter(|&i| self.places[i].may_go()).collect();
        candidates.sort_by_key(|&i| self.places[i].last_used);
        let bytes = |i: usize| self.places[i].taken.unwrap_or_default();
        let mut chosen = Vec::new();
        let mut freed = Split::default();
        for i in candidates {
            if missing.fits(freed) {
                break;
            }
            freed = freed + bytes(i);
            chosen.push(i);
        }
        if !missing.fits(freed) {
            return Err(missing.less(freed));
        }
        // A large one that came late may make an earlier small one unnecessary; the latest used is spared first.
        for i in chosen.clone().into_iter().rev() {
            if missing.fits(freed.less(bytes(i))) {
                freed = freed.less(bytes(i));
                chosen.retain(|&other| other != i);
            }
        }
        Ok(chosen)
    }

    /// A request begins to use a model, if that is in memory.
    pub(crate) fn lease(&mut self, now: Instant, model: usize) -> bool {
        let place = &mut self.places[model];
        if place.taken.is_some() {
            place.leases += 1;
            place.last_used = now;
        }
        place.taken.is_some()
    }

    /// A request has ended. Whether it was the last one, so that its model may go.
    pub(crate) fn release(&mut self, now: Instant, model: usize) -> bool {
        let place = &mut self.places[model];
        place.leases = place.leases.saturating_sub(1);
        place.last_used = now;
        place.leases == 0
    }

    /// An operator sends a model away. False if it is pinned, works, or is not there.
    pub(crate) fn dismiss(&mut self, model: usize) -> bool {
        let may_go = self.places[model].may_go();
        if may_go {
            self.places[model].taken = None;
        }
        may_go
    }

    /// A model that failed for good is given up, pinned or not: there is nothing of it in memory.
    pub(crate) fn give_up(&mut self, model: usize) {
        self.places[model].taken = None;
    }

    /// Models whose time is over; they are noted as gone.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<usize> {
        let over = |place: &Place| place.may_go() && Self::end(place).is_some_and(|end| end <= now);
        let due: Vec<usize> = (0..self.places.len()).filter(|&i| over(&self.places[i])).collect();
        for &i in &due {
            self.places[i].taken = None;
        }
        due
    }

    /// When the next model's time is over, if nothing happens until then.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.places.iter().filter(|place| place.may_go()).filter_map(Self::end).min()
    }

    fn end(place: &Place) -> Option<Instant> {
        place.rights.keep_alive.map(|keep| place.last_used + keep)
    }

    /// Whether a model is in memory, or on its way there.
    pub(crate) fn is_present(&self, model: usize) -> bool {
        self.places[model].taken.is_some()
    }

    /// Requests that use a model.
    pub(crate) fn leases(&self, model: usize) -> usize {
        self.places[model].leases
    }

    /// Bytes of a model, if it is in memory.
    pub(crate) fn taken(&self, model: usize) -> Option<Split> {
        self.places[model].taken
    }

    /// Bytes that nobody has.
    pub(crate) fn free(&self) -> Split {
        self.memory.less(self.places.iter().filter_map(|place| place.taken).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREELY: Rights = Rights { pinned: false, keep_alive: None };
    const PINNED: Rights = Rights { pinned: true, keep_alive: None };

    fn host(bytes: u64) -> Split {
        Split { host: bytes, device: 0 }
    }

    fn at(seconds: u64) -> Instant {
        Instant { nanos: seconds * 1_000_000_000 }
    }

    /// Loads each model of so many bytes, one a second.
    fn filled(memory: u64, models: &[(Rights, u64)]) -> Residency {
        let mut residency = Residency::new(host(memory), models.iter().map(|&(rights, _)| rights));
        for (i, &(_, bytes)) in models.iter().enumerate().filter(|(_, (_, bytes))| *bytes > 0) {
            let decision = residency.want(at(i as u64), i, host(bytes), Eagerness::IfFree);
            assert_eq!(decision, Decision::Load { unload: vec![] }, "model {i}");
        }
        residency
    }

    #[test]
    fn room_is_made_by_bytes_and_last_use() {
        let load = |unload: &[usize]| Decision::Load { unload: unload.to_vec() };
        // Memory, models in memory in the order of their last use, bytes of the one that comes.
        let cases: &[(u64, &[(Rights, u64)], u64, Decision)] = &[
            (10, &[(FREELY, 4), (FREELY, 4)], 2, load(&[])),
            (10, &[(FREELY, 4), (FREELY, 4)], 3, load(&[0])),
            (10, &[(FREELY, 4), (FREELY, 4)], 7, load(&[0, 1])),
            (10, &[(PINNED, 4), (FREELY, 4)], 3, load(&[1])),
            (10, &[(PINNED, 4), (FREELY, 4)], 7, Decision::TooBig { room: host(6) }),
            (10, &[(FREELY, 1), (FREELY, 9)], 9, load(&[1])),
            (10, &[(FREELY, 2), (FREELY, 2), (FREELY, 6)], 4, load(&[0, 1])),
            (10, &[], 11, Decision::TooBig { room: host(10) }),
            (10, &[(FREELY, 10)], 10, load(&[0])),
        ];
        for (memory, models, bytes, want) in cases {
            let models = [*models, &[(FREELY, 0)]].concat();
            let mut residency = filled(*memory, &models);
            let comes = models.len() - 1;
            let without_room = residency.want(at(99), comes, host(*bytes), Eagerness::IfFree);
            let expected = match want {
                Decision::Load { unload } if !unload.is_empty() => {
                    matches!(without_room, Decision::Busy { .. })
                }
                same => without_room == *same,
            };
            assert!(expected, "{bytes} into {models:?}, if it is free: {without_room:?}");
            if without_room == Decision::Present || matches!(without_room, Decision::Load { .. }) {
                continue;
            }
            let decision = residency.want(at(99), comes, host(*bytes), Eagerness::MakeRoom);
            assert_eq!(decision, *want, "{bytes} into {models:?}");
            let Decision::Load { unload } = want else { continue };
            assert!(residency.is_present(comes) && unload.iter().all(|&gone| !residency.is_present(gone)));
            assert_eq!(residency.want(at(99), comes, host(*bytes), Eagerness::MakeRoom), Decision::Present);
        }
    }

    #[test]
    fn room_on_devices_is_made_by_those_who_have_it() {
        let split = |host, device| Split { host, device };
        let mut residency = Residency::new(split(10, 10), [FREELY; 4]);
        for (model, bytes) in [split(4, 0), split(1, 5), split(1, 4)].into_iter().enumerate() {
            residency.want(at(model as u64), model, bytes, Eagerness::IfFree);
        }
        assert_eq!(residency.free(), split(4, 1));
        let judged = |bytes| residency.judge(3, bytes, Eagerness::MakeRoom);
        assert_eq!(judged(split(4, 1)), Decision::Load { unload: vec![] });
        assert_eq!(judged(split(1, 3)), Decision::Load { unload: vec![1] }, "the oldest has nothing there");
        assert_eq!(judged(split(5, 10)), Decision::Load { unload: vec![1, 2] });
        assert_eq!(judged(split(9, 3)), Decision::Load { unload: vec![0, 1] });
        assert_eq!(judged(split(1, 11)), Decision::TooBig { room: split(10, 10) });
        residency.lease(at(9), 1);
        assert_eq!(
            residency.judge(3, split(1, 7), Eagerness::MakeRoom),
            Decision::Busy { missing: split(0, 2) }
        );
    }

    #[test]
    fn a_model_that_works_stays_and_using_it_makes_it_the_last_to_go() {
        let mut residency = filled(10, &[(FREELY, 5), (FREELY, 5), (FREELY, 0)]);
        assert!(residency.lease(at(2), 0) && !residency.lease(at(2), 2));
        assert_eq!(
            residency.want(at(3), 2, host(6), Eagerness::MakeRoom),
            Decision::Busy { missing: host(1) }
        );
        assert!(!residency.dismiss(0));
        residency.release(at(4), 0);
        assert_eq!(
            residency.want(at(5), 2, host(4), Eagerness::MakeRoom),
            Decision::Load { unload: vec![1] }
        );
    }

    #[test]
    fn what_is_unused_for_its_time_goes_unless_it_is_pinned_or_works() {
        let keep = Some(Duration::from_secs(10));
        let timed = |pinned| Rights { pinned, keep_alive: keep };
        let mut residency =
            filled(10, &[(timed(false), 2), (timed(true), 2), (FREELY, 2), (timed(false), 2)]);
        assert_eq!(residency.next_expiry(), Some(at(10)));
        residency.lease(at(5), 3);
        assert_eq!(residency.expire(at(9)), Vec::<usize>::new());
        assert_eq!(residency.expire(at(1000)), [0]);
        assert_eq!(residency.next_expiry(), None);
        residency.release(at(1000), 3);
        assert_eq!(residency.next_expiry(), Some(at(1010)));
        assert_eq!(residency.expire(at(1010)), [3]);
        assert!(!residency.dismiss(1) && residency.dismiss(2));
    }

    /// Whatever happens, memory is never promised twice.
    #[test]
    fn memory_is_never_promised_twice() {
        let mut state = 42_u64;
        let mut draw = move |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let rights =
            |i: u64| Rights { pinned: i == 0, keep_alive: (i % 3 == 1).then_some(Duration::from_secs(5)) };
        let mut residency = Residency::new(Split { host: 100, device: 40 }, (0..8).map(rights));
        let mut leased = [0_usize; 8];
        for second in 0..20_000 {
            let model = draw(8) as usize;
            match draw(4) {
                0 => {
                    let bytes = Split { host: 1 + draw(60), device: draw(30) };
                    let before: Vec<bool> = (0..8).map(|i| residency.is_present(i)).collect();
                    if let Decision::Load { unload } =
                        residency.want(at(second), model, bytes, Eagerness::MakeRoom)
                    {
                        assert!(unload.iter().all(|&gone| before[gone] && leased[gone] == 0 && gone != 0));
                    }
                }
                1 => leased[model] += usize::from(residency.lease(at(second), model)),
                2 if leased[model] > 0 => {
                    leased[model] -= 1;
                    residency.release(at(second), model);
                }
                _ => assert!(residency.expire(at(second)).iter().all(|&gone| leased[gone] == 0)),
            }
            let taken: Split = (0..8).filter_map(|i| residency.taken(i)).sum();
            assert!(taken.host <= 100 && taken.device <= 40, "{taken:?} at {second}");
            assert!((0..8).all(|i| leased[i] == residency.leases(i)));
        }
    }
}
