//! The path of embeddings and rankings over mock engines: each step refuses what it should, and what passes all is
//! answered.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod kept;

use std::{path::Path as File, sync::Arc, time::Duration};

use access::{Access, AccessError, Credential, NewKey, Shown};
use audit::Audit;
use engine::{Launch, Purpose};
use path::{Method, Path, PathError, Ranking};
use resources::{GpuLayers, ModelSpec, Replicas, RouteError, Source, Stay, UnloadError, memory::Corrections};
use simulator::{MockLaunch, replay::StepTime};
use store::Store;
use types::{
    DataClass, Declared, EmbedRequest, GenerateRequest, Input, Passage, PriorityClass, Prompt, RequestId,
    RerankRequest, Role, Sampling, SamplingValues, Secret, StopStrings, Tokens,
};

/// A house with a model of each kind, named after it.
async fn house(folder: &File) -> (Path, Secret) {
    paced_house(folder, StepTime { base: Duration::ZERO, per_token: Duration::ZERO }).await
}

/// The same with steps that take this long.
async fn paced_house(folder: &File, step: StepTime) -> (Path, Secret) {
    let store = Store::open(&folder.join("llmos.db")).await.unwrap();
    let kept = kept::open(folder, store.clone()).await;
    let (log, key) = (folder.join("audit"), kept::secret_file(&folder.join("audit.key")));
    let (audit, _) = Audit::open(&log, &key, kept.clone()).await.unwrap();
    let access = Access::open(store, &kept::secret_file(&folder.join("key.pepper")), audit).await.unwrap();
    let administrator = access.bootstrap().await.unwrap().expect("the first start makes a key");
    let mock = move |spec: &ModelSpec| -> Arc<dyn Launch> {
        let Source::Simulator { purpose, .. } = spec.source else { unreachable!() };
        Arc::new(MockLaunch::new(spec.context).made_to(purpose).paced(step))
    };
    let spec = |(name, purpose): (&str, Purpose)| ModelSpec {
        name: name.parse().unwrap(),
        aliases: vec![format!("{name}-alias").parse().unwrap()],
        source: Source::Simulator { purpose, instant: false },
        context: Tokens(256),
        parallel: 32,
        threads: None,
        memory_max: None,
        gpu_layers: GpuLayers::Auto,
        stay: Stay::default(),
    };
    let kinds = [("generate", Purpose::Generate), ("embed", Purpose::Embed), ("rank", Purpose::Rank)];
    let specs = kinds.map(spec).to_vec();
    (
        Path::new(access, Replicas::start(specs, u64::MAX, Corrections::none(), &mock).unwrap(), kept),
        administrator,
    )
}

fn key(secret: &Secret) -> Credential {
    Shown::ApiKey(Secret::from(secret.expose().to_vec())).into()
}

fn prompt(text: &str) -> Arc<Prompt> {
    Arc::new(Prompt::from(text.to_owned()))
}

fn embedding(model: &str, texts: &[&str], dimensions: Option<u32>) -> EmbedRequest {
    EmbedRequest {
        id: RequestId(7),
        model: model.parse().unwrap(),
        passages: texts.iter().map(|text| Passage::Text(prompt(text))).collect(),
        dimensions,
        declared: Declared::default(),
    }
}

const DOCUMENTS: [&str; 3] = ["the stone house", "small boats of paper", "old boats"];

fn ranking(model: &str, query: &str, best: Option<u32>) -> RerankRequest {
    RerankRequest {
        id: RequestId(7),
        model: model.parse().unwrap(),
        query: prompt(query),
        documents: DOCUMENTS.iter().map(|text| prompt(text)).collect(),
        best,
        declared: Declared::default(),
    }
}

