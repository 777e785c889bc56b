//! `llmos plan place`: which replica of which model runs on which devices of which machine, and why.

use planner::placement::{Change, Explainer, Explanation, Lack, Parts, Place, solve, verify};
use serde_json::{Value, json};

use super::{
    defect,
    fleet::{self, Fleet},
    search,
};
use crate::{
    cli::PlaceArgs,
    exit::Failure,
    output::{self, Output},
};

pub(crate) fn run(wanted: &PlaceArgs, output: Output) -> Result<(), Failure> {
    let fleet = fleet::read(&wanted.inventory, &wanted.models)?;
    let problem = &fleet.problem;
    let searched = search::run(&wanted.search, output, |budget, control| {
        solve(problem, budget, wanted.search.seed, control)
    })?;
    let best = searched.found;
    verify(problem, &best.plan).map_err(|wrong| defect(&wrong))?;
    let mut why = Explainer::new(problem, &best.plan).map_err(|wrong| defect(&wrong))?;
    let explained: Vec<Explanation> =
        (0..best.plan.len()).filter_map(|replica| why.explain(replica)).collect();
    if output.json {
        let replica = |explanation: &Explanation| fleet.document(explanation, wanted.explain);
        return output::document(&json!({
            "cost": best.cost,
            "lower_bound": best.lower_bound,
            "cpu_ms": searched.cpu_ms,
            "evaluations": best.evaluations,
            "replicas": explained.iter().map(replica).collect::<Vec<_>>(),
        }));
    }
    let placed = best.plan.iter().flatten().count();
    let proven = if best.cost == best.lower_bound {
        "the least that there can be".to_owned()
    } else {
        format!("at least {} in any plan", best.lower_bound)
    };
    output.text(&format!(
        "{placed} of {} replicas have a place; the plan costs {}: {proven}\n{} evaluations, seed {}; {:.1} ms of one processor\n\n",
        best.plan.len(),
        best.cost,
        best.evaluations,
        wanted.search.seed,
        searched.cpu_ms
    ))?;
    if wanted.explain {
        let lines: Vec<String> = explained.iter().map(|explanation| fleet.sentences(explanation)).collect();
        return output.text(&lines.join("\n"));
    }
    let rows: Vec<Vec<String>> = explained.iter().map(|explanation| fleet.row(explanation)).collect();
    output.table(&["REPLICA", "MACHINE", "DEVICES", "COST"], &rows)
}

impl Fleet {
    /// As in `llama/0`.
    fn called(&self, replica: usize) -> String {
        let (model, number) = &self.replicas[replica];
        format!("{model}/{number}")
    }

    fn machine(&self, machine: u32) -> &str {
        &self.machines[machine as usize]
    }

    fn row(&self, explanation: &Explanation) -> Vec<String> {
        let (machine, devices) = match explanation.place {
            Some(place) => (self.machine(place.machine).to_owned(), numbers(place)),
            None => ("none".to_owned(), String::new()),
        };
        vec![self.called(explanation.replica), machine, devices, explanation.cost.to_string()]
    }

    /// Where it is and why, what was second best, and what would change it.
    fn sentences(&self, explanation: &Explanation) -> String {
        let Explanation { replica, place, cost, parts, second, changes } = explanation;
        let name = self.called(*replica);
        let first = match place.zip(*parts) {
            Some((place, parts)) => {
                let because = self.because(*replica, place, parts);
                format!("{name} is {}, at a cost of {cost}: {because}", self.at(place))
            }
            None => format!("{name} has no place, which costs its value of {cost}"),
        };
        let best_other = match second {
            Some((Some(place), cost)) => format!("{} at {cost}", self.at(*place)),
            Some((None, cost)) => format!("no place at {cost}"),
            None => "none; no machine has room for it as it is now".to_owned(),
        };
        let mut lines = vec![first, format!("  second best: {best_other}")];
        for change in changes {
            lines.push(format!("  would change it: {}", self.change(change, second.as_ref())));
        }
        lines.join("\n") + "\n"
    }

