//! The driver around a step engine: the mock's virtual clock makes these exact and fast.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use engine::{
    Driver, DriverState, EngineError, EventStream, Launch, LaunchError, LoadProgress, Loaded, StepEngine,
    StepResult, Stepped, Turns, Work,
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use scheduler::{RefusalReason, StepPlan};
use simulator::{MockLaunch, replay::StepTime};
use types::{
    Declared, Event, FinishReason, GenerateRequest, Input, Principal, Prompt, RequestId, Sampling,
    SamplingValues, SequenceId, StopStrings, TenantId, Tokens, UserId,
};

fn work(id: u64, text: &str, tokens_max: Option<u32>, stop: &[&str]) -> Work {
    let sampling = Sampling::try_from(SamplingValues { temperature: 0.0, ..SamplingValues::default() });
    let request = GenerateRequest {
        id: RequestId(id.into()),
        model: "mock".parse().unwrap(),
        input: Input::Text(Prompt::from(text.to_owned())),
        tokens_max: tokens_max.map(Tokens),
        sampling: sampling.unwrap(),
        stop: StopStrings::new(stop.iter().map(ToString::to_string).collect()).unwrap(),
        declared: Declared::default(),
    };
    let principal = Principal::least(TenantId(1), UserId(1));
    Work { id: SequenceId(id), request: Arc::new(request), principal }
}

/// The whole answer: text, tokens used, and how it ended.
async fn answer(mut events: EventStream) -> Result<(String, Tokens, Tokens, FinishReason), EngineError> {
    let (mut text, mut usage) = (String::new(), None);
    while let Some(event) = events.next().await {
        match event? {
            Event::Delta(delta) => text += delta.expose(),
            Event::Usage { input, output } => usage = Some((input, output)),
            Event::Finished(how) => {
                let (input, output) = usage.expect("usage comes before the end");
                assert!(events.next().await.is_none(), "nothing follows the end");
                return Ok((text, input, output, how));
            }
        }
    }
    panic!("a stream ended without an end");
}

fn mock(context: u32) -> Stepped {
    Stepped::start(
        "mock".into(),
        Arc::new(MockLaunch::new(Tokens(context)).paced(StepTime::default())),
        Turns::alone(),
    )
}