#[tokio::test]
async fn each_step_refuses_and_what_passes_all_is_embedded() {
    let folder = tempfile::tempdir().unwrap();
    let (path, administrator) = house(folder.path()).await;
    let member = NewKey {
        label: "test".into(),
        tenant: "acme".into(),
        user: "ann".into(),
        role: Role::Member,
        class_max: PriorityClass::Normal,
        data_class_max: DataClass::Internal,
        is_service: false,
        purposes: types::Purposes::any(),
        scope: types::Scope::default(),
        expires_at: None,
    };
    let (_, member) = path.create_key(key(&administrator), member).await.unwrap();

    // authenticate
    let refused = path.embed(Shown::Nothing.into(), embedding("embed", &["a"], None)).await.err().unwrap();
    assert!(matches!(refused, PathError::Access(AccessError::Unauthenticated)), "{refused}");
    let refused = path.rerank(Shown::Nothing.into(), ranking("rank", "a", None)).await.err().unwrap();
    assert!(matches!(refused, PathError::Access(AccessError::Unauthenticated)), "{refused}");
    // authorise
    let secret = || Declared { data_class: Some(DataClass::Restricted), ..Declared::default() };
    let over = EmbedRequest { declared: secret(), ..embedding("embed", &["a"], None) };
    let refused = path.embed(key(&member), over).await.err().unwrap();
    assert!(matches!(refused, PathError::Access(AccessError::OverLimit { .. })), "{refused}");
    let over = RerankRequest { declared: secret(), ..ranking("rank", "a", None) };
    let refused = path.rerank(key(&member), over).await.err().unwrap();
    assert!(matches!(refused, PathError::Access(AccessError::OverLimit { .. })), "{refused}");
    // route
    let refused = path.embed(key(&member), embedding("other", &["a"], None)).await.err().unwrap();
    assert!(matches!(refused, PathError::Route(RouteError::NotDeployed { .. })), "{refused}");
    // run
    let whole = path.embed(key(&member), embedding("embed-alias", &["a b", "a c"], None)).await.unwrap();
    assert_eq!((whole.model.as_str(), whole.input, whole.vectors.len()), ("embed", Tokens(6), 2));
    let dimensions = whole.vectors[0].expose().len() as u32;
    let short =
        path.embed(key(&member), embedding("embed", &["a b", "a c"], Some(dimensions - 1))).await.unwrap();
    for vector in &short.vectors {
        let length: f32 = vector.expose().iter().map(|number| number * number).sum();
        assert!(vector.expose().len() as u32 == dimensions - 1 && (length - 1.0).abs() < 1e-5);
    }
    for wrong in [0, dimensions + 1] {
        let refused = path.embed(key(&member), embedding("embed", &["a"], Some(wrong))).await.err().unwrap();
        assert!(
            matches!(&refused, PathError::OutOfRange(error) if error.parameter == "dimensions"),
            "{refused}"
        );
    }
    let metrics = path.metrics(key(&administrator)).await.unwrap();
    assert!(
        metrics.contains("gen_ai_operation_name=\"embeddings\",gen_ai_request_model=\"embed\""),
        "{metrics}"
    );

    path.close();
    let refused = path.embed(key(&member), embedding("embed", &["a"], None)).await.err().unwrap();
    assert!(matches!(refused, PathError::Closing { .. }), "{refused}");
}

#[tokio::test]
async fn documents_are_ranked_by_the_model_or_by_cosine() {
    let folder = tempfile::tempdir().unwrap();
    let (path, administrator) = house(folder.path()).await;
    let order = |ranking: &Ranking| ranking.best.iter().map(|one| one.index).collect::<Vec<_>>();
    for (model, method) in [("rank", Method::Rank), ("embed", Method::Cosine)] {
        let ranked = path.rerank(key(&administrator), ranking(model, "old boats", None)).await.unwrap();
        assert_eq!((ranked.model.as_str(), ranked.method, order(&ranked)), (model, method, vec![2, 1, 0]));
        assert!(ranked.best.is_sorted_by(|a, b| a.score >= b.score));
        assert!((ranked.best[0].score - 1.0).abs() < 1e-5, "{:?}", ranked.best);
        let two = path.rerank(key(&administrator), ranking(model, "old boats", Some(2))).await.unwrap();
        assert_eq!(order(&two), [2, 1]);
        let refused =
            path.rerank(key(&administrator), ranking(model, &"x".repeat(300), None)).await.err().unwrap();
        assert!(refused.to_string().contains(" tokens, but the model reads at most 256"), "{refused}");
    }
}

#[tokio::test]
async fn a_model_of_the_wrong_kind_says_which_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let (path, administrator) = house(folder.path()).await;
    let me = || key(&administrator);
    let generation = GenerateRequest {
        id: RequestId(7),
        model: "embed".parse().unwrap(),
        input: Input::Text(Prompt::from("hello".to_owned())),
        tokens_max: Some(Tokens(8)),
        sampling: Sampling::try_from(SamplingValues::default()).unwrap(),
        stop: StopStrings::default(),
        declared: Declared::default(),
    };
    let refusals = [
        path.serve(me(), generation, None).await.err(),
        path.embed(me(), embedding("generate", &["a"], Some(1))).await.err(),
        path.embed(me(), embedding("rank", &["a"], None)).await.err(),
        path.rerank(me(), ranking("generate", "a", None)).await.err(),
    ];
    let said = refusals.map(|refused| refused.unwrap().to_string());
    assert_eq!(
        said,
        [
            "model `embed` is made to embed, not to generate; use one of: generate",
            "model `generate` is made to generate, not to embed; use one of: embed",
            "model `rank` is made to rank, not to embed; use one of: embed",
            "model `generate` is made to generate, not to rank; use one of: embed, rank",
        ]
    );
}

#[tokio::test]
async fn a_model_stays_in_memory_while_it_embeds() {
    let folder = tempfile::tempdir().unwrap();
    let step = StepTime { base: Duration::from_millis(20), per_token: Duration::ZERO };
    let (path, administrator) = paced_house(folder.path(), step).await;
    let me = || key(&administrator);
    let model = || "embed".parse().unwrap();
    let long = "x".repeat(200);
    let asked = path.embed(me(), embedding("embed", &[long.as_str(); 4], None));
    tokio::pin!(asked);
    loop {
        tokio::select! {
            done = &mut asked => panic!("too soon: {}", done.is_ok()),
            list = path.processes(me()) => if !list.unwrap().sequences.is_empty() { break },
        }
    }
    let stays = path.unload_model(me(), model()).await.err().unwrap();
    assert!(matches!(stays, PathError::Unload(UnloadError::Busy { requests: 1, .. })), "{stays}");
    assert_eq!(asked.await.unwrap().vectors.len(), 4);
    path.unload_model(me(), model()).await.unwrap();
}
