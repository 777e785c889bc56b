//! Placement: equal to brute force on small problems, valid, bounded and reproducible on large ones.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use planner::{Budget, Progress, Random, Unlimited, placement::*};

/// What random problems look like.
#[derive(Clone, Copy)]
struct Size {
    machines: u32,
    devices: u32,
    models: u32,
    replicas: u32,
    zones: u32,
}

const SMALL: Size = Size { machines: 2, devices: 3, models: 3, replicas: 4, zones: 2 };
const LARGE: Size = Size { machines: 40, devices: 8, models: 20, replicas: 400, zones: 5 };

fn random_problem(random: &mut Random, size: Size) -> Problem {
    let machines: Vec<Machine> =
        (0..=random.below(size.machines)).map(|_| random_machine(random, size)).collect();
    let models: Vec<Model> =
        (0..=random.below(size.models)).map(|_| random_model(random, machines.len() as u32)).collect();
    let replicas = (0..=random.below(size.replicas)).map(|_| {
        let number = random.below(models.len() as u32);
        let model = &models[number as usize];
        let machine = random.below(machines.len() as u32);
        let runs = random.below(3) == 0;
        let mut devices = 0_u16;
        // It may run where it no longer can.
        let count = machines[machine as usize].devices.len() as u32;
        while count > u32::from(model.devices) && devices.count_ones() < u32::from(model.devices) {
            devices |= 1 << random.below(count);
        }
        let is_whole = devices.count_ones() == u32::from(model.devices);
        let numa = (model.within == Within::Numa).then_some(0);
        let now = (runs && is_whole).then_some(Place { machine, devices, numa });
        Replica { model: number, value: below(random, 100), now, move_cost: below(random, 20) }
    });
    let replicas = replicas.collect();
    Problem::new(machines, models, replicas).unwrap()
}

fn below(random: &mut Random, end: u32) -> i64 {
    i64::from(random.below(end))
}

fn random_machine(random: &mut Random, size: Size) -> Machine {
    let nodes = 1 + random.below(2);
    let numa = (0..nodes)
        .map(|_| Numa { cores_milli: 1000 * below(random, 9), memory: 10 + below(random, 30) })
        .collect();
    let devices = (0..random.below(size.devices + 1))
        .map(|_| Device {
            kind: random.below(2) as u8,
            memory: 40 * (1 + below(random, 2)),
            numa: random.below(nodes) as u8,
            island: random.below(2) as u8,
        })
        .collect();
    Machine { numa, devices, zone: random.below(size.zones) }
}

fn random_model(random: &mut Random, machines: u32) -> Model {
    Model {
        cores_milli: 500 * below(random, 9),
        memory: below(random, 20),
        devices: random.below(3) as u8,
        share_milli: [200, 500, 700, 1000][random.below(4) as usize],
        device_memory: below(random, 50),
        kinds: 1 + u64::from(random.below(3)),
        within: [Within::Machine, Within::Island, Within::Numa][random.below(3) as usize],
        per_machine_max: 1 + random.below(3),
        per_zone_max: 1 + random.below(4),
        resident_on: (0..random.below(2)).map(|_| random.below(machines)).collect(),
        load_cost: below(random, 30),
        across_cost: below(random, 10),
    }
}

/// The least cost of all plans there are, found with nothing of the solver.
fn cheapest(problem: &Problem, plan: &mut Vec<Option<Place>>, replica: usize) -> i128 {
    if replica == plan.len() {
        return verify(problem, plan).unwrap();
    }
    let mut best = cheapest(problem, plan, replica + 1);
    let model = &problem.models()[problem.replicas()[replica].model as usize];
    for (machine, found) in problem.machines().iter().enumerate() {
        for devices in 0..1_u16 << found.devices.len() {
            let nodes = 0..found.numa.len() as u8;
            let numa: Vec<Option<u8>> =
                if model.within == Within::Numa { nodes.map(Some).collect() } else { vec![None] };
            for numa in numa {
                plan[replica] = Some(Place { machine: machine as u32, devices, numa });
                if verify(problem, plan).is_ok() {
                    best = best.min(cheapest(problem, plan, replica + 1));
                }
            }
        }
    }
    plan[replica] = None;
    best
}

