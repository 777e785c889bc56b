//! Many list schedulers, of whose schedules the best counts: where one of them is far off, another one is not.

use super::{
    Schedule, TaskGraph,
    list::{self, Batch},
    race::Race,
    ranks::{Means, Stands},
};

/// Groups of processors that are tried, beside all of them.
const GROUPS_MAX: usize = 8;
/// Most steps of a member that looks ahead: above, it would take longer than the whole search may, and cannot be ended.
const LOOK_AHEAD_STEPS_MAX: usize = 1 << 28;

/// Runs one after the other for as long as the race goes on; those that are often best come first. Returns all schedules.
pub(super) fn run(graph: &TaskGraph, race: &mut Race<'_>) -> Vec<Schedule> {
    let upward = |stands, carried| Means::new(graph, stands, carried).upward();
    let mean = upward(Stands::Mean, 4);
    let table = Means::new(graph, Stands::Mean, 4).optimistic();
    let least = upward(Stands::Least, 4);
    let groups = groups(graph);
    let steps = graph.edges().len().saturating_mul(graph.processors().pow(2));
    let looks_ahead = steps <= LOOK_AHEAD_STEPS_MAX;
    let ahead = |rank: &'_ [i64]| looks_ahead.then(|| list::look_ahead_by(graph, rank));
    let mut members: Vec<Box<dyn Fn() -> Option<Schedule> + '_>> = vec![
        Box::new(|| Some(list::by_table(graph, &least, &table))),
        Box::new(|| Some(list::by_rank(graph, &upward(Stands::Least, 0), None))),
        Box::new(|| ahead(&mean)),
        Box::new(|| Some(list::batch(graph, Batch::Sufferage))),
        Box::new(|| Some(list::by_table(graph, &mean, &table))),
        Box::new(|| Some(list::peft(graph))),
        Box::new(|| Some(list::cpop(graph))),
        Box::new(|| ahead(&least)),
        Box::new(|| Some(list::by_rank(graph, &least, None))),
        Box::new(|| Some(list::by_table(graph, &upward(Stands::Most, 4), &table))),
        Box::new(|| Some(list::by_rank(graph, &upward(Stands::Mean, 1), None))),
        Box::new(|| Some(list::batch(graph, Batch::MaxMin))),
        Box::new(|| Some(list::batch(graph, Batch::MinMin))),
    ];
    for group in &groups {
        members.push(Box::new(|| Some(list::by_rank(graph, &mean, Some(group)))));
    }
    let mut found = vec![race.best().clone()];
    for member in members {
        if !race.goes_on() {
            break;
        }
        if let Some(schedule) = member() {
            race.count_schedule(&schedule);
            found.push(schedule);
        }
    }
    found
}

/// Where carrying is dear, fewer processors are better: the one that does everything soonest, and around each one those up to each
/// distance. Without all, and without repeats; the largest first.
fn groups(graph: &TaskGraph) -> Vec<Vec<bool>> {
    let processors = graph.processors() as u32;
    let mut groups: Vec<Vec<bool>> = Vec::new();
    let mut add = |group: Vec<bool>| {
        if groups.len() < GROUPS_MAX && group.contains(&false) && !groups.contains(&group) {
            groups.push(group);
        }
    };
    let mut whole = vec![0_i64; processors as usize];
    for task in 0..graph.tasks() as u32 {
        for choice in graph.choices(task) {
            whole[choice.processor as usize] += choice.cost;
        }
    }
    let alone = (0..processors).min_by_key(|processor| whole[*processor as usize]);
    add((0..processors).map(|processor| Some(processor) == alone).collect());
    for from in 0..processors.min(GROUPS_MAX as u32) {
        let factors = || (0..processors).map(|to| graph.links().factor(from, to));
        let mut nearest: Vec<i64> = factors().filter(|factor| *factor > 0).collect();
        nearest.sort_unstable();
        nearest.dedup();
        for near in nearest {
            add(factors().map(|factor| factor <= near).collect());
        }
    }
    groups.sort_by_key(|group| group.iter().filter(|inside| !**inside).count());
    groups
}
