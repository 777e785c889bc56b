//! The llama worker with a real embedding model, through the same driver as in the server.
//!
//! `LLMOS_TEST_EMBEDDING_MODEL` names the model file, all-MiniLM-L6-v2; `make test` sets it. Without it these tests say
//! so and pass.
#![cfg(feature = "llama")]
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use engine::{
    Driver, DriverState, EmbedWork, Embedded, EngineError, Purpose, Stepped, Turns,
    llama::{LlamaLaunch, WorkerOrder},
};
use modelfile::Gguf;
use types::{
    Passage, Principal, PriorityClass, Prompt, RequestId, SequenceId, TenantId, Tokens, UserId, Vector,
};

/// No two sequences of a driver have one name.
static SEQUENCES: AtomicU64 = AtomicU64::new(1);

/// Engines that share cores slow each other down many times over, so these tests take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn model() -> Option<(PathBuf, tokio::sync::MutexGuard<'static, ()>)> {
    let path = std::env::var_os("LLMOS_TEST_EMBEDDING_MODEL").map(PathBuf::from);
    if path.is_none() {
        eprintln!(
            "skipped: LLMOS_TEST_EMBEDDING_MODEL does not name the packaged embedding model; run `make test`"
        );
    }
    Some((path?, TURN.lock().await))
}

fn launch(path: PathBuf, purpose: Purpose) -> LlamaLaunch {
    let order = WorkerOrder {
        path,
        purpose,
        // More than the model was trained on: it must not be given more all the same.
        context: 2048,
        step: 600,
        running_max: 32,
        cores: resources::available_cores().into_iter().take(2).collect(),
        memory_max: 2 << 30,
        gpu_layers: 0,
    };
    LlamaLaunch::new(env!("CARGO_BIN_EXE_llmos").into(), order)
}

fn start(path: PathBuf, purpose: Purpose) -> Stepped {
    Stepped::start("real".into(), Arc::new(launch(path, purpose)), Turns::alone())
}

