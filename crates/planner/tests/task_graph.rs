//! Task graphs: never better than brute force and as good on small ones, valid on all, and wrong schedules are found.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

use std::{collections::HashMap, fs, path::Path};

use planner::{
    Budget, Progress, Random, Unlimited,
    task_graph::{
        Algorithm, Edge, GraphError, Known, Links, Placed, ReplanError, Schedule, Situation, TaskGraph,
        lower_bound, read, replan, solve, verify,
    },
};

const PLENTY: Budget = Budget { evaluations: 1_500 };

/// Some cost nothing, some cannot run everywhere, some data takes no time.
fn random_graph(random: &mut Random, tasks: u32, processors: u32) -> TaskGraph {
    let mut costs = Vec::new();
    for _ in 0..tasks {
        let mut row: Vec<Option<i64>> =
            (0..processors).map(|_| (random.below(5) > 0).then(|| i64::from(random.below(9)))).collect();
        row[random.below(processors) as usize] = Some(i64::from(1 + random.below(8)));
        costs.extend(row);
    }
    let mut edges = Vec::new();
    for to in 1..tasks {
        for from in 0..to {
            if random.below(3) == 0 {
                edges.push(Edge { from, to, data: i64::from(random.below(8)) });
            }
        }
    }
    let factors = (0..processors * processors).map(|_| i64::from(random.below(3)) * 700).collect();
    TaskGraph::new(&costs, Links::new(processors as usize, factors).unwrap(), edges).unwrap()
}

/// The least makespan of all orders on all processors, each task as early as can be behind those before it: one of them is
/// optimal.
fn least_makespan(graph: &TaskGraph, placed: &mut Vec<Option<Placed>>, free: &mut [i64], best: &mut i64) {
    let finished = placed.iter().flatten().map(|placed| placed.finish).max().unwrap_or_default();
    if finished >= *best {
        return;
    }
    if placed.iter().all(Option::is_some) {
        *best = finished;
        return;
    }
    for task in 0..graph.tasks() {
        let mut before = graph.edges().iter().filter(|edge| edge.to as usize == task);
        if placed[task].is_some() || before.any(|edge| placed[edge.from as usize].is_none()) {
            continue;
        }
        for processor in 0..free.len() as u32 {
            let Some(cost) = graph.cost(task as u32, processor) else { continue };
            let mut start = free[processor as usize];
            for edge in graph.edges().iter().filter(|edge| edge.to as usize == task) {
                let from = placed[edge.from as usize].unwrap();
                let factor = if from.processor == processor {
                    0
                } else {
                    graph.links().factor(from.processor, processor)
                };
                start = start.max(from.finish + (edge.data * factor + 999) / 1000);
            }
            let was = std::mem::replace(&mut free[processor as usize], start + cost);
            placed[task] = Some(Placed { processor, start, finish: start + cost });
            least_makespan(graph, placed, free, best);
            placed[task] = None;
            free[processor as usize] = was;
        }
    }
}

#[test]
fn on_small_graphs_nothing_is_better_than_brute_force_and_searches_are_as_good() {
    let mut random = Random::new(1);
    let (mut tight, mut rounds) = (0, 0);
    for round in 0..150 {
        let (tasks, processors) = (1 + random.below(5), 1 + random.below(3));
        let graph = random_graph(&mut random, tasks, processors);
        let mut least = i64::MAX;
        least_makespan(
            &graph,
            &mut vec![None; tasks as usize],
            &mut vec![0; processors as usize],
            &mut least,
        );
        let bound = lower_bound(&graph);
        assert!(bound <= least, "{bound} > {least} for {graph:?}");
        tight += usize::from(bound == least);
        rounds += 1;
        for (name, algorithm) in Algorithm::NAMES {
            let solution = solve(&graph, algorithm, PLENTY, round, &mut Unlimited);
            let makespan = verify::schedule(&graph, &solution.schedule).unwrap();
            assert_eq!(makespan, solution.schedule.makespan());
            assert!(makespan >= least, "{name}: {makespan} < {least} for {graph:?}");
            if ["auto", "sa", "lns"].contains(&name) {
                assert_eq!(makespan, least, "{name} for {graph:?}");
            }
        }
    }
    assert!(tight * 2 > rounds, "the bound was tight for {tight} of {rounds}");
}

