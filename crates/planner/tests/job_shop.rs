//! Job shops: as good as brute force on small ones, valid on all, and wrong schedules are found.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

use std::{fs, path::Path};

use planner::{
    Budget, Random, Unlimited,
    job_shop::{JobShop, Operation, lower_bound, read, solve, verify},
    task_graph::{Algorithm, GraphError, Placed, Schedule},
};

/// The least makespan of all orders in which operations can be begun, each as early as can be behind those before it.
fn least_makespan(shop: &JobShop, done: &mut [usize], ready: &mut [i64], free: &mut [i64], best: &mut i64) {
    let finished = ready.iter().max().copied().unwrap();
    if finished >= *best {
        return;
    }
    if shop.jobs().iter().zip(&*done).all(|(job, done)| job.len() == *done) {
        *best = finished;
        return;
    }
    for (job, operations) in shop.jobs().iter().enumerate() {
        let Some(operation) = operations.get(done[job]) else { continue };
        let machine = operation.machine as usize;
        let was = (ready[job], free[machine]);
        let finish = was.0.max(was.1) + operation.ticks;
        (ready[job], free[machine]) = (finish, finish);
        done[job] += 1;
        least_makespan(shop, done, ready, free, best);
        done[job] -= 1;
        (ready[job], free[machine]) = was;
    }
}

#[test]
fn on_small_shops_the_makespan_is_that_of_brute_force() {
    let mut random = Random::new(1);
    let mut tight = 0;
    for round in 0..120 {
        let (machines, jobs) = (1 + random.below(3), 1 + random.below(4));
        let mut operation =
            |_| Operation { machine: random.below(machines), ticks: i64::from(random.below(10)) };
        // Machines may come twice, or not at all.
        let jobs: Vec<Vec<Operation>> = (0..jobs).map(|_| (0..3).map(&mut operation).collect()).collect();
        let shop = JobShop::new(machines as usize, jobs).unwrap();
        let count = shop.jobs().len();
        let mut least = i64::MAX;
        least_makespan(
            &shop,
            &mut vec![0; count],
            &mut vec![0; count],
            &mut vec![0; machines as usize],
            &mut least,
        );
        let bound = lower_bound(&shop);
        assert!(bound <= least, "{bound} > {least} for {shop:?}");
        tight += usize::from(bound == least);
        for algorithm in [Algorithm::Auto, Algorithm::LargeNeighbourhood] {
            let solution = solve(&shop, algorithm, Budget { evaluations: 2_000 }, round, &mut Unlimited);
            assert_eq!(verify(&shop, &solution.schedule), Ok(least), "{algorithm:?} for {shop:?}");
            assert_eq!(solution.lower_bound, bound);
        }
    }
    assert!(tight > 40, "the bound was tight for {tight} of 120");
}

#[test]
fn every_kind_of_damage_to_a_schedule_is_found() {
    let shop = read("2 2\n0 3 1 2\n1 4 0 1\n").unwrap();
    let at = |processor, start, finish| Placed { processor, start, finish };
    let right = Schedule { placed: vec![at(0, 0, 3), at(1, 4, 6), at(1, 0, 4), at(0, 4, 5)] };
    assert_eq!(verify(&shop, &right), Ok(6));
    for (operation, wrong, says) in [
        (0, at(1, 0, 3), "operation 0 of job 0: it is on another machine"),
        (0, at(0, -1, 2), "operation 0 of job 0: it begins before"),
        (1, at(1, 2, 4), "operation 1 of job 0: it begins before"),
        (1, at(1, 4, 7), "operation 1 of job 0: it takes another time"),
        (1, at(1, i64::MAX, i64::MIN), "operation 1 of job 0: it takes another time"),
        (1, at(1, 3, 5), "machine 1 does two operations at tick 3"),
    ] {
        let mut schedule = right.clone();
        schedule.placed[operation] = wrong;
        let error = verify(&shop, &schedule).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let error = verify(&shop, &Schedule { placed: right.placed[1..].to_vec() }).unwrap_err().to_string();
    assert!(error.contains("3 operations are placed, and the shop has 4"), "{error}");
}

#[test]
fn bad_shops_are_named() {
    let one = |machine, ticks| vec![vec![Operation { machine, ticks }]];
    assert_eq!(JobShop::new(1, one(1, 0)).unwrap_err(), GraphError::NoProcessor(0));
    for (result, says) in [
        (JobShop::new(0, one(0, 1)), "task 0 can run on no processor"),
        (JobShop::new(1, one(0, -1)), "costs -1 ticks"),
        (JobShop::new(1, one(0, i64::MAX)), "use a longer tick"),
        (JobShop::new(2_000, one(0, 1)), "1025 processors, and at most 1024"),
        (JobShop::new(1_024, vec![one(0, 1)[0].repeat(1 << 15)]), "costs, and at most"),
        (JobShop::new(1, vec![one(0, 1)[0].repeat((1 << 17) + 1)]), "tasks, and at most"),
    ] {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let empty = JobShop::new(0, Vec::new()).unwrap();
    let solution = solve(&empty, Algorithm::Auto, Budget { evaluations: 9 }, 0, &mut Unlimited);
    assert_eq!(verify(&empty, &solution.schedule), Ok(0));
}

/// Taillard's instances with their best known values.
#[test]
fn the_data_sets_are_solved_near_the_best_known() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/scheduling/jsp"));
    let Ok(bounds) = fs::read_to_string(folder.join("bounds.csv")) else {
        eprintln!("skipped: there is no {}", folder.join("bounds.csv").display());
        return;
    };
    let mut solved = 0;
    for line in bounds.lines().skip(1) {
        let words: Vec<&str> = line.split(',').collect();
        let shop = read(&fs::read_to_string(folder.join(format!("{}.txt", words[0]))).unwrap()).unwrap();
        let (proven, best): (i64, i64) = (words[3].parse().unwrap(), words[4].parse().unwrap());
        let bound = lower_bound(&shop);
        assert!(bound <= proven, "{}: {bound} > {proven}", words[0]);
        // Large ones take long without optimisation.
        let evaluations = if shop.graph().tasks() > 300 { 0 } else { 4_000 };
        let solution = solve(&shop, Algorithm::Auto, Budget { evaluations }, 1, &mut Unlimited);
        let makespan = verify(&shop, &solution.schedule).unwrap();
        assert!(makespan >= proven, "{}: {makespan} is better than the proven {proven}", words[0]);
        assert!(evaluations == 0 || makespan * 100 <= best * 115, "{}: {makespan}, best {best}", words[0]);
        solved += 1;
    }
    assert!(solved >= 40, "{solved}");
}
