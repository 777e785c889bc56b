//! What a schedule's makespan hangs on.

use super::{Schedule, TaskGraph};

/// Tasks of which each begins as soon as the one before it lets it, by its data or by its processor, up to the one that is finished
/// last: to shorten the schedule one of them has to become shorter, or to go elsewhere. The first is first. It begins at tick 0 where
/// every task is as early as can be, as in all schedules that are made here.
pub fn critical_path(graph: &TaskGraph, schedule: &Schedule) -> Vec<u32> {
    let placed = &schedule.placed;
    let mut place = vec![0_usize; graph.tasks()];
    for (index, task) in graph.topological().iter().enumerate() {
        place[*task as usize] = index;
    }
    // Tasks without ticks may begin and end together: by this key each step leads back, so the way ends.
    let key = |task: u32| {
        let at = placed[task as usize];
        (at.start, at.finish, place[task as usize])
    };
    let mut by_processor: Vec<u32> = (0..graph.tasks() as u32).collect();
    by_processor.sort_unstable_by_key(|task| (placed[*task as usize].processor, key(*task)));
    let mut alone_before = vec![None; graph.tasks()];
    for pair in by_processor.windows(2) {
        if placed[pair[0] as usize].processor == placed[pair[1] as usize].processor {
            alone_before[pair[1] as usize] = Some(pair[0]);
        }
    }
    let last = (0..graph.tasks() as u32).max_by_key(|task| (placed[*task as usize].finish, key(*task)));
    let mut path: Vec<u32> = last.into_iter().collect();
    while let Some(task) = path.last().copied() {
        let here = placed[task as usize];
        let by_data = graph.before(task).iter().find(|before| {
            let there = placed[before.task as usize];
            there.finish + graph.delay(before.data, there.processor, here.processor) == here.start
        });
        let by_processor =
            || alone_before[task as usize].filter(|before| placed[*before as usize].finish == here.start);
        match by_data
            .map(|before| before.task)
            .or_else(by_processor)
            .filter(|before| key(*before) < key(task))
        {
            Some(before) => path.push(before),
            None => break,
        }
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Budget, Unlimited,
        task_graph::{Algorithm, Placed, read, solve},
    };

    #[test]
    fn the_path_goes_over_data_and_over_processors() {
        let text = "p hdag 4 2 2\nn 0 1\nk 0 1000\nw 0 3 3\nw 1 4 4\nw 2 0 0\nw 3 2 2\ne 0 1 2\ne 2 3 9\n";
        let graph = read(text).unwrap();
        let placed = |processor, start, finish| Placed { processor, start, finish };
        // Task 1 waits for data of 0, then 2 for its processor, then 3 for 2, which takes no time.
        let schedule =
            Schedule { placed: vec![placed(0, 0, 3), placed(1, 5, 9), placed(1, 9, 9), placed(1, 9, 11)] };
        assert_eq!(critical_path(&graph, &schedule), [0, 1, 2, 3]);
        assert!(critical_path(&read("p hdag 0 1 0\nn 0\nk 0 0\n").unwrap(), &Schedule::default()).is_empty());
    }

    #[test]
    fn in_schedules_that_are_made_here_it_begins_at_once() {
        let text = "p hdag 5 2 4\nn 0 1\nk 0 500\nw 0 3 4\nw 1 4 9\nw 2 5 1\nw 3 2 2\nw 4 0 7\ne 0 3 2\ne 1 3 9\ne 3 4 1\ne 2 4 8\n";
        let graph = read(text).unwrap();
        for (name, algorithm) in Algorithm::NAMES {
            let schedule = solve(&graph, algorithm, Budget { evaluations: 50 }, 1, &mut Unlimited).schedule;
            let path = critical_path(&graph, &schedule);
            let ends = |task: Option<&u32>| schedule.placed[*task.unwrap() as usize];
            assert_eq!(ends(path.first()).start, 0, "{name}");
            assert_eq!(ends(path.last()).finish, schedule.makespan(), "{name}");
        }
    }
}