#[test]
fn every_algorithm_gives_valid_schedules_that_no_bound_contradicts_and_the_same_again() {
    let mut random = Random::new(2);
    for round in 0..6 {
        let (tasks, processors) = (1 + random.below(120), 1 + random.below(9));
        let graph = random_graph(&mut random, tasks, processors);
        let heft = solve(&graph, Algorithm::Heft, PLENTY, 0, &mut Unlimited).schedule.makespan();
        for (name, algorithm) in Algorithm::NAMES {
            let budget = Budget { evaluations: 300 };
            let solution = solve(&graph, algorithm, budget, round, &mut Unlimited);
            let makespan = verify::schedule(&graph, &solution.schedule).unwrap();
            assert!(makespan >= solution.lower_bound, "{name}");
            assert_eq!(solution, solve(&graph, algorithm, budget, round, &mut Unlimited), "{name}");
            if ["auto", "sa", "lns", "ga", "ensemble"].contains(&name) {
                assert!(makespan <= heft, "{name}: {makespan} > {heft}");
            }
        }
    }
}

#[test]
fn a_search_that_is_stopped_gives_what_its_evaluations_give() {
    let graph = random_graph(&mut Random::new(3), 80, 4);
    for algorithm in
        [Algorithm::Auto, Algorithm::Annealing, Algorithm::LargeNeighbourhood, Algorithm::Genetic]
    {
        for most in [1, 40, 700] {
            let mut best = i64::MAX;
            let mut control = |progress: Progress| {
                assert!(progress.best <= best && progress.bound <= progress.best);
                best = progress.best;
                progress.evaluations < most
            };
            let stopped = solve(&graph, algorithm, Budget { evaluations: u64::MAX }, 9, &mut control);
            let budget = Budget { evaluations: stopped.evaluations };
            assert_eq!(stopped, solve(&graph, algorithm, budget, 9, &mut Unlimited));
            assert!((most..most + 64).contains(&stopped.evaluations), "{most}: {}", stopped.evaluations);
        }
        let none = solve(&graph, algorithm, Budget { evaluations: 0 }, 9, &mut Unlimited);
        verify::schedule(&graph, &none.schedule).unwrap();
        assert_eq!(none.evaluations, 0);
    }
}