fn text(text: &str) -> Passage {
    Passage::Text(Arc::new(Prompt::from(text.to_owned())))
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

async fn embed(driver: &Stepped, passages: Vec<Passage>) -> Embedded {
    driver.embed(work(passages)).await.unwrap()
}

fn cosine(a: &Vector, b: &Vector) -> f32 {
    a.expose().iter().zip(b.expose()).map(|(a, b)| a * b).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_mean_the_same_are_near() {
    let Some((path, _turn)) = model().await else { return };
    let driver = start(path, Purpose::Embed);
    assert_eq!(driver.ready().await.unwrap().dimensions, 384);
    let words = ["fever", "high temperature", "stock market"].map(text).to_vec();
    let Embedded { vectors, input } = embed(&driver, words).await;
    // Computed from the published weights in 64-bit floats, by code that shares nothing with llama.cpp.
    for (other, want) in [(1, 0.441_3), (2, 0.134_3)] {
        let is = cosine(&vectors[0], &vectors[other]);
        assert!((is - want).abs() < 0.002, "{is} is not about {want}");
    }
    assert_eq!(input, Tokens(11), "each text has [CLS] before it and [SEP] behind it");
    assert!(vectors.iter().all(|vector| (cosine(vector, vector) - 1.0).abs() < 1e-5));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_as_each_alone() {
    let Some((path, _turn)) = model().await else { return };
    let driver = start(path, Purpose::Embed);
    let texts: Vec<String> =
        (0..60).map(|i| format!("The patient {i} has a fever. ").repeat(i % 20 + 1)).collect();
    let passages: Vec<Passage> = texts.iter().map(|words| text(words)).collect();
    let together = embed(&driver, passages.clone()).await;
    assert_eq!(together.vectors.len(), texts.len());
    let mut input = Tokens(0);
    for (i, passage) in passages.into_iter().enumerate() {
        let alone = embed(&driver, vec![passage]).await;
        input += alone.input;
        let cosine = cosine(&alone.vectors[0], &together.vectors[i]);
        assert!(cosine > 0.9999, "text {i}: {cosine}");
    }
    assert_eq!(together.input, input);
    idle(&driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_refused_by_its_place_and_never_cut() {
    let Some((path, _turn)) = model().await else { return };
    let driver = start(path, Purpose::Embed);
    let words = |count: usize| text(&"fever ".repeat(count));
    let longest = embed(&driver, vec![words(510)]).await;
    assert_eq!(longest.input, Tokens(512), "as many positions as the model was trained on");
    let error = driver.embed(work(vec![words(1), words(511), words(600)])).await.err().unwrap();
    assert_eq!(error, EngineError::TooLong { index: 1, tokens: Tokens(513), most: Tokens(512) });
    let error = driver.embed(work(vec![Passage::Tokens(vec![101, 30522])])).await.err().unwrap();
    assert!(error.to_string().contains("the model has no token 30522"), "{error}");
    // Text is text: the names of special tokens in it are words.
    let spelled_out = embed(&driver, vec![text("[SEP]")]).await;
    assert!(spelled_out.input > Tokens(3), "{}", spelled_out.input);
    let by_id = embed(&driver, vec![Passage::Tokens(vec![101, 9016, 102]), text("fever")]).await;
    assert!(cosine(&by_id.vectors[0], &by_id.vectors[1]) > 0.9999);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_the_wrong_kind_says_so() {
    let Some((path, _turn)) = model().await else { return };
    let driver = start(path, Purpose::Embed);
    let pair = Passage::Pair(Arc::new(Prompt::from("a".to_owned())), Arc::new(Prompt::from("b".to_owned())));
    let error = driver.embed(work(vec![pair])).await.err().unwrap();
    assert_eq!(error, EngineError::WrongPurpose { asked: Purpose::Rank, is: Purpose::Embed });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_takes_the_work_with_it_and_is_replaced() {
    let Some((path, _turn)) = model().await else { return };
    let driver = Arc::new(start(path, Purpose::Embed));
    driver.ready().await.unwrap();
    let many = || (0..200).map(|i| text(&format!("{i} ").repeat(200))).collect();
    let lost = tokio::spawn({
        let driver = driver.clone();
        let work = work(many());
        async move { driver.embed(work).await.err() }
    });
    busy(&driver).await;
    let DriverState::Ready { pid: Some(pid) } = driver.state() else { panic!("a worker has a pid") };
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let error = lost.await.unwrap().expect("what had begun is lost");
    assert!(error.to_string().contains("signal: 9"), "{error}");
    assert_eq!(embed(&driver, vec![text("fever")]).await.vectors.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_leaves_nothing_behind_and_who_is_killed_hears_it() {
    let Some((path, _turn)) = model().await else { return };
    let driver = Arc::new(start(path, Purpose::Embed));
    driver.ready().await.unwrap();
    let begin = || {
        let (driver, work) = (driver.clone(), work((0..200).map(|_| text(&"fever ".repeat(300))).collect()));
        tokio::spawn(async move { driver.embed(work).await.err() })
    };
    let leaves = begin();
    busy(&driver).await;
    leaves.abort();
    idle(&driver).await;

    let killed = begin();
    busy(&driver).await;
    let any = driver.sequences().await.first().unwrap().view.sequence;
    assert!(driver.kill(any).await);
    assert_eq!(killed.await.unwrap(), Some(EngineError::Killed));
    idle(&driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_get_the_score_of_a_model_that_ranks() {
    let Some((path, _turn)) = model().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let ranks = folder.path().join("ranks.gguf");
    std::fs::write(&ranks, with_a_head(&path)).unwrap();
    let shape = Gguf::open(&ranks).unwrap().shape().unwrap();
    assert_eq!(shape.purpose, modelfile::Purpose::Rank);
    let driver = start(ranks, Purpose::Rank);
    assert_eq!(driver.ready().await.unwrap().dimensions, 1);
    let prompt = |text: &str| Arc::new(Prompt::from(text.to_owned()));
    let pair = |document: &str| Passage::Pair(prompt("fever"), prompt(document));
    let documents = ["high temperature", "stock market", "paracetamol"].map(pair).to_vec();
    let together = embed(&driver, documents.clone()).await;
    assert!(together.vectors.iter().all(|score| score.expose().len() == 1));
    let scores: Vec<f32> = together.vectors.iter().map(|score| score.expose()[0]).collect();
    assert!((scores[0] - scores[1]).abs() > 1e-2 && (scores[1] - scores[2]).abs() > 1e-2, "{scores:?}");
    for (document, together) in documents.into_iter().zip(&scores) {
        let alone = embed(&driver, vec![document]).await.vectors[0].expose()[0];
        assert!((alone - together).abs() < 1e-3, "{alone} is not {together}");
    }
    let error = driver.embed(work(vec![text("fever")])).await.err().unwrap();
    assert_eq!(error, EngineError::WrongPurpose { asked: Purpose::Embed, is: Purpose::Rank });
}

/// The model with a head that sums the numbers of its first token: nobody trained it, but it ranks.
fn with_a_head(path: &Path) -> Vec<u8> {
    const RANK: u32 = 4;
    const POOLING_KEY: &[u8] = b"bert.pooling_type";
    const HEAD: &str = "cls.output.weight";
    const TENSORS_AT: usize = 8;
    let file = Gguf::open(path).unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    // Behind the key stand the type of the value and the value.
    let pooling = find(&bytes, POOLING_KEY) + POOLING_KEY.len() + 4;
    bytes[pooling..pooling + 4].copy_from_slice(&RANK.to_le_bytes());
    bytes[TENSORS_AT..TENSORS_AT + 8].copy_from_slice(&(file.tensors.len() as u64 + 1).to_le_bytes());

    let alignment = file.alignment as usize;
    let mut data = bytes.split_off(file.data_offset as usize);
    data.resize(data.len().next_multiple_of(alignment), 0);
    let first = &file.tensors[0].name;
    let named = [&(first.len() as u64).to_le_bytes(), first.as_bytes()].concat();
    let infos = find(&bytes, &named);
    let info_bytes = |name: &str, dimensions: usize| 8 + name.len() + 4 + 8 * dimensions + 4 + 8;
    let all: usize =
        file.tensors.iter().map(|tensor| info_bytes(&tensor.name, tensor.dimensions.len())).sum();
    bytes.truncate(infos + all);
    bytes.extend((HEAD.len() as u64).to_le_bytes());
    bytes.extend(HEAD.as_bytes());
    bytes.extend(2_u32.to_le_bytes());
    bytes.extend([384_u64, 1].map(u64::to_le_bytes).concat());
    bytes.extend(0_u32.to_le_bytes()); // F32
    bytes.extend((data.len() as u64).to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(alignment), 0);
    data.extend((0..384).flat_map(|i| if i % 3 == 0 { 1.0_f32 } else { 0.0 }.to_le_bytes()));
    data.resize(data.len().next_multiple_of(alignment), 0);
    bytes.extend(data);
    bytes
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).unwrap()
}

async fn busy(driver: &Stepped) {
    until(driver, |driver| driver.load().running > 0).await;
}

/// Load is published before the next step is planned: a moment after the last vector.
async fn idle(driver: &Stepped) {
    let is_idle = |driver: &Stepped| {
        let load = driver.load();
        (load.running, load.waiting, load.kv_used) == (0, 0, Tokens(0))
    };
    until(driver, is_idle).await;
}

async fn until(driver: &Stepped, holds: impl Fn(&Stepped) -> bool) {
    for _ in 0..20_000 {
        if holds(driver) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came: {:?}", driver.load());
}