    fn at(&self, place: Place) -> String {
        let mut parts = vec![format!("on {}", self.machine(place.machine))];
        match place.devices.count_ones() {
            0 => {}
            1 => parts.push(format!("device {}", numbers(place))),
            _ => parts.push(format!("devices {}", numbers(place))),
        }
        parts.extend(place.numa.map(|node| format!("NUMA node {node}")));
        parts.join(", ")
    }

    /// What speaks for a place and against it.
    fn because(&self, replica: usize, place: Place, parts: Parts) -> String {
        let wanted = &self.problem.replicas()[replica];
        let model = &self.problem.models()[wanted.model as usize];
        let mut because = Vec::new();
        match wanted.now {
            Some(now) if now == place => because.push("it stays where it runs".to_owned()),
            Some(now) => {
                because.push(format!("it moves from {} ({})", self.machine(now.machine), parts.moving));
            }
            None => {}
        }
        let runs_there = wanted.now.is_some_and(|now| now.machine == place.machine);
        if parts.loading > 0 {
            because.push(format!("its files have to be loaded ({})", parts.loading));
        } else if runs_there || model.resident_on.contains(&place.machine) {
            because.push("its files are there".to_owned());
        }
        if parts.across > 0 {
            because.push(format!("its devices are on several islands ({})", parts.across));
        } else if model.devices > 1 && model.across_cost > 0 {
            because.push("its devices are on one island".to_owned());
        }
        if because.is_empty() {
            because.push("there is room".to_owned());
        }
        because.join(", ")
    }

    fn change(&self, change: &Change, second: Option<&(Option<Place>, i64)>) -> String {
        match change {
            Change::NoMachine => "a larger machine: none could hold it, even empty".to_owned(),
            Change::SecondCheaper(0) => "any cost: the second best is as cheap".to_owned(),
            Change::SecondCheaper(by) if second.is_some_and(|second| second.0.is_none()) => {
                format!("if it were worth {by} less, or this cost {by} more")
            }
            Change::SecondCheaper(by) => format!("if the second best cost {by} less, or this {by} more"),
            Change::Room { machine, cost, lacks } => {
                let lacks = match lacks.as_slice() {
                    [] => "other devices free".to_owned(),
                    lacks => lacks.iter().map(lack).collect::<Vec<_>>().join(" and "),
                };
                format!("if {} had {lacks}; there it would cost {cost}", self.machine(*machine))
            }
        }
    }

    fn document(&self, explanation: &Explanation, explains: bool) -> Value {
        let Explanation { replica, place, cost, parts, second, changes } = explanation;
        let (model, number) = &self.replicas[*replica];
        let at = |place: &Place| {
            let devices: Vec<u32> = devices(*place).collect();
            json!({ "machine": self.machine(place.machine), "devices": devices, "numa": place.numa })
        };
        let mut document = json!({
            "model": model,
            "replica": number,
            "place": place.as_ref().map(at),
            "cost": cost,
        });
        if explains {
            let parts = parts.map(|Parts { loading, across, moving }| {
                json!({ "loading": loading, "across": across, "moving": moving })
            });
            let second =
                second.as_ref().map(|(place, cost)| json!({ "place": place.as_ref().map(at), "cost": cost }));
            let changes: Vec<String> =
                changes.iter().map(|change| self.change(change, explanation.second.as_ref())).collect();
            let because =
                place.zip(explanation.parts).map(|(place, parts)| self.because(*replica, place, parts));
            document["explanation"] =
                json!({ "because": because, "parts": parts, "second": second, "changes": changes });
        }
        document
    }
}

fn lack(lack: &Lack) -> String {
    match lack {
        Lack::Memory(amount) => format!("{amount} MiB more memory"),
        Lack::Apart => "leave for one more replica of its model".to_owned(),
        other => other.to_string(),
    }
}

fn devices(place: Place) -> impl Iterator<Item = u32> {
    (0..u16::BITS).filter(move |device| place.devices >> device & 1 == 1)
}

fn numbers(place: Place) -> String {
    devices(place).map(|device| device.to_string()).collect::<Vec<_>>().join(",")
}
