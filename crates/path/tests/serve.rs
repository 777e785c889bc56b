//! The whole path over the mock engine: each step refuses what it should, and what passes all is answered.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod kept;

use std::{path::Path as File, sync::Arc};

use access::{Access, AccessError, Credential, NewKey, Shown};
use audit::Audit;
use engine::{Launch, Purpose};
use futures::StreamExt;
use path::{Keep, KeptError, Path, PathError, StoredQuery, Transcript};
use resources::{GpuLayers, ModelSpec, Replicas, RouteError, Source, Stay, memory::Corrections};
use simulator::MockLaunch;
use store::Store;
use types::{
    DataClass, DataSubject, Declared, Event, GenerateRequest, Input, PriorityClass, Prompt, RequestId, Role,
    Sampling, SamplingValues, Secret, StopStrings, Tokens,
};

async fn house(folder: &File) -> (Path, Secret) {
    let store = Store::open(&folder.join("llmos.db")).await.unwrap();
    let kept = kept::open(folder, store.clone()).await;
    let (log, key) = (folder.join("audit"), kept::secret_file(&folder.join("audit.key")));
    let (audit, _) = Audit::open(&log, &key, kept.clone()).await.unwrap();
    let access = Access::open(store, &kept::secret_file(&folder.join("key.pepper")), audit).await.unwrap();
    let administrator = access.bootstrap().await.unwrap().expect("the first start makes a key");
    let mock = |spec: &ModelSpec| -> Arc<dyn Launch> { Arc::new(MockLaunch::new(spec.context)) };
    let spec = ModelSpec {
        name: "mock".parse().unwrap(),
        aliases: vec!["default".parse().unwrap()],
        source: Source::Simulator { purpose: Purpose::Generate, instant: false },
        context: Tokens(512),
        parallel: 32,
        threads: None,
        memory_max: None,
        gpu_layers: GpuLayers::Auto,
        stay: Stay::default(),
    };
    (
        Path::new(access, Replicas::start(vec![spec], u64::MAX, Corrections::none(), &mock).unwrap(), kept),
        administrator,
    )
}

fn key(secret: &Secret) -> Credential {
    Shown::ApiKey(Secret::from(secret.expose().to_vec())).into()
}

fn request(model: &str, class: Option<PriorityClass>, data_class: Option<DataClass>) -> GenerateRequest {
    GenerateRequest {
        id: RequestId(7),
        model: model.parse().unwrap(),
        input: Input::Text(Prompt::from("hello".to_owned())),
        tokens_max: Some(Tokens(8)),
        sampling: Sampling::try_from(SamplingValues::default()).unwrap(),
        stop: StopStrings::default(),
        declared: Declared { class, data_class, purpose: None },
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
        is_service: false,
        purposes: types::Purposes::any(),
        scope: types::Scope::default(),
        expires_at: None,
    };
    let (_, member) = path.create_key(key(&administrator), member).await.unwrap();

    // authenticate
    let refused = path.serve(Shown::Nothing.into(), request("mock", None, None), None).await.err().unwrap();
    assert!(matches!(refused, PathError::Access(AccessError::Unauthenticated)), "{refused}");
    // authorise
    for (class, data_class) in [(Some(PriorityClass::System), None), (None, Some(DataClass::Restricted))] {
        let refused = path.serve(key(&member), request("mock", class, data_class), None).await.err().unwrap();
        assert!(matches!(refused, PathError::Access(AccessError::OverLimit { .. })), "{refused}");
    }
    let refused = path.processes(key(&member)).await.err().unwrap();
    assert!(matches!(refused, PathError::Access(AccessError::Denied { .. })), "{refused}");
    // route
    let refused = path.serve(key(&member), request("other", None, None), None).await.err().unwrap();
    assert!(matches!(refused, PathError::Route(RouteError::NotDeployed { .. })), "{refused}");
    // run
    let answer = path.serve(key(&member), request("default", None, None), None).await.unwrap();
    assert_eq!((answer.request, answer.model.as_str()), (RequestId(7), "mock"));
    let events: Vec<_> = answer.events.map(Result::unwrap).collect().await;
    assert!(matches!(events[..], [.., Event::Usage { input: Tokens(5), .. }, Event::Finished(_)]));
    let metrics = path.metrics(key(&administrator)).await.unwrap();
    assert!(metrics.contains("vllm:prompt_tokens_total{model_name=\"mock\"} 5"), "{metrics}");

    path.close();
    let refused = path.serve(key(&member), request("mock", None, None), None).await.err().unwrap();
    assert!(matches!(refused, PathError::Closing { .. }), "{refused}");
    assert!(matches!(path.models(key(&member)).await, Err(PathError::Closing { .. })));
    assert_eq!(path.not_ready().len(), 1);
    // Operators still see what drains.
    assert!(path.processes(key(&administrator)).await.is_ok());
}

