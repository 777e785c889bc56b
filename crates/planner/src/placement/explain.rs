//! Why each replica is where it is, what was second best, and what would change it.

use std::fmt;

use super::{
    Wrong,
    problem::{Parts, Place, Problem, Within},
    state::{Choice, State},
    verify,
};

/// What a machine lacks for a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Thousandths of a core.
    Cores(i64),
    /// Memory.
    Memory(i64),
    /// Devices of a kind that it can use with enough share and memory free, near enough to each other.
    Devices(u32),
    /// A NUMA node on which all that it needs is free.
    NumaNode,
    /// The machine, or its zone, holds as many replicas of the model as it may.
    Apart,
}

/// What would change where a replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// No machine could hold it, even empty.
    NoMachine,
    /// It goes to the second best as soon as that costs so much less, or its place so much more.
    SecondCheaper(i64),
    /// It would cost less on this machine, which lacks something.
    Room {
        /// The machine.
        machine: u32,
        /// What the replica would cost there.
        cost: i64,
        /// What is missing.
        lacks: Vec<Lack>,
    },
}

/// Why a replica is where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The replica.
    pub replica: usize,
    /// Where it is.
    pub place: Option<Place>,
    /// What it costs there; its value if it has no place.
    pub cost: i64,
    /// The same part by part; none if it has no place.
    pub parts: Option<Parts>,
    /// The best on another machine, or to have no place, with all others where they are; and what it costs. None if it has no
    /// place, and there is none.
    pub second: Option<(Option<Place>, i64)>,
    /// What would change it.
    pub changes: Vec<Change>,
}

/// Explains a plan.
pub struct Explainer<'a> {
    state: State<'a>,
    empty: State<'a>,
}

impl<'a> Explainer<'a> {
    /// Takes a plan, which has to be valid.
    pub fn new(problem: &'a Problem, plan: &[Option<Place>]) -> Result<Self, Wrong> {
        verify::plan(problem, plan)?;
        let mut state = State::new(problem);
        for (replica, place) in plan.iter().enumerate() {
            if let Some(place) = place {
                state.put(replica, *place);
            }
        }
        Ok(Self { state, empty: State::new(problem) })
    }

    /// Explains one replica; none if there is no such replica. O(machines · devices).
    pub fn explain(&mut self, replica: usize) -> Option<Explanation> {
        let problem = self.state.problem;
        let wanted = problem.replicas().get(replica)?;
        let place = self.state.lift(replica);
        let cost = problem.cost(replica, place);
        let machines = 0..problem.machines().len() as u32;
        let elsewhere = |machine: &u32| place.is_none_or(|place| place.machine != *machine);
        let found = machines.clone().filter(elsewhere);
        let found = found.filter_map(|machine| cheapest(&self.state, replica, machine)).min();
        let mut second = found.map(|(cost, place)| (Some(place), cost));
        if place.is_some() && second.is_none_or(|second| wanted.value <= second.1) {
            second = Some((None, wanted.value));
        }
        let mut changes = Vec::new();
        if let Some(second) = second {
            changes.push(Change::SecondCheaper(second.1 - cost));
        }
        // The cheapest machine that would be better if it had room; of those the one that lacks least.
        let mut is_possible = false;
        let mut best: Option<(i64, usize, u32, Vec<Lack>)> = None;
        for machine in machines {
            let Some((there, _)) = cheapest(&self.empty, replica, machine) else { continue };
            is_possible = true;
            if there >= cost || cheapest(&self.state, replica, machine).is_some_and(|now| now.0 <= there) {
                continue;
            }
            let lacks = self.lacks(wanted.model, machine);
            if best.as_ref().is_none_or(|best| (there, lacks.len()) < (best.0, best.1)) {
                best = Some((there, lacks.len(), machine, lacks));
            }
        }
        if let Some((cost, _, machine, lacks)) = best {
            changes.push(Change::Room { machine, cost, lacks });
        }
        if !is_possible {
            changes.push(Change::NoMachine);
        }
        if let Some(place) = place {
            self.state.put(replica, place);
        }
        let parts = place.map(|place| problem.parts(replica, place));
        Some(Explanation { replica, place, cost, parts, second, changes })
    }

