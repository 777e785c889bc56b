use super::*;
use crate::task_graph::{Edge, Links};

fn random_graph(random: &mut Random) -> TaskGraph {
    let (tasks, processors) = (2 + random.below(40), 1 + random.below(5));
    let mut costs = Vec::new();
    for _ in 0..tasks {
        let mut row: Vec<_> =
            (0..processors).map(|_| (random.below(4) > 0).then(|| i64::from(random.below(20)))).collect();
        row[random.below(processors) as usize] = Some(3);
        costs.extend(row);
    }
    let mut edges = Vec::new();
    for _ in 0..tasks * 2 {
        let (from, to) = (random.below(tasks), random.below(tasks));
        if from < to {
            edges.push(Edge { from, to, data: i64::from(random.below(30)) });
        }
    }
    let factors = (0..processors * processors).map(|_| i64::from(random.below(1_500))).collect();
    let releases = (0..tasks * processors).map(|_| i64::from(random.below(40))).collect();
    let links = Links::new(processors as usize, factors).unwrap();
    TaskGraph::new(&costs, links, edges).unwrap().with_releases(releases)
}

/// Starts and rests as they are when all are computed anew.
fn times(plan: &Plan<'_>) -> Vec<(i64, i64, i64)> {
    plan.slots.iter().map(|slot| (slot.start, slot.finish, slot.rest)).collect()
}

#[test]
fn what_is_computed_again_is_what_all_anew_would_be_and_lengths_are_exact() {
    let mut random = Random::new(1);
    for _ in 0..200 {
        let graph = random_graph(&mut random);
        let choices = |task: u32| graph.choices(task)[0].processor;
        let mut plan = Plan::new(&graph, graph.topological().to_vec(), choices);
        for step in 0..60 {
            let count = 1 + random.below(4);
            let mut group: Vec<u32> = (0..count).map(|_| random.below(graph.tasks() as u32)).collect();
            group.sort_unstable();
            group.dedup();
            for task in &group {
                plan.lift(*task);
            }
            for (index, task) in group.iter().enumerate() {
                let noise = i64::from(random.below(2) * 10);
                let place = plan.best_place(*task, &mut random, noise);
                let without = plan.makespan();
                plan.put(*task, place);
                // What is still lifted counts for the paths through it, but not for the makespan.
                if index + 1 == group.len() {
                    assert_eq!(plan.makespan(), without.max(place.length));
                }
            }
            if step % 7 == 0 {
                plan.sort();
            }
            let mut anew = plan.clone();
            anew.link();
            assert_eq!(times(&plan), times(&anew));
            assert_eq!(plan.lanes, anew.lanes);
            let critical = &plan.slots[plan.critical(0) as usize];
            assert_eq!(critical.start + critical.rest, plan.makespan());
        }
    }
}

#[test]
fn without_noise_no_other_place_of_the_window_is_better() {
    let mut random = Random::new(2);
    for _ in 0..300 {
        let graph = random_graph(&mut random);
        let choices = |task: u32| graph.choices(task)[0].processor;
        let mut plan = Plan::new(&graph, graph.topological().to_vec(), choices);
        let task = random.below(graph.tasks() as u32);
        plan.lift(task);
        let best = plan.best_place(task, &mut random, 0);
        let (low, high) = plan.window(task);
        for choice in graph.choices(task) {
            let first = plan.index_from(choice.processor, low);
            let last = plan.index_from(choice.processor, high);
            for index in first..=last {
                let mut tried = plan.clone();
                tried.put(task, Place { processor: choice.processor, cost: choice.cost, index, length: 0 });
                let slot = &tried.slots[task as usize];
                let length = slot.start + slot.rest;
                assert!(length >= best.length, "{length} < {}", best.length);
            }
        }
    }
}
