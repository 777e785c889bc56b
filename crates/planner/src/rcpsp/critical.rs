//! What a schedule's makespan hangs on.

use super::Project;

/// Activities of which each begins when the one before it is finished and waits for it or for units that it gives back, up to the one
/// that is finished last. The first is first. `starts` has to be a [verified](super::verify) schedule; for another one the path means
/// nothing.
pub fn critical_path(project: &Project, starts: &[i64]) -> Vec<u32> {
    let activities = project.activities();
    let finish = |activity: u32| starts[activity as usize] + activities[activity as usize].ticks;
    let mut place = vec![0_usize; activities.len()];
    for (index, activity) in project.topological().iter().enumerate() {
        place[*activity as usize] = index;
    }
    // Activities without ticks may begin and end together: by this key each step leads back, so the way ends.
    let key = |activity: u32| (starts[activity as usize], finish(activity), place[activity as usize]);
    let all = 0..activities.len() as u32;
    let shares = |one: u32, other: u32| {
        let (one, other) = (&activities[one as usize].demands, &activities[other as usize].demands);
        one.iter().zip(other).any(|(one, other)| *one > 0 && *other > 0)
    };
    let mut path: Vec<u32> =
        all.clone().max_by_key(|activity| (finish(*activity), key(*activity))).into_iter().collect();
    while let Some(activity) = path.last().copied() {
        let leads =
            |before: &u32| finish(*before) == starts[activity as usize] && key(*before) < key(activity);
        let by_order = project.before(activity).iter().copied().find(leads);
        let by_units = || all.clone().filter(leads).find(|before| shares(*before, activity));
        match by_order.or_else(by_units) {
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
        rcpsp::{read, solve},
    };

    #[test]
    fn the_path_goes_over_orders_and_over_units() {
        // 1 and 2 share the two cooks, 3 waits for 2, and 0 and 4 take no time.
        let project = read("5 1\n2\n0 0 2 2 3\n2 2 1 5\n3 1 1 4\n1 1 1 5\n0 0 0\n").unwrap();
        assert_eq!(critical_path(&project, &[0, 0, 2, 5, 6]), [0, 1, 2, 3, 4]);
        let solution = solve(&project, Budget { evaluations: 9 }, 1, &mut Unlimited);
        let path = critical_path(&project, &solution.starts);
        assert_eq!(solution.starts[path[0] as usize], 0);
        assert!(critical_path(&read("0 0\n").unwrap(), &[]).is_empty());
    }
}
