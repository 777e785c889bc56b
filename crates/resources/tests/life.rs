//! Models come into memory and go, in virtual time, on the simulator's engine.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use engine::{EngineError, Launch, LaunchError, LoadProgress, Loaded, Purpose, Work};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use resources::{
    GpuLayers, LoadWhen, ModelSpec, ReplicaState, Replicas, RouteError, Source, Stay, UnloadError,
    memory::Corrections,
};
use simulator::MockLaunch;
use types::{
    Declared, GenerateRequest, Input, ModelName, Principal, Prompt, RequestId, Sampling, SamplingValues,
    SequenceId, StopStrings, TenantId, Tokens, UserId,
};

const DEMAND: Stay = Stay { load: LoadWhen::Demand, keep_alive: None, pinned: false };
const PINNED: Stay = Stay { load: LoadWhen::Start, keep_alive: None, pinned: true };

/// A mock that takes its time to load.
struct Slow {
    mock: MockLaunch,
    takes: Duration,
    loads: Arc<AtomicUsize>,
}

impl Launch for Slow {
    fn launch(&self, progress: Arc<LoadProgress>) -> BoxFuture<'_, Result<Loaded, LaunchError>> {
        async move {
            progress.expect(self.takes);
            self.loads.fetch_add(1, Ordering::Relaxed);
            for step in 1..=10_u8 {
                tokio::time::sleep(self.takes / 10).await;
                progress.reach(f32::from(step) / 10.0);
            }
            self.mock.launch(progress).await
        }
        .boxed()
    }
}

struct House {
    replicas: Replicas,
    loads: Arc<AtomicUsize>,
}

/// Models of so many megabytes, named `0`, `1` and so on, in so much memory.
fn house(memory_mb: u64, takes: Duration, models: &[(u64, Stay)]) -> House {
    let spec = |(number, &(mb, stay)): (usize, &(u64, Stay))| ModelSpec {
        name: name(number),
        aliases: vec![],
        source: Source::Simulator { purpose: Purpose::Generate, instant: false },
        context: Tokens(256),
        parallel: 4,
        threads: None,
        memory_max: Some(mb * 1_000_000),
        gpu_layers: GpuLayers::Auto,
        stay,
    };
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = loads.clone();
    let simulated = move |spec: &ModelSpec| -> Arc<dyn Launch> {
        Arc::new(Slow { mock: MockLaunch::new(spec.context), takes, loads: counted.clone() })
    };
    let specs = models.iter().enumerate().map(spec).collect();
    House {
        replicas: Replicas::start(specs, memory_mb * 1_000_000, Corrections::none(), &simulated).unwrap(),
        loads,
    }
}

fn name(number: usize) -> ModelName {
    number.to_string().parse().unwrap()
}

fn principal() -> Principal {
    Principal::least(TenantId(1), UserId(1))
}

impl House {
    async fn route(&self, model: usize) -> Result<resources::Route, RouteError> {
        self.replicas.route(&principal(), &name(model), &[Purpose::Generate]).await
    }

    /// Asks a model and waits for the whole answer.
    async fn ask(&self, model: usize) -> Result<(), EngineError> {
        let route = self.route(model).await.expect("a route");
        let events: Vec<_> = route.driver.generate(work()).await?.collect().await;
        assert!(events.len() > 1 && events.iter().all(Result::is_ok));
        Ok(())
    }

    /// The first letters of what the replicas are: `unloaded`, `loading`, `ready`, `failed`.
    fn states(&self) -> String {
        let letter = |view: &resources::ReplicaView| match view.state {
            ReplicaState::Unloaded => 'u',
            ReplicaState::Loading { .. } => 'l',
            ReplicaState::Ready { .. } => 'r',
            ReplicaState::Failed { .. } => 'f',
        };
        self.replicas.replicas().iter().map(letter).collect()
    }
}