    fn lacks(&self, model: u32, machine: u32) -> Vec<Lack> {
        let problem = self.state.problem;
        let wanted = &problem.models()[model as usize];
        let free = &self.state.free[machine as usize];
        let devices = &problem.machines()[machine as usize].devices;
        let mut lacks = Vec::new();
        if wanted.cores_milli > free.cores_milli {
            lacks.push(Lack::Cores(wanted.cores_milli - free.cores_milli));
        }
        if wanted.memory > free.memory {
            lacks.push(Lack::Memory(wanted.memory - free.memory));
        }
        let usable = |index: &usize| {
            wanted.kinds >> devices[*index].kind & 1 == 1
                && wanted.share_milli <= free.devices[*index].0
                && wanted.device_memory <= free.devices[*index].1
        };
        let mut groups = [0_u32; 16];
        for index in (0..devices.len()).filter(usable) {
            let group = match wanted.within {
                Within::Machine => 0,
                Within::Island => devices[index].island,
                Within::Numa => devices[index].numa,
            };
            groups[usize::from(group)] += 1;
        }
        let most = groups.into_iter().max().unwrap_or_default();
        if most < u32::from(wanted.devices) {
            lacks.push(Lack::Devices(u32::from(wanted.devices) - most));
        }
        if !self.state.is_apart(model, machine) {
            lacks.push(Lack::Apart);
        }
        if lacks.is_empty() && wanted.within == Within::Numa {
            lacks.push(Lack::NumaNode);
        }
        lacks
    }
}

/// The cheapest place on a machine.
fn cheapest(state: &State<'_>, replica: usize, machine: u32) -> Option<(i64, Place)> {
    let wanted = &state.problem.replicas()[replica];
    let mut best: Option<(i64, Place)> = None;
    let mut tell = |place: Place| {
        let found = (state.problem.cost(replica, Some(place)), place);
        best = Some(best.map_or(found, |best| best.min(found)));
    };
    if let Some(now) = wanted.now
        && now.machine == machine
        && state.fits(wanted.model, now)
    {
        tell(now);
    }
    state.places(wanted.model, machine, Choice::Tight, &mut tell);
    best
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cores(milli) => write!(f, "{}.{:03} more cores", milli / 1000, milli % 1000),
            Self::Memory(amount) => write!(f, "{amount} more memory"),
            Self::Devices(1) => write!(f, "one more device that it can use"),
            Self::Devices(count) => write!(f, "{count} more devices that it can use, near each other"),
            Self::NumaNode => write!(f, "a NUMA node with all that it needs"),
            Self::Apart => write!(f, "a place apart from other replicas of its model"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMachine => write!(f, "no machine could hold it, even empty"),
            Self::SecondCheaper(by) => write!(f, "the second best would have to cost {by} less"),
            Self::Room { machine, cost, lacks } => {
                write!(f, "on machine {machine} it would cost {cost}, if there were ")?;
                if lacks.is_empty() {
                    write!(f, "other devices free")?;
                }
                for (index, lack) in lacks.iter().enumerate() {
                    write!(f, "{}{lack}", if index == 0 { "" } else { " and " })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(place) => write!(f, "replica {} is on machine {}", self.replica, place.machine)?,
            None => write!(f, "replica {} has no place", self.replica)?,
        }
        write!(f, " at a cost of {}", self.cost)?;
        match self.second {
            Some((Some(place), cost)) => {
                write!(f, "; second best is machine {} at {cost}", place.machine)?;
            }
            Some((None, cost)) => write!(f, "; second best is no place at {cost}")?,
            None => {}
        }
        for change in &self.changes {
            write!(f, "; {change}")?;
        }
        Ok(())
    }
}
