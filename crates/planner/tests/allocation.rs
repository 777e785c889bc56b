//! Allocation: equal to brute force on small problems, proven on large ones.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use planner::{
    Budget, Progress, Random, Unlimited,
    allocation::{
        AllocationError, Cheapest, DEVICES_MAX, Device, Fastest, Job, Offer, Parallel, Piece, SPEED_MAX,
        TASKS_MAX, Task, WORK_MAX, Whole, Windows, cheapest, fastest, timetable, value_bound, verify, whole,
    },
};

fn below(random: &mut Random, end: u32) -> i64 {
    i64::from(random.below(end))
}

fn random_offer(random: &mut Random, devices: u32, tasks: u32, work: u32) -> Offer {
    let devices: Vec<Device> = (0..devices)
        .map(|_| Device {
            speed: 1 + below(random, 5),
            memory: 10 * below(random, 4),
            cost: below(random, 9),
        })
        .collect();
    let count = devices.len() as u32;
    let some = |random: &mut Random| (0..count).filter(|_| random.below(2) == 0).collect::<Vec<u32>>();
    let tasks: Vec<Task> = (0..tasks)
        .map(|_| Task {
            work: below(random, work),
            memory: 5 * below(random, 7),
            eligible: (random.below(2) == 0).then(|| some(random)),
            resident_on: some(random),
            load_ticks: below(random, 4),
            load_cost: below(random, 4),
        })
        .collect();
    let mut kept: Vec<Task> = tasks;
    loop {
        match Offer::new(devices.clone(), kept.clone()) {
            Ok(offer) => return offer,
            Err(AllocationError::NoDevice(task)) => kept[task].work = 0,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Work of some tasks, and the speed of all that can do some of it.
fn set(offer: &Offer, set: u32) -> (i64, i64) {
    let tasks = || (0..offer.tasks().len()).filter(|task| set >> task & 1 == 1);
    let work = tasks().map(|task| offer.tasks()[task].work).sum();
    let devices = 0..offer.devices().len();
    let can = |device: &usize| {
        let one = offer.devices()[*device];
        tasks().any(|task| {
            let wanted = &offer.tasks()[task];
            let eligible = wanted.eligible.as_ref();
            wanted.memory <= one.memory && eligible.is_none_or(|list| list.contains(&(*device as u32)))
        })
    };
    (work, devices.filter(can).map(|device| offer.devices()[device].speed).sum())
}

#[test]
fn divisible_work_takes_as_long_as_the_worst_set_of_tasks() {
    let mut random = Random::new(1);
    let mut smaller = 0;
    for _ in 0..1_000 {
        let (devices, tasks) = (1 + random.below(4), 1 + random.below(6));
        let offer = random_offer(&mut random, devices, tasks, 20);
        let found = fastest(&offer).unwrap();
        verify::fastest(&offer, &found).unwrap();
        let all = 1 << offer.tasks().len();
        let (num, den) = found.ticks;
        let is_least =
            (0..all).map(|tasks| set(&offer, tasks)).all(|(work, speed)| work * den <= num * speed);
        let some = (0..all).map(|tasks| set(&offer, tasks)).any(|(work, speed)| work * den == num * speed);
        assert!(is_least && some, "{offer:?} {found:?}");
        let busy = offer.tasks().iter().filter(|task| task.work > 0).count();
        smaller += u32::from(found.bottleneck.len() < busy);
    }
    assert!(smaller > 100, "the bottleneck is often not all: {smaller}");
}

/// The least cost of all divisions into units.
fn least_cost(offer: &Offer, task: usize, left: &mut [i64], todo: i64) -> Option<i64> {
    if todo == 0 {
        let Some(next) = offer.tasks().get(task + 1) else { return Some(0) };
        return least_cost(offer, task + 1, left, next.work);
    }
    let mut best: Option<i64> = None;
    for device in offer.able(task).iter().map(|device| *device as usize) {
        if left[device] > 0 {
            left[device] -= 1;
            let rest = least_cost(offer, task, left, todo - 1);
            left[device] += 1;
            let cost = rest.map(|rest| rest + offer.cost(task, device as u32));
            best = [best, cost].into_iter().flatten().min();
        }
    }
    best
}

#[test]
fn divisible_work_costs_what_brute_force_pays() {
    let mut random = Random::new(2);
    let (mut solved, mut refused) = (0, 0);
    for _ in 0..600 {
        let (devices, tasks) = (1 + random.below(3), 1 + random.below(3));
        let offer = random_offer(&mut random, devices, tasks, 4);
        let ticks = below(&mut random, 3);
        let mut left: Vec<i64> = offer.devices().iter().map(|device| device.speed * ticks).collect();
        let best = least_cost(&offer, 0, &mut left, offer.tasks()[0].work);
        match (cheapest(&offer, ticks), best) {
            (Ok(found), Some(best)) => {
                verify::cheapest(&offer, ticks, &found).unwrap();
                assert_eq!(found.cost, best.into(), "{offer:?}");
                solved += 1;
            }
            (Err(AllocationError::TooLittle { tasks, work, capacity }), None) => {
                let (does, speed) = set(&offer, tasks.iter().fold(0, |set, task| set | 1 << task));
                assert_eq!((work, capacity), (does.into(), (speed * ticks).into()));
                assert!(work > capacity);
                refused += 1;
            }
            (found, best) => panic!("{found:?} and {best:?} for {offer:?}"),
        }
    }
    assert!(solved > 100 && refused > 100, "{solved} {refused}");
}

/// The least makespan of all assignments, by the times that the documentation says.
fn least_makespan(offer: &Offer, task: usize, load: &mut [i64]) -> i64 {
    let Some(wanted) = offer.tasks().get(task) else { return load.iter().copied().max().unwrap_or(0) };
    if wanted.work == 0 {
        return least_makespan(offer, task + 1, load);
    }
    let choices = offer.able(task).iter().map(|device| {
        let there = wanted.resident_on.contains(device);
        let at = *device as usize;
        let speed = offer.devices()[at].speed;
        let ticks = (wanted.work + speed - 1) / speed + if there { 0 } else { wanted.load_ticks };
        load[at] += ticks;
        let makespan = least_makespan(offer, task + 1, load);
        load[at] -= ticks;
        makespan
    });
    choices.min().unwrap()
}

#[test]
fn whole_tasks_are_done_as_soon_as_brute_force_does_them_and_proven() {
    let mut random = Random::new(3);
    for _ in 0..400 {
        let (devices, tasks) = (1 + random.below(3), 1 + random.below(7));
        let offer = random_offer(&mut random, devices, tasks, 30);
        let best = least_makespan(&offer, 0, &mut vec![0; offer.devices().len()]);
        let found = whole(&offer, Budget { evaluations: 100_000 }, 1, &mut Unlimited).unwrap();
        verify::whole(&offer, &found).unwrap();
        assert_eq!((found.makespan, found.lower_bound), (best, best), "{offer:?}");
    }
}

#[test]
fn on_large_offers_proofs_hold_and_answers_are_the_same_again() {
    let mut random = Random::new(4);
    let mut ratios = Vec::new();
    for seed in 0..6 {
        let offer = random_offer(&mut random, 12, 300, 1_000);
        let soonest = fastest(&offer).unwrap();
        verify::fastest(&offer, &soonest).unwrap();
        let enough = soonest.ticks.0 / soonest.ticks.1 + 1;
        let least = cheapest(&offer, enough).unwrap();
        verify::cheapest(&offer, enough, &least).unwrap();
        assert_eq!(cheapest(&offer, enough).unwrap(), least);
        let budget = Budget { evaluations: 3_000 };
        let found = whole(&offer, budget, seed, &mut Unlimited).unwrap();
        verify::whole(&offer, &found).unwrap();
        assert_eq!(whole(&offer, budget, seed, &mut Unlimited).unwrap(), found);
        let first = whole(&offer, Budget { evaluations: 0 }, seed, &mut Unlimited).unwrap();
        verify::whole(&offer, &first).unwrap();
        assert!(found.makespan <= first.makespan && found.lower_bound <= found.makespan);
        // What can be divided is done at least as soon.
        assert!(soonest.ticks.0 <= found.makespan * soonest.ticks.1);
        let mut control = |progress: Progress| progress.evaluations < 500;
        let stopped = whole(&offer, Budget { evaluations: u64::MAX }, seed, &mut control).unwrap();
        let budget = Budget { evaluations: stopped.evaluations };
        assert_eq!(whole(&offer, budget, seed, &mut Unlimited).unwrap(), stopped);
        ratios.push(found.makespan as f64 / found.lower_bound as f64);
    }
    assert!(ratios.iter().all(|ratio| *ratio < 1.01), "{ratios:?}");
}

fn random_windows(random: &mut Random, jobs: u32, parallel: Parallel) -> Windows {
    let count = 1 + random.below(3);
    let speeds = (0..count).map(|_| match parallel {
        Parallel::Divisible => 1 + below(random, 3),
        Parallel::OneAtATime => 1,
    });
    let speeds = speeds.collect();
    let jobs = (0..jobs).map(|_| {
        let release = below(random, 8);
        let some = u64::from(random.below((1 << count) - 1)) + 1;
        Job {
            release,
            deadline: release + 1 + below(random, 6),
            work: below(random, 7),
            value: below(random, 10),
            devices: if parallel == Parallel::OneAtATime { u64::MAX } else { some },
        }
    });
    Windows::new(speeds, jobs.collect(), parallel).unwrap()
}

/// Whether for some jobs there is room: every tick by itself.
fn has_room(windows: &Windows, set: u32) -> bool {
    let jobs =
        || windows.jobs().iter().enumerate().filter(|(job, _)| set >> job & 1 == 1).map(|(_, job)| job);
    let room = (0..20).map(|tick| {
        let open = || jobs().filter(move |job| job.release <= tick && tick < job.deadline);
        match windows.parallel() {
            Parallel::OneAtATime => open().count().min(windows.speeds().len()) as i64,
            Parallel::Divisible => {
                let devices = open().fold(0, |devices, job| devices | job.devices);
                let speeds = windows.speeds().iter().enumerate();
                speeds.filter(|(device, _)| devices >> device & 1 == 1).map(|(_, speed)| speed).sum()
            }
        }
    });
    jobs().map(|job| job.work).sum::<i64>() <= room.sum()
}

#[test]
fn jobs_are_in_time_if_every_set_of_them_has_room() {
    let mut random = Random::new(5);
    for parallel in [Parallel::Divisible, Parallel::OneAtATime] {
        let (mut feasible, mut refused) = (0, 0);
        for _ in 0..500 {
            let count = 1 + random.below(6);
            let windows = random_windows(&mut random, count, parallel);
            let fits = (0..1 << count).all(|set| has_room(&windows, set));
            match timetable(&windows) {
                Ok(pieces) => {
                    verify::timetable(&windows, &pieces).unwrap();
                    assert!(fits, "{windows:?}");
                    feasible += 1;
                }
                Err(AllocationError::TooLittle { tasks, work, capacity }) => {
                    assert!(
                        !has_room(&windows, tasks.iter().fold(0, |set, job| set | 1 << job)),
                        "{windows:?}"
                    );
                    assert!(work > capacity);
                    refused += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(feasible > 100 && refused > 100, "{feasible} {refused}");
    }
}

#[test]
fn no_schedule_is_worth_more_than_the_clairvoyant_bound() {
    let mut random = Random::new(6);
    let mut tight = 0;
    for round in 0..400 {
        let parallel = [Parallel::Divisible, Parallel::OneAtATime][round % 2];
        let count = 1 + random.below(6);
        let windows = random_windows(&mut random, count, parallel);
        let bound = value_bound(&windows).unwrap();
        let value = |set: u32| {
            let some = windows.jobs().iter().enumerate().filter(|(job, _)| set >> job & 1 == 1);
            some.map(|(_, job)| job.value).sum::<i64>()
        };
        let some = |set: u32| {
            let jobs = windows.jobs().iter().enumerate().filter(|(job, _)| set >> job & 1 == 1);
            let jobs = jobs.map(|(_, job)| *job).collect();
            Windows::new(windows.speeds().to_vec(), jobs, parallel).unwrap()
        };
        let best = (0..1 << count).filter(|set| timetable(&some(*set)).is_ok()).map(value).max().unwrap();
        assert!(best <= bound, "{best} {bound} {windows:?}");
        tight += u32::from(best == bound);
    }
    assert!(tight > 150, "{tight}");
}

fn device(speed: i64, memory: i64, cost: i64) -> Device {
    Device { speed, memory, cost }
}

fn task(work: i64) -> Task {
    Task { work, memory: 0, eligible: None, resident_on: Vec::new(), load_ticks: 2, load_cost: 3 }
}

#[test]
fn wrong_answers_are_found() {
    let only = Task { eligible: Some(vec![0]), resident_on: vec![0], ..task(12) };
    let offer = Offer::new(vec![device(2, 0, 1), device(1, 0, 0)], vec![only, task(2)]).unwrap();
    let soonest = fastest(&offer).unwrap();
    assert_eq!((soonest.ticks, &soonest.bottleneck[..]), ((6, 1), &[0][..]));
    let breaks: [(fn(&mut Fastest), &str); 7] = [
        (|answer| answer.ticks = (5, 1), "device 0 does more"),
        (|answer| answer.ticks = (7, 1), "could be done in another time"),
        (|answer| answer.ticks = (6, 0), "no fraction"),
        (|answer| answer.shares[0].work -= 1, "of task 0 11 parts"),
        (|answer| answer.shares[0].device = 1, "device 1 cannot do task 0"),
        (|answer| answer.bottleneck = vec![0, 1], "could be done in another time"),
        (|answer| answer.bottleneck = vec![0, 0], "no set of tasks"),
    ];
    for (wrong, says) in breaks {
        let mut answer = soonest.clone();
        wrong(&mut answer);
        let error = verify::fastest(&offer, &answer).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    let least = cheapest(&offer, 7).unwrap();
    assert_eq!(least.cost, 12 + 2 * 3);
    let breaks: [(fn(&mut Cheapest), &str); 6] = [
        (|answer| answer.cost -= 1, "said to be 17"),
        (|answer| answer.shares[1].work = 1, "of task 1 1 parts"),
        (
            |answer| {
                answer.shares[1].device = 0;
                answer.cost += 2;
            },
            "allow a cheaper plan",
        ),
        (|answer| answer.device_prices[1] = -1, "negative price"),
        (|answer| answer.task_prices[0] += 1, "a higher price than a device"),
        (|answer| answer.task_prices.truncate(1), "it has 1 numbers"),
    ];
    for (wrong, says) in breaks {
        let mut answer = least.clone();
        wrong(&mut answer);
        let error = verify::cheapest(&offer, 7, &answer).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let full = Cheapest { cost: 12 + 2 * 4, ..least };
    assert!(verify::cheapest(&offer, 5, &full).is_err());

    let undivided = whole(&offer, Budget { evaluations: 100 }, 1, &mut Unlimited).unwrap();
    assert_eq!((undivided.makespan, &undivided.devices[..]), (6, &[Some(0), Some(1)][..]));
    let breaks: [(fn(&mut Whole), &str); 4] = [
        (|answer| answer.makespan = 5, "said to be 5, and is 6"),
        (|answer| answer.devices[1] = Some(0), "and is 9"),
        (|answer| answer.devices[0] = Some(1), "device 1 cannot"),
        (|answer| answer.devices[0] = None, "of task 0 0 parts"),
    ];
    for (wrong, says) in breaks {
        let mut answer = undivided.clone();
        wrong(&mut answer);
        let error = verify::whole(&offer, &answer).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn wrong_timetables_are_found() {
    let job = |release, deadline, work| Job { release, deadline, work, value: 1, devices: 3 };
    let jobs = vec![job(0, 3, 2), job(0, 3, 2), job(0, 3, 2)];
    let windows = Windows::new(vec![1, 1], jobs, Parallel::OneAtATime).unwrap();
    let right = timetable(&windows).unwrap();
    verify::timetable(&windows, &right).unwrap();
    // The second one wraps around: the end of the first device, and the begin of the second.
    let second = right.iter().filter(|piece| piece.job == 1).count();
    assert_eq!((right.len(), second), (4, 2));
    let breaks: [(fn(&mut Vec<Piece>), &str); 6] = [
        (|pieces| pieces[0].to = 4, "outside of its window"),
        (|pieces| pieces[0].device = 2, "device 2 cannot do task 0"),
        (|pieces| pieces[0].work = 1, "of task 0 1 parts"),
        (|pieces| pieces[0].to = 1, "device 0 does more"),
        (|pieces| pieces[0].device = 1, "device 1 is in two pieces"),
        (
            |pieces| {
                // The first job's part on the second device, at the time of its part on the first.
                *pieces = [(0, 0, 0, 1), (0, 1, 0, 1), (1, 0, 1, 3), (2, 1, 1, 3)]
                    .map(|(job, device, from, to)| Piece { job, device, from, to, work: to - from })
                    .to_vec();
            },
            "job 0 is in two pieces",
        ),
    ];
    for (wrong, says) in breaks {
        let mut pieces = right.clone();
        wrong(&mut pieces);
        let error = verify::timetable(&windows, &pieces).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn bad_problems_are_named() {
    let one = vec![device(1, 5, 0)];
    let offer = |devices: Vec<Device>, task: Task| Offer::new(devices, vec![task]).unwrap_err().to_string();
    let windows = |speed, job: Job, parallel| {
        Windows::new(vec![speed; 2], vec![job], parallel).unwrap_err().to_string()
    };
    let job = Job { release: 1, deadline: 3, work: 1, value: 1, devices: 3 };
    let divided = |job| windows(1, job, Parallel::Divisible);
    for (error, says) in [
        (offer(vec![device(-1, 0, 0)], task(1)), "device 0: its speed is negative"),
        (offer(vec![device(1, -1, 0)], task(1)), "memory and costs"),
        (offer(vec![device(1, 0, i64::MAX)], task(1)), "memory and costs"),
        (offer(vec![device(SPEED_MAX, 0, 0); 2], task(1)), "33554432 units of work in a tick"),
        (offer(vec![device(1, 0, 0); DEVICES_MAX + 1], task(1)), "1025 devices"),
        (offer(one.clone(), task(-1)), "task 0: its work"),
        (offer(one.clone(), task(WORK_MAX)), "units of work of all pairs"),
        (offer(one.clone(), Task { memory: 6, ..task(1) }), "task 0 can be done by no device"),
        (offer(vec![device(0, 5, 0)], task(1)), "task 0 can be done by no device"),
        (offer(one.clone(), Task { eligible: Some(vec![]), ..task(1) }), "can be done by no device"),
        (offer(one.clone(), Task { eligible: Some(vec![1]), ..task(1) }), "a device that there is not"),
        (offer(one.clone(), Task { resident_on: vec![7], ..task(1) }), "a device that there is not"),
        (offer(one.clone(), Task { load_ticks: -1, ..task(1) }), "time of loading"),
        (offer(one.clone(), Task { load_cost: -1, ..task(1) }), "memory and costs"),
        (divided(Job { release: -1, ..job }), "before tick 0"),
        (divided(Job { deadline: 1, ..job }), "it has no time"),
        (divided(Job { deadline: 0, work: 0, ..job }), "deadline is before"),
        (divided(Job { work: -1, ..job }), "its work has to be"),
        (divided(Job { value: 1 << 16, ..job }), "its value"),
        (divided(Job { devices: 4, ..job }), "can be done by no device"),
        (windows(2, job, Parallel::OneAtATime), "its speed is not 1"),
        (windows(1, Job { devices: 1, ..job }, Parallel::OneAtATime), "cannot use all devices"),
        (windows(-1, job, Parallel::Divisible), "speed is negative"),
    ] {
        assert!(error.contains(says), "{error}, not {says}");
    }
    let many = Offer::new(one.clone(), vec![task(0); TASKS_MAX + 1]).unwrap_err();
    assert_eq!(many.to_string(), "there are 16385 tasks, and at most 16384 can be worked on");
    let offer = Offer::new(one, vec![task(3), task(4)]).unwrap();
    let error = cheapest(&offer, 6).unwrap_err().to_string();
    assert_eq!(
        error,
        "2 tasks (one is 0) have 7 units of work, and the devices that can do them do 6 in that time"
    );
    assert!(cheapest(&offer, -1).is_err());
    assert!(matches!(cheapest(&offer, i64::MAX), Err(AllocationError::TooMany { what: "ticks", .. })));
}

#[test]
fn what_is_empty_and_what_is_largest_is_solved() {
    let nothing = Offer::new(Vec::new(), vec![task(0)]).unwrap();
    let soonest = fastest(&nothing).unwrap();
    assert_eq!(soonest.ticks, (0, 1));
    verify::fastest(&nothing, &soonest).unwrap();
    assert_eq!(cheapest(&nothing, 0).unwrap().cost, 0);
    let found = whole(&nothing, Budget { evaluations: 10 }, 1, &mut Unlimited).unwrap();
    assert_eq!((found.makespan, &found.devices[..]), (0, &[None][..]));
    verify::whole(&nothing, &found).unwrap();
    let windows = Windows::new(Vec::new(), Vec::new(), Parallel::Divisible).unwrap();
    assert_eq!((timetable(&windows), value_bound(&windows)), (Ok(Vec::new()), Ok(0)));

    let half = WORK_MAX / 2 / 3;
    let offer = Offer::new(vec![device(SPEED_MAX / 2, 0, 1 << 40); 2], vec![task(half), task(half)]).unwrap();
    let soonest = fastest(&offer).unwrap();
    verify::fastest(&offer, &soonest).unwrap();
    let least = cheapest(&offer, 1 << 34).unwrap();
    verify::cheapest(&offer, 1 << 34, &least).unwrap();
    assert_eq!(least.cost, i128::from(half) * 2 * ((1 << 40) + 3));
}

/// The numbers of `docs/concepts/allocation.md`.
#[test]
fn the_support_centre_comes_out_as_documented() {
    let (rented, own, server) = (device(2_000, 80, 4), device(300, 24, 2), device(40, 64, 1));
    let devices = vec![rented, rented, own, own, server, server, server, server];
    let needs = |work, memory| Task { memory, load_cost: 0, load_ticks: 0, ..task(work) };
    let mails = Task { eligible: Some((2..8).collect()), ..needs(1_400_000, 16) };
    let hour = vec![needs(1_800_000, 8), mails, needs(4_800_000, 60)];
    let offer = Offer::new(devices, hour).unwrap();
    let soonest = fastest(&offer).unwrap();
    verify::fastest(&offer, &soonest).unwrap();
    assert_eq!((soonest.ticks, &soonest.bottleneck[..]), ((35_000, 19), &[1][..]));
    let least = cheapest(&offer, 3_600).unwrap();
    verify::cheapest(&offer, 3_600, &least).unwrap();
    assert_eq!((least.cost, &least.device_prices[..]), (25_952_000, &[0, 0, 2, 2, 3, 3, 3, 3][..]));
    assert_eq!(least.task_prices, [4, 4, 4]);
    assert_eq!(
        cheapest(&offer, 1_800).unwrap_err().to_string(),
        "1 tasks (one is 1) have 1400000 units of work, and the devices that can do them do 1368000 in that time"
    );

    let night = [900, 700, 600, 400, 300, 300].map(|thousand| needs(thousand * 1_000, 8));
    let offer = Offer::new(vec![rented, own, own], night.to_vec()).unwrap();
    let undivided = whole(&offer, Budget { evaluations: 10_000 }, 1, &mut Unlimited).unwrap();
    verify::whole(&offer, &undivided).unwrap();
    assert_eq!((undivided.makespan, undivided.lower_bound), (1_300, 1_300));
    assert_eq!(fastest(&offer).unwrap().ticks, (16_000, 13));

    let job = |release, deadline, work| Job { release, deadline, work, value: 1, devices: 1 };
    let jobs = vec![job(0, 4, 3), job(1, 3, 2), job(2, 7, 2)];
    let windows = Windows::new(vec![1], jobs, Parallel::OneAtATime).unwrap();
    assert_eq!(
        timetable(&windows).unwrap_err(),
        AllocationError::TooLittle { tasks: vec![0, 1], work: 5, capacity: 4 }
    );
    assert_eq!(value_bound(&windows), Ok(2));
}
