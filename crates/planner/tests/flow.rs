//! Flows: equal to brute force on small problems, proven on large ones and on the data sets.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

use std::{fs, io::Read, path::Path};

use planner::{
    Random,
    flow::{Arc, FlowError, MaxFlowProblem, MinCostProblem, Problem, max_flow, min_cost, read, verify},
};

fn random_arcs(random: &mut Random, nodes: u32, arcs: u32, lower: bool) -> Vec<Arc> {
    (0..arcs)
        .map(|_| {
            let capacity = i64::from(random.below(4));
            let least =
                if lower && random.below(4) == 0 { i64::from(random.below(capacity as u32 + 1)) } else { 0 };
            Arc {
                from: random.below(nodes),
                to: random.below(nodes),
                lower: least,
                capacity,
                cost: i64::from(random.below(13)) - 4,
            }
        })
        .collect()
}

/// The least cost of all flows there are; none if there is none.
fn cheapest(problem: &MinCostProblem, arc: usize, left: &mut [i64], cost: i64, best: &mut Option<i64>) {
    let Some(next) = problem.arcs.get(arc) else {
        if left.iter().all(|left| *left == 0) && best.is_none_or(|best| cost < best) {
            *best = Some(cost);
        }
        return;
    };
    for flow in next.lower..=next.capacity {
        left[next.from as usize] -= flow;
        left[next.to as usize] += flow;
        cheapest(problem, arc + 1, left, cost + flow * next.cost, best);
        left[next.from as usize] += flow;
        left[next.to as usize] -= flow;
    }
}

#[test]
fn on_all_small_problems_the_cheapest_flow_is_that_of_brute_force() {
    let mut random = Random::new(1);
    let (mut solved, mut refused) = (0, 0);
    for _ in 0..3_000 {
        let nodes = 2 + random.below(3);
        let count = 1 + random.below(6);
        let arcs = random_arcs(&mut random, nodes, count, true);
        let mut supplies = vec![0; nodes as usize];
        for _ in 0..random.below(3) {
            let (from, to, units) = (random.below(nodes), random.below(nodes), i64::from(random.below(3)));
            supplies[from as usize] += units;
            supplies[to as usize] -= units;
        }
        let problem = MinCostProblem { supplies, arcs };
        let mut best = None;
        cheapest(&problem, 0, &mut problem.supplies.clone(), 0, &mut best);
        match (min_cost(&problem), best) {
            (Ok(answer), Some(best)) => {
                verify::min_cost(&problem, &answer).unwrap();
                assert_eq!(answer.cost, i128::from(best), "{problem:?}");
                solved += 1;
            }
            (Err(FlowError::Infeasible { cut, .. }), None) => {
                verify::infeasible(&problem, &cut).unwrap();
                refused += 1;
            }
            (found, best) => panic!("{found:?} and {best:?} for {problem:?}"),
        }
    }
    assert!(solved > 500 && refused > 500, "{solved} {refused}");
}

#[test]
fn on_large_random_problems_the_proofs_hold() {
    let mut random = Random::new(2);
    for round in 0..60 {
        let nodes = 20 + random.below(200);
        let mut arcs = random_arcs(&mut random, nodes, nodes * (2 + round % 7), false);
        for arc in &mut arcs {
            arc.capacity *= 1 + i64::from(random.below(50));
            // Negative cycles would be used to the full; they are allowed.
            arc.cost = i64::from(random.below(2_000)) - if round % 3 == 0 { 200 } else { 0 };
        }
        // A way for everything, dear.
        for node in 1..nodes {
            arcs.push(Arc { from: node - 1, to: node, lower: 0, capacity: 1 << 20, cost: 50_000 });
            arcs.push(Arc { from: node, to: node - 1, lower: 0, capacity: 1 << 20, cost: 50_000 });
        }
        let mut supplies = vec![0; nodes as usize];
        for _ in 0..nodes {
            let (from, to, units) = (random.below(nodes), random.below(nodes), i64::from(random.below(100)));
            supplies[from as usize] += units;
            supplies[to as usize] -= units;
        }
        let problem = MinCostProblem { supplies, arcs };
        let answer = min_cost(&problem).unwrap();
        verify::min_cost(&problem, &answer).unwrap();
        assert_eq!(min_cost(&problem).unwrap(), answer, "the same again");

        let network =
            MaxFlowProblem { nodes: nodes as usize, source: 0, sink: nodes - 1, arcs: problem.arcs };
        let network = MaxFlowProblem {
            arcs: network.arcs.iter().filter(|arc| arc.cost != 50_000).copied().collect(),
            ..network
        };
        verify::max_flow(&network, &max_flow(&network).unwrap()).unwrap();
    }
}