#[test]
fn every_kind_of_damage_to_a_schedule_is_found() {
    // 0 → 1 over a link of 2 ticks; 2 alone, which cannot run on processor 0.
    let costs = [Some(3), Some(3), Some(4), Some(4), None, Some(5)];
    let edges = vec![Edge { from: 0, to: 1, data: 4 }];
    let graph = TaskGraph::new(&costs, Links::of_nodes(&[0, 1], 0, 500).unwrap(), edges).unwrap();
    let at = |processor, start, finish| Placed { processor, start, finish };
    let right = Schedule { placed: vec![at(0, 0, 3), at(1, 5, 9), at(1, 0, 5)] };
    assert_eq!(verify::schedule(&graph, &right), Ok(9));
    for (task, wrong, says) in [
        (0, at(0, -1, 2), "task 0 begins before tick 0"),
        (0, at(0, 0, 2), "task 0 takes 2 ticks, and costs 3"),
        (0, at(0, 0, 4), "task 0 takes 4 ticks, and costs 3"),
        (0, at(0, i64::MAX, i64::MIN), "and costs 3"),
        (0, at(0, 1, 4), "task 1 begins at 5, and what it needs of task 0 is there at 6"),
        (1, at(0, 2, 6), "task 1 begins at 2, and what it needs of task 0 is there at 3"),
        (1, at(2, 5, 9), "task 1 cannot run on processor 2"),
        (2, at(0, 10, 15), "task 2 cannot run on processor 0"),
        (2, at(1, 4, 9), "tasks 2 and 1 run at the same time on processor 1"),
        (2, at(1, 5, 10), "tasks 1 and 2 run at the same time on processor 1"),
    ] {
        let mut schedule = right.clone();
        schedule.placed[task] = wrong;
        let error = verify::schedule(&graph, &schedule).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    for placed in [right.placed[..2].to_vec(), [right.placed.clone(), vec![at(0, 20, 23)]].concat()] {
        let error = verify::schedule(&graph, &Schedule { placed }).unwrap_err().to_string();
        assert!(error.contains("and the graph has 3"), "{error}");
    }
}

#[test]
fn random_damage_to_good_schedules_is_found() {
    let mut random = Random::new(4);
    let mut found = 0;
    for round in 0..40 {
        let graph = random_graph(&mut random, 30, 3);
        let right = solve(&graph, Algorithm::Auto, PLENTY, round, &mut Unlimited).schedule;
        // All tasks are as early as their order allows: a later one must run into something or make the schedule longer, and an
        // earlier one runs into something.
        for task in 0..30 {
            let mut early = right.clone();
            early.placed[task].start -= 1;
            early.placed[task].finish -= 1;
            found += usize::from(verify::schedule(&graph, &early).is_err());
            let mut short = right.clone();
            short.placed[task].finish -= 1;
            verify::schedule(&graph, &short).unwrap_err();
        }
    }
    assert!(found > 40 * 20, "{found}");
}

#[test]
fn bad_graphs_are_named() {
    let links = |count: usize| Links::of_nodes(&vec![0; count], 1, 1).unwrap();
    let edge = |from, to, data| Edge { from, to, data };
    let two = [Some(1), Some(2)];
    let graph = |costs: &[Option<i64>], edges| TaskGraph::new(costs, links(1), edges);
    for (result, says) in [
        (graph(&[Some(-1)], vec![]), "task 0 costs -1 ticks on processor 0"),
        (graph(&[Some(1), None], vec![]), "task 1 can run on no processor"),
        (TaskGraph::new(&[Some(1)], links(2), vec![]), "there are 1 costs"),
        (TaskGraph::new(&[Some(1)], links(0), vec![]), "there are 1 costs"),
        (graph(&two, vec![edge(0, 2, 0)]), "edge 0: it begins or ends at a task that there is not"),
        (graph(&two, vec![edge(0, 1, 0), edge(1, 1, 0)]), "edge 1: a task cannot wait for itself"),
        (graph(&two, vec![edge(0, 1, -1)]), "edge 0: its data is negative"),
        (TaskGraph::new(&[Some(1); 4], links(2), vec![edge(0, 1, i64::MAX)]), "use a longer tick"),
        (graph(&[Some(i64::MAX), Some(i64::MAX)], vec![]), "use a longer tick"),
        (graph(&[Some(1 << 45), Some(1 << 45), Some(1)], vec![]), "use a longer tick"),
        (graph(&two, vec![edge(0, 1, 0), edge(1, 0, 0)]), "tasks wait for each other: 0 → 1 → 0"),
        (graph(&vec![Some(1); (1 << 17) + 1], vec![]), "there are 131073 tasks, and at most 131072"),
    ] {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    for (result, says) in [
        (Links::new(2, vec![0; 3]), "3 link factors, and there have to be 4"),
        (Links::new(2, vec![0, 0, -5, 0]), "from processor 1 to 0 has factor -5"),
        (Links::of_nodes(&vec![0; 2_000], 0, 0), "2000 processors, and at most 1024"),
        (Links::new(1_000_000, vec![]), "1000000 processors"),
    ] {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let empty = graph(&[], vec![]).unwrap();
    assert_eq!(solve(&empty, Algorithm::Auto, PLENTY, 0, &mut Unlimited).schedule, Schedule::default());
}

#[test]
fn a_cycle_is_named_by_its_tasks_only() {
    // 0 → 1 → 2 → 3 → 1, and 4 behind.
    let edge = |from, to| Edge { from, to, data: 0 };
    let edges = vec![edge(0, 1), edge(1, 2), edge(2, 3), edge(3, 1), edge(3, 4)];
    let result = TaskGraph::new(&[Some(1); 5], Links::of_nodes(&[0], 0, 0).unwrap(), edges);
    assert_eq!(result.unwrap_err(), GraphError::Cycle(vec![1, 2, 3]));
}

/// The data sets with their best known values.
#[test]
fn the_data_sets_are_solved_near_the_best_known() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/scheduling/dag"));
    let Ok(bounds) = fs::read_to_string(folder.join("bounds.csv")) else {
        eprintln!("skipped: there is no {}", folder.join("bounds.csv").display());
        return;
    };
    let mut best = HashMap::new();
    for line in bounds.lines().skip(1) {
        let words: Vec<&str> = line.split(',').collect();
        best.insert(
            words[0].to_owned(),
            (words[2].parse::<i64>().unwrap(), words[3] == "optimal", words[4].parse::<i64>().unwrap()),
        );
    }
    let (mut solved, mut logarithms) = (0, 0.0);
    for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let Some((best, proven, heft)) = best.get(&name).copied() else { continue };
        let graph = read(&fs::read_to_string(&file).unwrap()).unwrap();
        // Large ones take long without optimisation.
        if graph.tasks() > 100 {
            continue;
        }
        let solution = solve(&graph, Algorithm::Auto, Budget { evaluations: 1_000 }, 1, &mut Unlimited);
        let makespan = verify::schedule(&graph, &solution.schedule).unwrap();
        assert!(solution.lower_bound <= best, "{name}: the bound is above {best}");
        assert!(makespan <= heft, "{name}: HEFT has {heft}, this {makespan}");
        assert!(!proven || makespan >= best, "{name}: {makespan} is better than the optimum {best}");
        logarithms += (makespan as f64 / best as f64).ln();
        solved += 1;
    }
    let mean = (logarithms / f64::from(solved)).exp();
    assert!(solved >= 60 && mean < 1.1, "{solved} instances, {mean} times the best known");
}

/// What is known at a tick of a schedule that runs as planned, with one processor lost: what ran there is begun anew.
fn situation_at(schedule: &Schedule, now: i64, gone: u32) -> Vec<Known> {
    let known = |placed: &Placed| {
        let done = placed.finish <= now;
        let runs = placed.start < now && placed.processor != gone;
        if done || runs { Known::Started(*placed) } else { Known::Planned(*placed) }
    };
    schedule.placed.iter().map(known).collect()
}

#[test]
fn a_schedule_that_runs_is_planned_again_and_most_stays_where_it_is() {
    let mut random = Random::new(5);
    for round in 0..30 {
        let graph = random_graph(&mut random, 100, 6);
        let old = solve(&graph, Algorithm::Auto, Budget { evaluations: 200 }, round, &mut Unlimited).schedule;
        let now = old.makespan() / 3;
        let mut lost = vec![false; 6];
        // As it runs, nothing has to change, and nothing becomes longer.
        let known = situation_at(&old, now, 9);
        let situation = Situation { now, known: &known, lost: &lost };
        let budget = Budget { evaluations: 100 };
        let same = replan(&graph, &situation, Some(0), budget, round, &mut Unlimited).unwrap();
        let makespan = verify::new_plan(&graph, &situation, &same.schedule).unwrap();
        assert!(same.moved == 0 && makespan <= old.makespan(), "{makespan} {}", old.makespan());

        // A processor is lost on which some tasks can run only: they are late, and so is what runs.
        let gone = random.below(6);
        let others = |task: u32| (0..6).any(|at| at != gone && graph.cost(task, at).is_some());
        lost[gone as usize] = true;
        let mut known = situation_at(&old, now, gone);
        for (task, known) in known.iter_mut().enumerate() {
            match known {
                Known::Started(placed) if placed.finish > now => placed.finish += 7,
                Known::Planned(placed) if task % 10 == 0 && placed.start > now => *known = Known::New,
                _ => {}
            }
        }
        let situation = Situation { now, known: &known, lost: &lost };
        let stuck = known.iter().enumerate();
        let mut stuck =
            stuck.filter(|(task, known)| !matches!(known, Known::Started(_)) && !others(*task as u32));
        let result = replan(&graph, &situation, Some(5), budget, round, &mut Unlimited);
        if let Some((task, _)) = stuck.next() {
            assert_eq!(result, Err(ReplanError::NoProcessor(task)));
            continue;
        }
        let plan = result.unwrap();
        verify::new_plan(&graph, &situation, &plan.schedule).unwrap();
        let had_to =
            known.iter().filter(|known| matches!(known, Known::Planned(old) if old.processor == gone));
        assert!(plan.moved <= had_to.count() + 5, "{}", plan.moved);
        let free =
            replan(&graph, &situation, None, Budget { evaluations: 300 }, round, &mut Unlimited).unwrap();
        verify::new_plan(&graph, &situation, &free.schedule).unwrap();
        assert_eq!(
            free,
            replan(&graph, &situation, None, Budget { evaluations: 300 }, round, &mut Unlimited).unwrap()
        );
        let first =
            replan(&graph, &situation, None, Budget { evaluations: 0 }, round, &mut Unlimited).unwrap();
        assert!(free.schedule.makespan() <= first.schedule.makespan() && first.evaluations == 0);
    }
}

#[test]
fn wrong_new_plans_and_situations_are_named() {
    // 0 → 1 on two processors; 0 has run late, so 1 cannot begin before tick 6.
    let costs = [Some(3), Some(3), Some(4), Some(4), Some(2), Some(2)];
    let edges = vec![Edge { from: 0, to: 1, data: 4 }];
    let graph = TaskGraph::new(&costs, Links::of_nodes(&[0, 1], 0, 500).unwrap(), edges).unwrap();
    let at = |processor, start, finish| Placed { processor, start, finish };
    let known = [Known::Started(at(0, 0, 6)), Known::Planned(at(0, 3, 7)), Known::New];
    let lost = [false, false];
    let right = Schedule { placed: vec![at(0, 0, 6), at(0, 6, 10), at(1, 5, 7)] };
    let situation = Situation { now: 5, known: &known, lost: &lost };
    assert_eq!(verify::new_plan(&graph, &situation, &right), Ok(10));
    let plan = replan(&graph, &situation, Some(0), PLENTY, 1, &mut Unlimited).unwrap();
    assert_eq!((plan.schedule, plan.moved), (right.clone(), 0));
    for (task, wrong, says) in [
        (0, at(0, 0, 5), "task 0 has started, and is not planned as it is"),
        (1, at(0, 5, 9), "task 1 begins at 5, and what it needs of task 0 is there at 6"),
        (1, at(1, 7, 11), "task 1 begins at 7, and what it needs of task 0 is there at 8"),
        (1, at(0, 6, 9), "task 1 takes 3 ticks, and costs 4"),
        (2, at(1, 4, 6), "task 2 is to begin in the past or on a lost processor"),
        (2, at(0, 5, 7), "tasks 0 and 2 run at the same time on processor 0"),
        (2, at(2, 5, 7), "task 2 cannot run on processor 2"),
    ] {
        let mut schedule = right.clone();
        schedule.placed[task] = wrong;
        let error = verify::new_plan(&graph, &situation, &schedule).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let lost_one = Situation { lost: &[false, true], ..situation };
    assert!(verify::new_plan(&graph, &lost_one, &right).unwrap_err().to_string().contains("lost processor"));

    // What has started does not wait for what is done again.
    let again = [Known::New, Known::Started(at(0, 0, 4)), Known::New];
    let situation = Situation { now: 5, known: &again, lost: &lost };
    let plan = replan(&graph, &situation, None, PLENTY, 1, &mut Unlimited).unwrap();
    assert_eq!(verify::new_plan(&graph, &situation, &plan.schedule), Ok(8));

    let started = |placed| [Known::Started(placed), Known::New, Known::New];
    for (now, known, lost, says) in [
        (5, &known[..2], &lost[..], "there are 2 tasks, and the graph has 3"),
        (5, &known, &lost[..1], "there are 1 processors, and the graph has 2"),
        (-1, &known, &lost, "or now, is negative"),
        (i64::MAX, &known, &lost, "or now, is negative"),
        (5, &started(at(0, 3, 2)), &lost, "a time of task 0"),
        (5, &started(at(7, 0, 3)), &lost, "task 0 is on a processor that there is not"),
        (5, &known, &[true, true], "all processors on which task 1 can run are lost"),
    ] {
        let situation = Situation { now, known, lost };
        let error = replan(&graph, &situation, None, PLENTY, 1, &mut Unlimited).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
