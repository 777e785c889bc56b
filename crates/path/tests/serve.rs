//! The whole path over the mock engine: each step refuses what it should, and what passes all is answered.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{path::Path as File, sync::Arc};

use access::{Access, AccessError, Credential, NewKey};
use engine::{Launch, Purpose};
use futures::StreamExt;
use path::{Path, PathError};
use resources::{GpuLayers, ModelSpec, Replicas, RouteError, Source, Stay, memory::Corrections};
use simulator::MockLaunch;
use store::Store;
use types::{
    DataClass, Event, GenerateRequest, Input, PriorityClass, Prompt, RequestId, Role, Sampling,
    SamplingValues, Secret, StopStrings, Tokens,
};

async fn house(folder: &File) -> (Path, Secret) {
    let store = Store::open(&folder.join("llmos.db")).await.unwrap();
    let access = Access::open(store, &folder.join("key.pepper")).await.unwrap();
    let administrator = access.bootstrap().await.unwrap().expect("the first start makes a key");
    let mock = |spec: &ModelSpec| -> Arc<dyn Launch> { Arc::new(MockLaunch::new(spec.context)) };
    let spec = ModelSpec {
        name: "mock".parse().unwrap(),
        aliases: vec!["default".parse().unwrap()],
        source: Source::Simulator { purpose: Purpose::Generate },
        context: Tokens(512),
        parallel: 32,
        threads: None,
        memory_max: None,
        gpu_layers: GpuLayers::Auto,
        stay: Stay::default(),
    };
    (
        Path::new(access, Replicas::start(vec![spec], u64::MAX, Corrections::none(), &mock).unwrap()),
        administrator,
    )
}

fn key(secret: &Secret) -> Credential {
    Credential::ApiKey(Secret::from(secret.expose().to_vec()))
}

fn request(model: &str, class: Option<PriorityClass>, data_class: Option<DataClass>) -> GenerateRequest {
    GenerateRequest {
        id: RequestId(7),
        model: model.parse().unwrap(),
        input: Input::Text(Prompt::from("hello".to_owned())),
        tokens_max: Some(Tokens(8)),
        sampling: Sampling::try_from(SamplingValues::default()).unwrap(),
        stop: StopStrings::default(),
        class,
        data_class,
    }
}

#[tokio::test]
async fn each_step_refuses_and_what_passes_all_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (path, administrator) = house(folder.path()).await;
    let member = NewKey {
        label: "test".into(),
        tenant: "acme".into(),
        user: "ann".into(),
        role: Role::Member,
        class_max: PriorityClass::Normal,
        data_class_max: DataClass::Internal,
    };
    let (_, member) = path.create_key(key(&administrator), member).await.unwrap();

    // authenticate
    let refused = path.serve(Credential::Absent, request("mock", None, None)).await.err().unwrap();
    assert!(matches!(refused, PathError::Access(AccessError::Unauthenticated)), "{refused}");
    // authorise
    for (class, data_class) in [(Some(PriorityClass::System), None), (None, Some(DataClass::Restricted))] {
        let refused = path.serve(key(&member), request("mock", class, data_class)).await.err().unwrap();
        assert!(matches!(refused, PathError::Access(AccessError::OverLimit { .. })), "{refused}");
    }
    let refused = path.processes(key(&member)).await.err().unwrap();
    assert!(matches!(refused, PathError::Access(AccessError::Denied { .. })), "{refused}");
    // route
    let refused = path.serve(key(&member), request("other", None, None)).await.err().unwrap();
    assert!(matches!(refused, PathError::Route(RouteError::NotDeployed { .. })), "{refused}");
    // run
    let answer = path.serve(key(&member), request("default", None, None)).await.unwrap();
    assert_eq!((answer.request, answer.model.as_str()), (RequestId(7), "mock"));
    let events: Vec<_> = answer.events.map(Result::unwrap).collect().await;
    assert!(matches!(events[..], [.., Event::Usage { input: Tokens(5), .. }, Event::Finished(_)]));
    let metrics = path.metrics(key(&administrator)).await.unwrap();
    assert!(metrics.contains("vllm:prompt_tokens_total{model_name=\"mock\"} 5"), "{metrics}");

    path.close();
    let refused = path.serve(key(&member), request("mock", None, None)).await.err().unwrap();
    assert!(matches!(refused, PathError::Closing { .. }), "{refused}");
    assert!(matches!(path.models(key(&member)).await, Err(PathError::Closing { .. })));
    assert_eq!(path.not_ready().len(), 1);
    // Operators still see what drains.
    assert!(path.processes(key(&administrator)).await.is_ok());
}