type Break = fn(&mut planner::flow::MinCostFlow);

#[test]
fn a_wrong_answer_is_found() {
    let arc = |from, to, capacity, cost| Arc { from, to, lower: 0, capacity, cost };
    let problem = MinCostProblem {
        supplies: vec![2, 0, -2],
        arcs: vec![arc(0, 1, 2, 1), arc(1, 2, 2, 1), arc(0, 2, 2, 3)],
    };
    let right = min_cost(&problem).unwrap();
    assert_eq!(right.cost, 4);
    let breaks: [(Break, &str); 5] = [
        (|answer| answer.flows[0] = 3, "arc 0 is outside"),
        (|answer| answer.flows[0] = 1, "node 0"),
        (|answer| answer.cost = 3, "the value is said to be 3"),
        (|answer| answer.flows = vec![1, 1, 1], "arc 2 shows"),
        (|answer| answer.flows.truncate(2), "2 numbers"),
    ];
    for (wrong, says) in breaks {
        let mut answer = right.clone();
        wrong(&mut answer);
        let error = verify::min_cost(&problem, &answer).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn bad_problems_are_named() {
    let arc = Arc { from: 0, to: 1, lower: 0, capacity: 1, cost: 1 };
    let with = |arc: Arc| MinCostProblem { supplies: vec![1, -1], arcs: vec![arc] };
    for (problem, says) in [
        (MinCostProblem { supplies: vec![1, -2], arcs: vec![arc] }, "all supplies together are -1"),
        (with(Arc { to: 2, ..arc }), "a node that there is not"),
        (with(Arc { lower: 2, ..arc }), "above its capacity"),
        (with(Arc { lower: -1, ..arc }), "is negative"),
        (with(Arc { cost: i64::MIN, ..arc }), "cost is so large"),
        (with(Arc { cost: i64::MAX, ..arc }), "cost is so large"),
        (with(Arc { capacity: i64::MAX, ..arc }), "capacities up to it"),
        (with(Arc { capacity: 0, ..arc }), "1 units more to give"),
    ] {
        let error = min_cost(&problem).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let empty = MinCostProblem { supplies: Vec::new(), arcs: Vec::new() };
    assert_eq!(min_cost(&empty).unwrap().cost, 0);
    let network = |source, sink| MaxFlowProblem { nodes: 2, source, sink, arcs: vec![arc] };
    for (source, sink) in [(0, 0), (0, 2), (2, 1)] {
        assert_eq!(max_flow(&network(source, sink)), Err(FlowError::BadEnds));
    }
}

/// The data sets, whose best values stand in the first line of each file.
#[test]
fn the_data_sets_are_solved_to_the_optimum() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/scheduling/flow"));
    let Ok(files) = fs::read_dir(folder) else {
        eprintln!("skipped: there is no {}", folder.display());
        return;
    };
    let mut solved = 0;
    for file in files.map(|file| file.unwrap().path()) {
        if file.extension().is_none_or(|ending| ending != "gz") || file.metadata().unwrap().len() > 40_000 {
            continue;
        }
        let mut text = String::new();
        flate2::read::GzDecoder::new(fs::File::open(&file).unwrap()).read_to_string(&mut text).unwrap();
        let digits = |line: &str| {
            line.split(|character: char| !character.is_ascii_digit() && character != '-')
                .find_map(|word| word.parse::<i128>().ok())
        };
        let best = text.lines().next().and_then(digits);
        let found = match read(&text).unwrap() {
            Problem::MinCost(problem) => {
                let answer = min_cost(&problem).unwrap();
                verify::min_cost(&problem, &answer).unwrap();
                answer.cost
            }
            Problem::MaxFlow(problem) => {
                let answer = max_flow(&problem).unwrap();
                verify::max_flow(&problem, &answer).unwrap();
                answer.value.into()
            }
        };
        assert_eq!(Some(found), best, "{}", file.display());
        solved += 1;
    }
    assert!(solved > 0);
}