#[tokio::test(start_paused = true)]
async fn sixteen_streams_answer_as_each_does_alone() {
    // The second memory is so small that sequences are preempted, the third so small that they mostly queue.
    for context in [16_384, 3_000, 1_000] {
        let driver = mock(context);
        let prompts: Vec<String> = (0..16).map(|i| format!("prompt {i} ").repeat(i * 5 + 1)).collect();
        let mut alone = Vec::new();
        for (i, prompt) in prompts.iter().enumerate() {
            let stream = driver.generate(work(i as u64, prompt, Some(100), &[])).await.unwrap();
            alone.push(answer(stream).await.unwrap());
        }
        let together = prompts.iter().enumerate().map(|(i, prompt)| {
            let driver = &driver;
            async move {
                let work = work(100 + i as u64, prompt, Some(100), &[]);
                (i, answer(driver.generate(work).await.unwrap()).await.unwrap())
            }
        });
        let mut together: Vec<_> = together.collect::<FuturesUnordered<_>>().collect().await;
        together.sort_by_key(|(i, _)| *i);
        for (i, result) in together {
            assert_eq!(result, alone[i], "stream {i} with {context} tokens of KV memory");
        }
        let load = driver.load();
        assert_eq!((load.running, load.waiting, load.kv_used), (0, 0, Tokens(0)), "nothing is left behind");
        assert!(load.preemptions > 0 || context != 3_000, "the test has to preempt");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_end_at_length_stop_strings_and_the_models_own_end() {
    let driver = mock(4096);
    let whole = answer(driver.generate(work(1, "x", None, &[])).await.unwrap()).await.unwrap();
    assert_eq!(whole.3, FinishReason::Stop);
    assert_eq!(whole.2, Tokens(whole.0.len() as u32 + 1), "the ending token is counted, and not shown");
    let short = answer(driver.generate(work(2, "x", Some(5), &[])).await.unwrap()).await.unwrap();
    assert_eq!(short, (whole.0[..5].to_owned(), Tokens(1), Tokens(5), FinishReason::Length));
    let stop = &whole.0[3..6];
    let stopped = answer(driver.generate(work(3, "x", None, &[stop])).await.unwrap()).await.unwrap();
    let at = whole.0.find(stop).unwrap();
    assert_eq!((stopped.0.as_str(), stopped.3), (&whole.0[..at], FinishReason::Stop));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_refused_with_numbers() {
    let driver = mock(256);
    let refused = |work| async { driver.generate(work).await.err().unwrap() };
    for (prompt, asked) in [(300, None), (250, Some(7)), (256, None), (1, Some(u32::MAX))] {
        let error = refused(work(1, &"x".repeat(prompt), asked, &[])).await;
        let EngineError::ContextExceeded { context, .. } = error else { panic!("{error}") };
        assert_eq!(context, Tokens(256));
    }
    assert!(matches!(refused(work(1, "", None, &[])).await, EngineError::BadInput(_)));
    assert_eq!(driver.load().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_and_says_when_to_come_back() {
    let driver = mock(2048);
    let mut streams = Vec::new();
    let refused = loop {
        match driver.generate(work(streams.len() as u64, &"x".repeat(1000), Some(500), &[])).await {
            Ok(stream) => streams.push(stream),
            Err(error) => break error,
        }
        assert!(streams.len() < 1000, "the queue has no end");
    };
    assert!(matches!(refused, EngineError::Refused { why: RefusalReason::QueueFull, .. }), "{refused}");
    drop(streams);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((driver.load().running, driver.load().waiting), (0, 0), "dropped streams are cancelled");
    answer(driver.generate(work(9999, "x", Some(3), &[])).await.unwrap()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn kill_and_drop_end_a_sequence_within_one_step() {
    let driver = mock(4096);
    let mut killed = driver.generate(work(1, "x", None, &[])).await.unwrap();
    let dropped = driver.generate(work(2, "y", None, &[])).await.unwrap();
    assert!(killed.next().await.unwrap().is_ok());
    assert_eq!(driver.sequences().await.len(), 2);
    drop(dropped);
    assert!(driver.kill(SequenceId(1)).await);
    assert!(!driver.kill(SequenceId(1)).await, "there is nothing left to kill");
    assert_eq!(answer(killed).await.unwrap_err(), EngineError::Killed);
    tokio::time::sleep(StepTime::default().of(Tokens(8))).await;
    assert_eq!((driver.sequences().await.len(), driver.load().kv_used), (0, Tokens(0)));
}

/// Launches mocks that die at their `dies_at`-th step; fails every launch that `refuses` names.
struct Fragile {
    mock: MockLaunch,
    dies_at: u32,
    launches: AtomicU32,
    refuses: std::ops::Range<u32>,
}

struct Dying {
    engine: Box<dyn StepEngine>,
    steps_left: u32,
}

impl StepEngine for Dying {
    fn add(&mut self, sequence: SequenceId, prompt: Arc<[u32]>, sampling: Option<&Sampling>) {
        self.engine.add(sequence, prompt, sampling);
    }

    fn step<'a>(&'a mut self, plan: &'a StepPlan) -> BoxFuture<'a, Result<StepResult, EngineError>> {
        self.steps_left -= 1;
        if self.steps_left == 0 {
            return async { Err(EngineError::Died { why: "signal 9".into() }) }.boxed();
        }
        self.engine.step(plan)
    }

    fn death(&mut self) -> BoxFuture<'_, EngineError> {
        self.engine.death()
    }
}

impl Launch for Fragile {
    fn launch(&self, progress: Arc<LoadProgress>) -> BoxFuture<'_, Result<Loaded, LaunchError>> {
        async move {
            let launch = self.launches.fetch_add(1, Ordering::Relaxed);
            if self.refuses.contains(&launch) {
                return Err(LaunchError { why: "no memory".into(), retry: true });
            }
            let loaded = self.mock.launch(progress).await?;
            let steps_left = if launch == 0 { self.dies_at } else { u32::MAX };
            Ok(Loaded { engine: Box::new(Dying { engine: loaded.engine, steps_left }), ..loaded })
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_engine_takes_only_what_had_started() {
    let launch = Fragile {
        mock: MockLaunch::new(Tokens(300)).paced(StepTime::default()),
        dies_at: 20,
        launches: AtomicU32::new(0),
        refuses: 0..0,
    };
    let driver = Stepped::start("fragile".into(), Arc::new(launch), Turns::alone());
    // The first two fill the memory; the third waits.
    let first = driver.generate(work(1, &"a".repeat(140), Some(90), &[])).await.unwrap();
    let second = driver.generate(work(2, &"b".repeat(140), Some(90), &[])).await.unwrap();
    let third = driver.generate(work(3, &"c".repeat(140), Some(90), &[])).await.unwrap();
    for lost in [first, second] {
        let error = answer(lost).await.unwrap_err();
        assert!(error.to_string().contains("signal 9") && error.to_string().contains("again"), "{error}");
    }
    let (_, _, output, _) = answer(third).await.expect("what had not started survives");
    assert!(output > Tokens(0));
    assert!(matches!(driver.state(), DriverState::Ready { .. }));
}

/// An engine that keeps its results to itself.
struct Silent(Box<dyn StepEngine>);

impl StepEngine for Silent {
    fn add(&mut self, sequence: SequenceId, prompt: Arc<[u32]>, sampling: Option<&Sampling>) {
        self.0.add(sequence, prompt, sampling);
    }

    fn step<'a>(&'a mut self, plan: &'a StepPlan) -> BoxFuture<'a, Result<StepResult, EngineError>> {
        async {
            let mut result = self.0.step(plan).await?;
            result.outcome.produced.clear();
            Ok(result)
        }
        .boxed()
    }

    fn death(&mut self) -> BoxFuture<'_, EngineError> {
        self.0.death()
    }
}

/// Launches engines that are silent the first time; fails for good if it is told to.
struct Odd {
    mock: MockLaunch,
    launches: AtomicU32,
    fails: bool,
}

impl Launch for Odd {
    fn launch(&self, progress: Arc<LoadProgress>) -> BoxFuture<'_, Result<Loaded, LaunchError>> {
        async move {
            if self.fails {
                tokio::time::sleep(Duration::from_secs(3)).await;
                return Err(LaunchError { why: "the file is damaged".into(), retry: false });
            }
            let loaded = self.mock.launch(progress).await?;
            let silent = self.launches.fetch_add(1, Ordering::Relaxed) == 0;
            let engine = if silent { Box::new(Silent(loaded.engine)) } else { loaded.engine };
            Ok(Loaded { engine, ..loaded })
        }
        .boxed()
    }
}

fn odd(fails: bool) -> Stepped {
    let launch = Odd { mock: MockLaunch::new(Tokens(300)), launches: AtomicU32::new(0), fails };
    Stepped::start("odd".into(), Arc::new(launch), Turns::alone())
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_leaves_a_result_out_is_replaced_and_nobody_waits_for_ever() {
    let driver = odd(false);
    let error = answer(driver.generate(work(1, "x", None, &[])).await.unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("had to draw 1 tokens and drew 0"), "{error}");
    answer(driver.generate(work(2, "x", None, &[])).await.unwrap()).await.expect("another engine works");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_an_engine_hears_at_once_that_it_has_failed_for_good() {
    let driver = odd(true);
    let begun = tokio::time::Instant::now();
    let error = driver.generate(work(1, "x", None, &[])).await.err().unwrap();
    assert!(matches!(error, EngineError::Unready { ref why, .. } if why == "the file is damaged"), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_start_is_tried_again_and_says_why() {
    let launch = Fragile {
        mock: MockLaunch::new(Tokens(300)),
        dies_at: u32::MAX,
        launches: AtomicU32::new(0),
        refuses: 0..12,
    };
    let driver = Stepped::start("fragile".into(), Arc::new(launch), Turns::alone());
    let error = driver.generate(work(1, "x", None, &[])).await.err().unwrap();
    let EngineError::Unready { why, retry_after } = error else { panic!("{error}") };
    assert!(why.contains("no memory") && retry_after > Duration::ZERO, "{why}");
    tokio::time::sleep(Duration::from_secs(300)).await;
    answer(driver.generate(work(2, "x", None, &[])).await.unwrap()).await.expect("it started at last");
}