#[test]
fn on_small_problems_the_plan_is_that_of_brute_force_and_proven() {
    let mut random = Random::new(1);
    let (mut waiting, mut placed) = (0, 0);
    for _ in 0..400 {
        let problem = random_problem(&mut random, SMALL);
        let best = cheapest(&problem, &mut vec![None; problem.replicas().len()], 0);
        let found = solve(&problem, Budget { evaluations: 200_000 }, 1, &mut Unlimited);
        assert_eq!(verify(&problem, &found.plan), Ok(best), "{problem:?}");
        assert_eq!((i128::from(found.cost), i128::from(found.lower_bound)), (best, best), "{problem:?}");
        assert!(i128::from(lower_bound(&problem)) <= best, "{problem:?}");
        let without = found.plan.iter().filter(|place| place.is_none()).count();
        waiting += without;
        placed += found.plan.len() - without;
    }
    assert!(waiting > 100 && placed > 100, "{waiting} {placed}");
}

#[test]
fn on_large_problems_plans_are_valid_bounded_and_the_same_again() {
    let mut random = Random::new(2);
    for seed in 0..8 {
        let problem = random_problem(&mut random, LARGE);
        let budget = Budget { evaluations: 2_000 };
        let found = solve(&problem, budget, seed, &mut Unlimited);
        assert_eq!(verify(&problem, &found.plan), Ok(found.cost.into()));
        assert!(found.lower_bound <= found.cost);
        assert!(found.evaluations <= budget.evaluations);
        assert_eq!(solve(&problem, budget, seed, &mut Unlimited), found);
        let order: Vec<usize> = (0..problem.replicas().len()).collect();
        for rule in Rule::ALL {
            let list = list(&problem, rule, &order);
            assert_eq!(verify(&problem, &list.plan), Ok(list.cost.into()), "{rule:?}");
            assert!(found.cost <= list.cost && found.lower_bound <= list.cost, "{rule:?}");
        }
    }
}

#[test]
fn a_search_that_was_stopped_has_the_plan_of_that_budget() {
    let problem = random_problem(&mut Random::new(9), LARGE);
    for after in [1, 20, 300] {
        let mut control = |progress: Progress| progress.evaluations < after;
        let stopped = solve(&problem, Budget { evaluations: u64::MAX }, 3, &mut control);
        let budget = Budget { evaluations: stopped.evaluations };
        assert_eq!(solve(&problem, budget, 3, &mut Unlimited), stopped);
    }
    let none = solve(&problem, Budget { evaluations: 0 }, 3, &mut Unlimited);
    assert_eq!((verify(&problem, &none.plan), none.evaluations), (Ok(none.cost.into()), 0));
    let idle: i64 = problem.replicas().iter().map(|replica| replica.value).sum();
    assert!(none.cost < idle);
}

fn gpu(numa: u8, island: u8) -> Device {
    Device { kind: 0, memory: 80, numa, island }
}

fn machine() -> Machine {
    let node = Numa { cores_milli: 8_000, memory: 100 };
    Machine { numa: vec![node; 2], devices: vec![gpu(0, 0), gpu(0, 0), gpu(1, 1), gpu(1, 1)], zone: 0 }
}

fn model() -> Model {
    Model {
        cores_milli: 1_000,
        memory: 10,
        devices: 1,
        share_milli: 500,
        device_memory: 30,
        kinds: 1,
        within: Within::Machine,
        per_machine_max: 10,
        per_zone_max: 10,
        resident_on: Vec::new(),
        load_cost: 0,
        across_cost: 0,
    }
}

fn replica(model: u32) -> Replica {
    Replica { model, value: 100, now: None, move_cost: 5 }
}

// Plans consist of places that may be missing.
#[allow(clippy::unnecessary_wraps)]
fn at(machine: u32, devices: u16, numa: Option<u8>) -> Option<Place> {
    Some(Place { machine, devices, numa })
}