fn work() -> Work {
    let request = GenerateRequest {
        id: RequestId(1),
        model: name(0),
        input: Input::Text(Prompt::from("hello".to_owned())),
        tokens_max: Some(Tokens(8)),
        sampling: Sampling::try_from(SamplingValues::default()).unwrap(),
        stop: StopStrings::default(),
        declared: Declared::default(),
    };
    Work { id: SequenceId(1), request: Arc::new(request), principal: principal() }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn models_are_loaded_when_they_should_be_and_make_room_by_last_use() {
    let models = [(4, Stay::default()), (4, DEMAND), (4, DEMAND)];
    let house = house(10, SECOND, &models);
    pass(2).await;
    assert_eq!(house.states(), "ruu");
    house.ask(1).await.unwrap();
    assert_eq!(house.states(), "rru");
    pass(1).await;
    house.ask(0).await.unwrap();
    pass(1).await;
    house.ask(2).await.unwrap();
    assert_eq!(house.states(), "rur", "the least recently used one made room");
    house.ask(1).await.unwrap();
    assert_eq!(house.states(), "urr");
    assert_eq!(house.loads.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_at_the_start_is_loaded_when_it_is_asked_for() {
    let house = house(10, SECOND, &[(6, Stay::default()), (6, Stay::default()), (11, Stay::default())]);
    pass(2).await;
    assert_eq!(house.states(), "ruf", "what can never fit is said at once");
    house.ask(1).await.unwrap();
    assert_eq!(house.states(), "urf");
}

#[tokio::test(start_paused = true)]
async fn pins_hold_and_what_never_fits_is_told_so() {
    let house = house(10, SECOND, &[(4, DEMAND), (6, PINNED), (7, DEMAND)]);
    pass(2).await;
    assert_eq!(house.states(), "uru");
    house.ask(0).await.unwrap();
    let RouteError::Failed { why, .. } = house.route(2).await.err().unwrap() else { panic!("it never fits") };
    assert!(
        why.contains("needs 7.0 MB")
            && why.contains("4.0 MB")
            && why.contains("pinned models have the rest: 1"),
        "{why}"
    );
    assert_eq!(house.states(), "rrf", "nobody was sent away for it");
    assert_eq!(house.replicas.unload(&name(1)).await, Err(UnloadError::Pinned(name(1))));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_works_stays_and_whoever_waits_for_its_room_gets_it_or_is_told_when_to_come_back() {
    let house = house(10, SECOND, &[(6, Stay::default()), (6, DEMAND)]);
    pass(2).await;
    let held = house.route(0).await.unwrap();
    assert!(matches!(house.replicas.unload(&name(0)).await, Err(UnloadError::Busy { requests: 1, .. })));
    let begun = tokio::time::Instant::now();
    let error = house.route(1).await.err().unwrap();
    let RouteError::NoRoom { missing, busy, retry_after, .. } = error else { panic!("{error}") };
    assert!(
        missing.host == 2_000_000
            && busy == "0"
            && retry_after > Duration::ZERO
            && begun.elapsed() < Duration::from_secs(30)
    );

    let waiting = house.ask(1);
    let released = async {
        pass(5).await;
        drop(held);
    };
    let (answered, ()) = tokio::join!(waiting, released);
    answered.unwrap();
    assert_eq!(house.states(), "ur");
}

#[tokio::test(start_paused = true)]
async fn a_model_goes_when_it_is_unused_for_its_time_and_not_before() {
    let stay = Stay { keep_alive: Some(Duration::from_secs(60)), ..DEMAND };
    let house = house(10, SECOND, &[(4, stay)]);
    house.ask(0).await.unwrap();
    pass(50).await;
    house.ask(0).await.unwrap();
    pass(50).await;
    let held = house.route(0).await.unwrap();
    pass(500).await;
    assert_eq!(house.states(), "r", "it works");
    drop(held);
    pass(59).await;
    assert_eq!(house.states(), "r");
    pass(2).await;
    assert_eq!(house.states(), "u");
    assert_eq!(house.loads.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_for_a_model_that_loads_wait_and_are_then_told_how_long_it_takes() {
    let house = house(10, Duration::from_secs(100), &[(4, DEMAND)]);
    house.replicas.load(&name(0)).await.unwrap();
    let crowd = (0..300).map(|_| house.ask(0));
    let refused = futures::future::join_all(crowd).await;
    // They waited for 20 s, so 80 s are left; those beyond the bound did not wait.
    for error in refused {
        let Err(EngineError::Unready { retry_after, why }) = error else { panic!("{error:?}") };
        let near = |seconds: u64| retry_after.as_secs().abs_diff(seconds) <= 1;
        assert!(near(80) || near(100), "{retry_after:?}: {why}");
    }
    assert_eq!(house.loads.load(Ordering::Relaxed), 1, "one load for all");
    pass(100).await;
    house.ask(0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_operator_loads_and_unloads() {
    let house = house(10, SECOND, &[(4, DEMAND)]);
    house.replicas.load(&name(0)).await.unwrap();
    assert_eq!(house.states(), "l");
    pass(2).await;
    assert_eq!(house.states(), "r");
    house.replicas.unload(&name(0)).await.unwrap();
    house.replicas.unload(&name(0)).await.unwrap();
    assert_eq!(house.states(), "u");
    assert!(matches!(house.replicas.load(&name(7)).await, Err(RouteError::NotDeployed { .. })));
}

/// A request that goes away in the middle of everything leaves nothing behind.
#[tokio::test(start_paused = true)]
async fn a_request_that_goes_away_leaves_nothing_behind() {
    let house = house(10, SECOND, &[(6, DEMAND), (6, DEMAND)]);
    for model in [0, 1, 0, 1] {
        assert!(house.route(model).now_or_never().is_none(), "it takes more than one moment");
        pass(3).await;
        assert_eq!(house.loads.load(Ordering::Relaxed), 0, "whoever left before its turn loads nothing");
    }
    house.ask(0).await.unwrap();
    house.ask(1).await.unwrap();
    assert_eq!(house.states(), "ur");
    assert!(house.replicas.replicas().iter().all(|view| view.requests == 0));
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_waits_for_room_is_bounded_and_begins_one_load() {
    let house = house(10, SECOND, &[(6, Stay::default()), (6, DEMAND)]);
    pass(2).await;
    let held = house.route(0).await.unwrap();
    let crowd = || futures::future::join_all((0..300).map(|_| house.route(1)));
    let refused = |routes: Vec<Result<resources::Route, RouteError>>| {
        let (mut no_room, mut no_turn) = (0, 0);
        for error in routes.into_iter().filter_map(Result::err) {
            no_room += usize::from(matches!(error, RouteError::NoRoom { .. }));
            no_turn += usize::from(matches!(error, RouteError::NoTurn { .. }));
        }
        (no_room, no_turn)
    };
    let begun = tokio::time::Instant::now();
    assert_eq!(refused(crowd().await), (256, 44));
    assert_eq!(begun.elapsed().as_secs(), 20);
    let (routes, ()) = tokio::join!(crowd(), async {
        pass(5).await;
        drop(held);
    });
    assert_eq!(refused(routes), (0, 44));
    assert_eq!((house.states().as_str(), house.loads.load(Ordering::Relaxed)), ("ul", 2));
}

#[tokio::test(start_paused = true)]
async fn what_a_model_is_not_made_for_is_refused_before_anything_is_loaded() {
    let house = house(10, SECOND, &[(6, Stay::default()), (6, DEMAND)]);
    pass(2).await;
    for model in [0, 1] {
        let wrong = house.replicas.route(&principal(), &name(model), &[Purpose::Rank, Purpose::Embed]).await;
        let error = wrong.err().unwrap();
        assert_eq!(
            error.to_string(),
            format!("model `{model}` is made to generate, not to rank; no configured model is")
        );
    }
    assert_eq!(house.states(), "ru");
}

/// Fails for good the first time.
struct Mended {
    mock: MockLaunch,
    loads: AtomicUsize,
}

impl Launch for Mended {
    fn launch(&self, progress: Arc<LoadProgress>) -> BoxFuture<'_, Result<Loaded, LaunchError>> {
        async move {
            if self.loads.fetch_add(1, Ordering::Relaxed) == 0 {
                return Err(LaunchError { why: "the file is damaged".to_owned(), retry: false });
            }
            self.mock.launch(progress).await
        }
        .boxed()
    }
}

/// Models of a megabyte that fail for good the first time, in memory for one.
fn damaged_house(stays: &[Stay]) -> House {
    let spec = |(number, &stay): (usize, &Stay)| ModelSpec {
        name: name(number),
        aliases: vec![],
        source: Source::Simulator { purpose: Purpose::Generate, instant: false },
        context: Tokens(256),
        parallel: 4,
        threads: None,
        memory_max: Some(1_000_000),
        gpu_layers: GpuLayers::Auto,
        stay,
    };
    let simulated = |spec: &ModelSpec| -> Arc<dyn Launch> {
        Arc::new(Mended { mock: MockLaunch::new(spec.context), loads: AtomicUsize::new(0) })
    };
    let corrections = resources::memory::Corrections::none();
    let specs = stays.iter().enumerate().map(spec).collect();
    let replicas = Replicas::start(specs, 1_000_000, corrections, &simulated).unwrap();
    House { replicas, loads: Arc::default() }
}

#[tokio::test(start_paused = true)]
async fn what_had_failed_for_good_is_tried_again_on_an_operators_word_also_if_it_is_pinned() {
    let house = damaged_house(&[PINNED]);
    pass(1).await;
    assert_eq!(house.states(), "f");
    house.replicas.load(&name(0)).await.unwrap();
    pass(1).await;
    assert_eq!(house.states(), "r");
}

#[tokio::test(start_paused = true)]
async fn what_had_failed_for_good_leaves_its_memory_to_others_and_is_tried_again_after_a_minute() {
    let house = damaged_house(&[PINNED, DEMAND]);
    pass(1).await;
    assert_eq!(house.replicas.replicas()[0].memory, None);
    let error = house.route(0).await.err().unwrap();
    let RouteError::Failed { why, retry_after, .. } = error else { panic!("{error}") };
    assert!(why.contains("the file is damaged; it is tried again"), "{why}");
    assert!(retry_after <= Duration::from_secs(60));
    // Room for one: the other can be tried.
    house.replicas.load(&name(1)).await.unwrap();
    pass(60).await;
    assert_eq!(house.states(), "ff");
    house.ask(0).await.unwrap();
    assert_eq!(house.states(), "rf");
}
