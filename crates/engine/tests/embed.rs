//! Vectors through the driver, on the mock: its virtual clock makes these exact and fast.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use engine::{Driver, EmbedWork, Embedded, EngineError, Purpose, Stepped, Turns};
use simulator::{MockLaunch, replay::StepTime};
use types::{Passage, Principal, PriorityClass, Prompt, RequestId, SequenceId, TenantId, Tokens, UserId};

/// No two sequences of a driver have one name.
static SEQUENCES: AtomicU64 = AtomicU64::new(1);

fn mock(purpose: Purpose, context: u32) -> Stepped {
    let launch = MockLaunch::new(Tokens(context)).made_to(purpose).paced(StepTime::default());
    Stepped::start("mock".into(), Arc::new(launch), Turns::alone())
}

fn prompt(text: &str) -> Arc<Prompt> {
    Arc::new(Prompt::from(text.to_owned()))
}

fn texts(texts: &[&str]) -> Vec<Passage> {
    texts.iter().map(|text| Passage::Text(prompt(text))).collect()
}

fn work(passages: Vec<Passage>) -> EmbedWork {
    EmbedWork {
        first: SequenceId(SEQUENCES.fetch_add(passages.len() as u64, Ordering::Relaxed)),
        request: RequestId(1),
        passages,
        class: PriorityClass::Normal,
        principal: Principal::least(TenantId(1), UserId(1)),
    }
}

fn numbers(embedded: &Embedded) -> Vec<Vec<f32>> {
    embedded.vectors.iter().map(|vector| vector.expose().to_vec()).collect()
}

#[tokio::test(start_paused = true)]
async fn more_than_the_queue_holds_comes_back_in_order() {
    let driver = mock(Purpose::Embed, 256);
    let many: Vec<String> = (0..1000).map(|i| format!("passage {i} ").repeat(1 + i % 17)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let together = driver.embed(work(texts(&many))).await.unwrap();
    assert_eq!(together.input, Tokens(many.iter().map(|text| text.len() as u32).sum()));
    for (i, vector) in numbers(&together).iter().enumerate().step_by(97) {
        let alone = driver.embed(work(texts(&many[i..=i]))).await.unwrap();
        assert_eq!(numbers(&alone), std::slice::from_ref(vector), "passage {i}");
    }
    let load = driver.load();
    assert_eq!((load.running, load.waiting, load.kv_used, load.preemptions), (0, 0, Tokens(0), 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_whoever_comes_and_lets_those_finish_who_have_begun() {
    let driver = mock(Purpose::Embed, 256);
    let passages: Vec<String> = (0..50).map(|i| format!("passage {i} ").repeat(20)).collect();
    let passages: Vec<&str> = passages.iter().map(String::as_str).collect();
    // The sixth finds room in the queue for some of its passages only, the others for none.
    let crowd = (0..8).map(|_| driver.embed(work(texts(&passages))));
    let results = futures::future::join_all(crowd).await;
    let whole =
        results.iter().filter(|result| result.as_ref().is_ok_and(|embedded| embedded.vectors.len() == 50));
    let refused = results.iter().filter(|result| matches!(result, Err(EngineError::Refused { .. })));
    assert_eq!((whole.count(), refused.count()), (6, 2));
    assert_eq!((driver.load().running, driver.load().waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn pairs_are_scored_by_models_that_rank() {
    let driver = mock(Purpose::Rank, 256);
    let pair = |document| Passage::Pair(prompt("a fast boat"), prompt(document));
    let scores =
        driver.embed(work(vec![pair("a slow house"), pair("a fast boat"), pair("nothing")])).await.unwrap();
    let scores = numbers(&scores).concat();
    assert!(scores.len() == 3 && scores[1] > scores[0] && scores[0] > scores[2], "{scores:?}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_computed_is_refused_before_anything_is() {
    let long = "x".repeat(257);
    let cases = [
        (Purpose::Embed, texts(&["a", &long]), "input 1: it has 257 tokens, but the model reads at most 256"),
        (Purpose::Embed, vec![Passage::Tokens(vec![1, 999])], "input 0: the model has no token 999"),
        (Purpose::Embed, texts(&["a", ""]), "input 1: it is empty"),
        (Purpose::Embed, vec![Passage::Pair(prompt("a"), prompt("b"))], "made to embed, not to rank"),
        (Purpose::Rank, texts(&["a"]), "made to rank, not to embed"),
        (Purpose::Generate, texts(&["a"]), "made to generate, not to embed"),
    ];
    for (purpose, passages, why) in cases {
        let driver = mock(purpose, 256);
        let error = driver.embed(work(passages)).await.err().unwrap();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(driver.load().running + driver.load().waiting, 0);
        assert_eq!(driver.capabilities().unwrap().purpose, purpose);
    }
}

#[tokio::test(start_paused = true)]
async fn kill_and_drop_end_the_work_within_one_step() {
    let driver = Arc::new(mock(Purpose::Embed, 256));
    driver.ready().await.unwrap();
    let begin = || {
        let (driver, work) = (driver.clone(), work(texts(&["x".repeat(200).as_str(); 500])));
        tokio::spawn(async move { driver.embed(work).await.err() })
    };
    let step = StepTime::default().of(Tokens(200));
    let leaves = begin();
    tokio::time::sleep(step * 2).await;
    assert!(driver.load().running > 0 && driver.load().waiting > 0);
    leaves.abort();
    tokio::time::sleep(step * 2).await;
    assert_eq!((driver.sequences().await.len(), driver.load().kv_used), (0, Tokens(0)));

    let killed = begin();
    tokio::time::sleep(step * 2).await;
    let last = driver.sequences().await.last().unwrap().view.sequence;
    assert!(driver.kill(last).await);
    assert_eq!(killed.await.unwrap(), Some(EngineError::Killed));
    tokio::time::sleep(step * 2 + Duration::from_millis(1)).await;
    assert_eq!(driver.sequences().await.len(), 0);
}