#[test]
fn a_wrong_plan_is_found() {
    let models = vec![
        Model { per_machine_max: 2, per_zone_max: 3, load_cost: 7, ..model() },
        Model { devices: 2, share_milli: 400, within: Within::Island, ..model() },
        Model { cores_milli: 5_000, memory: 60, within: Within::Numa, ..model() },
        Model { devices: 2, share_milli: 100, device_memory: 0, across_cost: 3, ..model() },
        Model { cores_milli: 12_000, memory: 0, devices: 0, ..model() },
        Model { cores_milli: 0, memory: 120, devices: 0, ..model() },
    ];
    let other = Machine { devices: vec![Device { kind: 1, ..gpu(0, 0) }; 2], ..machine() };
    let mut replicas: Vec<Replica> = [0, 0, 0, 0, 1, 2, 2, 3, 4, 5].into_iter().map(replica).collect();
    replicas[0].now = at(0, 0b0001, None);
    let problem = Problem::new(vec![machine(), machine(), other], models, replicas).unwrap();
    let right = vec![
        at(0, 0b0010, None),
        at(0, 0b0010, None),
        at(1, 0b0001, None),
        None,
        at(1, 0b1100, None),
        at(0, 0b0001, Some(0)),
        at(0, 0b0100, Some(1)),
        at(0, 0b1001, None),
        None,
        None,
    ];
    // Moved once, loaded twice, across once, and three without a place.
    assert_eq!(verify(&problem, &right), Ok(5 + 14 + 3 + 300));
    let breaks: [(usize, Option<Place>, &str); 15] = [
        (0, at(3, 0b0010, None), "no such machine"),
        (0, at(0, 0b1_0000, None), "no such device"),
        (0, at(2, 0b0001, None), "cannot use this kind"),
        (0, at(0, 0b0011, None), "more or fewer devices"),
        (0, at(0, 0b0010, Some(0)), "and its model is not"),
        (0, at(0, 0b0001, None), "1000 of thousandths of a device, and 1100"),
        (2, at(0, 0b1000, None), "3 replicas of model 0 on one machine"),
        (3, at(1, 0b0010, None), "4 replicas of model 0 on one zone"),
        (4, at(1, 0b0110, None), "not on one island"),
        (5, at(0, 0b0001, None), "has to be bound"),
        (5, at(0, 0b0001, Some(1)), "not on its NUMA node"),
        (5, at(0, 0b1000, Some(1)), "cores (thousandths) of a NUMA node"),
        (6, at(0, 0b0100, Some(2)), "no such NUMA node"),
        (8, at(0, 0, None), "has 16000 of cores (thousandths), and 25000"),
        (9, at(0, 0, None), "has 200 of memory, and 270"),
    ];
    for (replica, place, says) in breaks {
        let mut wrong = right.clone();
        wrong[replica] = place;
        let error = verify(&problem, &wrong).unwrap_err().to_string();
        assert!(error.contains(says), "{error}, not {says}");
    }
    assert!(matches!(verify(&problem, &right[1..]), Err(Wrong::Shape { found: 9, expected: 10 })));
}