/// Writes down nothing but that the answer ended.
#[derive(Default)]
struct Ended(bool);

impl Transcript for Ended {
    fn see(&mut self, event: &Event) {
        self.0 |= matches!(event, Event::Finished(_));
    }

    fn answer(&mut self) -> Option<Secret> {
        self.0.then(|| Secret::from("it ended".to_owned()))
    }
}

fn keep(subject: Option<&str>) -> Keep {
    Keep {
        subject: subject.map(|name| DataSubject::try_from(name.to_owned()).unwrap()),
        created_at: 100,
        messages: Secret::from("messages".to_owned()),
        metadata: Secret::from("metadata".to_owned()),
        transcript: Box::<Ended>::default(),
    }
}

async fn member(path: &Path, administrator: &Secret, tenant: &str, user: &str) -> Secret {
    let new = NewKey {
        label: "test".to_owned(),
        tenant: tenant.to_owned(),
        user: user.to_owned(),
        role: Role::Member,
        class_max: PriorityClass::Normal,
        data_class_max: DataClass::Confidential,
        is_service: false,
        purposes: types::Purposes::any(),
        scope: types::Scope::default(),
        expires_at: None,
    };
    path.create_key(key(administrator), new).await.unwrap().1
}

#[tokio::test]
async fn an_answer_is_stored_before_it_ends_and_only_where_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let (path, administrator) = house(folder.path()).await;
    let anna = member(&path, &administrator, "clinic", "anna").await;
    let bert = member(&path, &administrator, "clinic", "bert").await;
    let spy = member(&path, &administrator, "secret service", "007").await;
    let forbidden = [(&spy, None), (&anna, Some(DataClass::Public))];
    for (who, data_class) in forbidden {
        let refused =
            path.serve(key(who), request("mock", None, data_class), Some(keep(None))).await.err().unwrap();
        assert!(matches!(refused, PathError::Kept(KeptError::NotAllowed(_))), "{refused}");
    }
    let all = StoredQuery { most: 10, ..StoredQuery::default() };
    let count =
        async |who: &Secret| path.stored_list(key(who), &all, &|_| true, 200).await.unwrap().items.len();

    let id = RequestId(7);
    let mut answer = path.serve(key(&anna), request("mock", None, None), Some(keep(None))).await.unwrap();
    let mut seen = 0;
    while let Some(event) = answer.events.next().await {
        seen += 1;
        let is_last = matches!(event.unwrap(), Event::Finished(_));
        assert_eq!(count(&anna).await, usize::from(is_last), "stored with the last event, not before");
    }
    assert!(seen > 2);
    let stored = path.stored(key(&anna), id, 200).await.unwrap();
    assert_eq!((stored.answer.expose(), stored.metadata.expose()), (&b"it ended"[..], &b"metadata"[..]));
    assert_eq!(path.stored_messages(key(&anna), id, 200).await.unwrap().expose(), b"messages");

    // A caller who leaves has nothing stored, and nobody else sees what is.
    let mut leaves =
        path.serve(key(&bert), request("mock", None, None), Some(keep(Some("patient")))).await.unwrap();
    assert!(leaves.events.next().await.is_some());
    drop(leaves);
    assert_eq!((count(&anna).await, count(&bert).await), (1, 0));
    for refused in [
        path.stored(key(&bert), id, 200).await.err(),
        path.stored_messages(key(&bert), id, 200).await.err(),
        path.update_stored(key(&bert), id, &Secret::from("x".to_owned()), 200).await.err(),
        path.delete_stored(key(&bert), id, 200).await.err(),
        path.stored(key(&anna), id, 100 + 30 * 86_400).await.err(),
        path.stored(key(&anna), RequestId(8), 200).await.err(),
    ] {
        assert!(matches!(refused, Some(PathError::Kept(KeptError::Unknown))));
    }
    assert_eq!(
        path.stored(Shown::Nothing.into(), id, 200).await.err().unwrap().to_string(),
        AccessError::Unauthenticated.to_string()
    );

    // Only who may erases, and only in person.
    let user = DataSubject::try_from("user:anna".to_owned()).unwrap();
    assert!(matches!(path.shred(key(&anna), "clinic", &user, 200).await, Err(PathError::Access(_))));
    let refused = path.shred(key(&administrator), "clinic", &user, 200).await.err().unwrap();
    assert!(matches!(refused, PathError::Access(AccessError::StepUp { .. })), "{refused}");
    let here = || Credential::from(Shown::LocalSocket { uid: rustix::process::geteuid().as_raw() });
    let erased = path.shred(here(), "clinic", &user, 200).await.unwrap();
    assert_eq!((erased.key_destroyed, erased.chat_completions), (true, 1));
    assert_eq!(count(&anna).await, 0);
    let unknown = path.shred(here(), "no such", &user, 200).await.err().unwrap();
    assert!(matches!(unknown, PathError::Access(AccessError::UnknownTenant(_))), "{unknown}");
}