#[test]
fn bad_problems_are_named() {
    let solo = |machine: Machine, model: Model, replica: Replica| {
        Problem::new(vec![machine], vec![model], vec![replica]).unwrap_err().to_string()
    };
    let node = Numa { cores_milli: 1, memory: 1 };
    let bad_machine = |machine: Machine| solo(machine, model(), replica(0));
    let bad_model = |model: Model| solo(machine(), model, replica(0));
    let bad_replica = |replica: Replica| solo(machine(), model(), replica);
    for (error, says) in [
        (bad_machine(Machine { numa: Vec::new(), ..machine() }), "machine 0: it needs 1 to 16 NUMA"),
        (bad_machine(Machine { numa: vec![node; 17], ..machine() }), "1 to 16 NUMA"),
        (bad_machine(Machine { devices: vec![gpu(0, 0); 17], ..machine() }), "more than 16 devices"),
        (bad_machine(Machine { devices: vec![gpu(2, 0)], ..machine() }), "NUMA node that there is not"),
        (bad_machine(Machine { devices: vec![gpu(0, 16)], ..machine() }), "islands 0 to 15"),
        (bad_machine(Machine { devices: vec![Device { kind: 64, ..gpu(0, 0) }], ..machine() }), "0 to 63"),
        (
            bad_machine(Machine { devices: vec![Device { memory: -1, ..gpu(0, 0) }], ..machine() }),
            "memory of a device",
        ),
        (bad_machine(Machine { numa: vec![Numa { memory: i64::MAX, ..node }], ..machine() }), "0 to 2^40"),
        (bad_machine(Machine { zone: 1 << 12, ..machine() }), "zone is 4096"),
        (bad_model(Model { cores_milli: -1, ..model() }), "model 0: cores and memory"),
        (bad_model(Model { devices: 17, ..model() }), "more than 16 devices"),
        (bad_model(Model { share_milli: 0, ..model() }), "1 to 1000"),
        (bad_model(Model { share_milli: 1001, ..model() }), "1 to 1000"),
        (bad_model(Model { per_zone_max: 0, ..model() }), "at least one replica"),
        (bad_model(Model { load_cost: -1, ..model() }), "costs have to be"),
        (bad_model(Model { resident_on: vec![1], ..model() }), "files are on a machine"),
        (bad_replica(replica(1)), "replica 0: there is no such model"),
        (bad_replica(Replica { value: i64::MAX, ..replica(0) }), "0 to 2^40"),
        (bad_replica(Replica { now: at(1, 1, None), ..replica(0) }), "a machine that there is not"),
        (bad_replica(Replica { now: at(0, 3, None), ..replica(0) }), "more or fewer devices"),
        (bad_replica(Replica { now: at(0, 1, Some(0)), ..replica(0) }), "bound to a NUMA node"),
    ] {
        assert!(error.contains(says), "{error}, not {says}");
    }
    let many = Problem::new(vec![machine(); MACHINES_MAX + 1], Vec::new(), Vec::new());
    assert_eq!(many.unwrap_err().to_string(), "there are 4097 machines, and at most 4096 can be worked on");
    let many = Problem::new(Vec::new(), vec![model()], vec![replica(0); REPLICAS_MAX + 1]);
    assert!(many.unwrap_err().to_string().contains("65537 replicas"));
}

#[test]
fn the_largest_amounts_do_not_overflow() {
    let node = Numa { cores_milli: AMOUNT_MAX, memory: AMOUNT_MAX };
    let device = Device { memory: AMOUNT_MAX, ..gpu(0, 0) };
    let machine = Machine { numa: vec![node; 16], devices: vec![device; 16], zone: 4095 };
    let model = Model {
        cores_milli: AMOUNT_MAX,
        memory: AMOUNT_MAX,
        devices: 16,
        share_milli: 1,
        device_memory: AMOUNT_MAX,
        load_cost: VALUE_MAX,
        ..model()
    };
    let replicas = vec![Replica { value: VALUE_MAX, ..replica(0) }; 100];
    let problem = Problem::new(vec![machine; 20], vec![model], replicas).unwrap();
    let found = solve(&problem, Budget { evaluations: 200 }, 1, &mut Unlimited);
    assert_eq!(verify(&problem, &found.plan), Ok(found.cost.into()));
    assert_eq!(found.cost, 100 * VALUE_MAX, "loading costs what it is worth");
}

#[test]
fn nothing_is_placed_where_there_is_nothing() {
    for problem in [
        Problem::new(Vec::new(), Vec::new(), Vec::new()).unwrap(),
        Problem::new(Vec::new(), vec![model()], vec![replica(0); 3]).unwrap(),
        Problem::new(vec![machine()], vec![Model { kinds: 2, ..model() }], vec![replica(0); 3]).unwrap(),
    ] {
        let found = solve(&problem, Budget { evaluations: 100 }, 1, &mut Unlimited);
        assert_eq!(found.cost, 100 * problem.replicas().len() as i64);
        assert_eq!(found.lower_bound, found.cost);
    }
}

#[test]
fn what_runs_stays_unless_moving_pays() {
    // Two small ones on both islands; a large one comes that needs a whole island.
    let models = vec![model(), Model { devices: 2, share_milli: 1000, within: Within::Island, ..model() }];
    let running = |devices| Replica { now: at(0, devices, None), ..replica(0) };
    let problem = |value| {
        let replicas = vec![running(0b0001), running(0b0100), Replica { value, ..replica(1) }];
        Problem::new(vec![machine()], models.clone(), replicas).unwrap()
    };
    let solved = |problem: &Problem| solve(problem, Budget { evaluations: 10_000 }, 1, &mut Unlimited);
    let pays = solved(&problem(6));
    assert_eq!((pays.cost, pays.lower_bound), (5, 5), "one is moved");
    assert!(pays.plan.iter().all(Option::is_some));
    let stays = solved(&problem(4));
    assert_eq!((stays.cost, stays.plan[2]), (4, None));
    assert_eq!(stays.plan[..2], [at(0, 0b0001, None), at(0, 0b0100, None)]);
    // The machine is lost, and another one is there.
    let lost = Machine { numa: vec![Numa { cores_milli: 0, memory: 0 }], devices: Vec::new(), zone: 0 };
    let replicas = vec![running(0b0001), running(0b0100)];
    let problem = Problem::new(vec![lost, machine()], models, replicas).unwrap();
    assert_eq!(solved(&problem).cost, 10);
}

#[test]
fn plans_are_explained() {
    let files = Model { resident_on: vec![0], load_cost: 30, share_milli: 1000, ..model() };
    let one = Machine { devices: vec![gpu(0, 0)], ..machine() };
    let cpu = Model { devices: 0, cores_milli: 17_500, ..model() };
    let replicas = vec![Replica { value: 200, ..replica(0) }, replica(0), replica(1), replica(0)];
    let problem = Problem::new(vec![one.clone(), one], vec![files, cpu], replicas).unwrap();
    let plan = vec![at(0, 1, None), at(1, 1, None), None, None];
    let mut explainer = Explainer::new(&problem, &plan).unwrap();
    let mut says = |replica| explainer.explain(replica).map(|why| why.to_string());
    assert_eq!(
        says(0).unwrap(),
        "replica 0 is on machine 0 at a cost of 0; second best is no place at 200; the second best would have to cost 200 \
         less"
    );
    assert_eq!(
        says(1).unwrap(),
        "replica 1 is on machine 1 at a cost of 30; second best is no place at 100; the second best would have to cost 70 \
         less; on machine 0 it would cost 0, if there were one more device that it can use"
    );
    assert_eq!(
        says(2).unwrap(),
        "replica 2 has no place at a cost of 100; no machine could hold it, even empty"
    );
    assert_eq!(
        says(3).unwrap(),
        "replica 3 has no place at a cost of 100; on machine 0 it would cost 0, if there were one more device that it can \
         use"
    );
    assert_eq!(says(4), None);
    assert!(Explainer::new(&problem, &[at(0, 1, None); 4]).is_err());
}

#[test]
fn rules_choose_as_they_are_described() {
    // A machine with one full and one half free device, and an empty one of the same kind.
    let half = Model { cores_milli: 0, memory: 0, device_memory: 0, ..model() };
    let node = vec![Numa { cores_milli: 8_000, memory: 100 }];
    let large = Machine { numa: node.clone(), devices: vec![gpu(0, 0); 2], zone: 0 };
    let small = Machine { devices: vec![gpu(0, 0)], ..large.clone() };
    let whole = Model { share_milli: 1000, ..half.clone() };
    let replicas = vec![replica(0), replica(0), replica(1)];
    let problem = Problem::new(vec![large, small], vec![half, whole], replicas).unwrap();
    let chosen = |rule| {
        let plan = list(&problem, rule, &[0, 1]).plan;
        [plan[0].unwrap(), plan[1].unwrap()].map(|place| (place.machine, place.devices))
    };
    assert_eq!(chosen(Rule::FirstFit), [(0, 1), (0, 1)]);
    assert_eq!(chosen(Rule::BestFit), [(1, 1), (1, 1)], "the small machine has less left");
    assert_eq!(chosen(Rule::DotProduct), [(1, 1), (1, 1)]);
    // Half a device broken off loses half a device to the whole one, and the second half loses nothing more.
    assert_eq!(chosen(Rule::Fgd), [(0, 1), (0, 1)]);
}
