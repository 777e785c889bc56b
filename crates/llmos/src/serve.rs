use std::{io, net::SocketAddr, process, sync::Arc, time::Duration};

use access::{Access, SignInSettings};
use engine::Launch;
use gateway::{Doors, Names, Tls, TlsKey};
use outbound::{Outbound, Url};
use resources::{
    ModelSpec, Replicas, Source,
    memory::Corrections,
    model_store::{Claim, ModelStore},
};
use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, setrlimit},
};
use serde_json::json;
use simulator::{MockLaunch, replay::StepTime};
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};
use types::{ModelName, Secret};
use vault::Secrets;

use crate::{
    audit,
    config::{self, Config, SecretPlace},
    configured,
    data_dir::{self, DataDir},
    exit::{Exit, Failure, Trying},
    kept, log,
    output::{self, Output},
    trained::{self, Trained},
};

/// How long tasks may take to notice that the server is gone.
const RUNTIME_STOP_MAX: Duration = Duration::from_secs(5);

/// Serves until a signal says otherwise. Returns when all answers are complete or cut.
pub(crate) fn run(config: &Config, output: Output) -> Result<(), Failure> {
    let problems = config.problems_of_serving();
    if !problems.is_empty() {
        return Err(crate::config::failure(&problems));
    }
    // Whatever is made from here on, by us, by the database or by a worker, is for our eyes only.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    keep_memory().trying("forbid dumps of the memory")?;
    log::start(config.log);
    let data_dir = DataDir::open(&config.data_dir)?;
    let runtime = Builder::new_multi_thread().enable_all().build().trying("start")?;
    let result = runtime.block_on(serve(config, &data_dir, output));
    runtime.shutdown_timeout(RUNTIME_STOP_MAX);
    result
}

/// Memory holds keys and prompts: no dump of it is written, also when the server dies, and no other process of the same user
/// reads it. Root still can.
fn keep_memory() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Puts the house together, floor by floor.
async fn serve(config: &Config, data_dir: &DataDir, output: Output) -> Result<(), Failure> {
    let mut signals = Signals::new().trying("listen for signals")?;
    let tcp = bind(config.listen).await?;
    let (keys, secrets) = kept::secrets(config, data_dir).await?;
    let tls = tls(config, &secrets)?;
    let address = tcp.local_addr().trying("find out the address")?;
    let names = Names::new(address, &config.server_names);
    let local = UnixListener::bind(data_dir.socket()).trying("open the admin socket")?;
    data_dir.make_socket_private().trying("make the admin socket private")?;

    let (store, kept) = kept::open(config, data_dir, keys, secrets.clone()).await?;
    let (audit, left_undone) = audit::open(data_dir, &secrets, kept.clone()).await?;
    let outbound =
        Outbound::new(config.outbound.rules.clone()).trying("read the certificates to check servers by")?;
    let outside = audit::look_outside(config, &audit, &outbound).await?;
    audit::settle(&audit, left_undone).await?;
    let collector = audit::open_collector(config, data_dir, &secrets, &audit, &outbound).await?;
    let witness = audit::open_witness(config, data_dir, &secrets, &audit).await?;
    let pepper = secrets.own(&data_dir.pepper());
    let access = Access::open(store, &pepper, audit.clone()).await.trying("open the keys")?;
    let sign_in = sign_in_settings(config, address, &secrets)?;
    let access = access.with_sign_in(sign_in, outbound).await.trying("read the sign-ins")?;
    let access = access.with_locations(config.locations.clone());
    let access = access.with_rate(config.audit.requests_per_minute);
    let (quotas, prices) = (config.quotas.clone(), config.prices.clone());
    let access = access.with_quotas(quotas, prices).await.trying("read what was used")?;
    let memory = config.memory_total.unwrap_or_else(resources::memory_for_models);
    let (corrections, complaint) = Corrections::open(&config.data_dir);
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
    let (models, _claims) = claim(config)?;
    let trained = trained::of_all(&models).await;
    for (spec, trained) in models.iter().zip(&trained) {
        if let Some(warning) = trained.and_then(|trained| trained.warning(&spec.name, spec.context)) {
            tracing::warn!("{warning}");
        }
    }
    let generates = |known: &Option<Trained>| known.is_none_or(|trained| trained.generates);
    let asked = trained.iter().position(generates).map(|index| models[index].name.clone());
    let replicas = Replicas::start(models, memory, corrections, &simulated).map_err(|error| {
        Failure::new(Exit::Configuration, format!("the models cannot be started: {error}"))
    })?;
    let first_key = access.bootstrap().await.trying("make the first key")?;
    let setup_token = match first_key {
        Some(_) => access.invite_first().await.trying("make the first one-time token")?,
        None => None,
    };
    let auth = access.sign_in().public_url().join("auth").trying("write down the address")?;
    let path = path::Path::new(access, replicas, kept.clone());
    let path = Arc::new(match witness {
        Some(witness) => path.with_witness(witness),
        None => path,
    });

    let expiring = tokio::spawn(kept::expire(kept.clone()));
    let pushing = tokio::spawn(outside.clone().run());
    let forwarding = collector.clone().map(|collector| tokio::spawn(collector.run()));

    data_dir.publish(&address.to_string()).trying("write down the address")?;
    let first = First { key: first_key.as_ref(), setup: setup_token.as_ref().map(|token| (&auth, token)) };
    match greet(config, address, &first, asked.as_ref(), output) {
        Err(unread) if unread.exit == Exit::Ok => {
            tracing::warn!(
                "nobody reads stdout, so the greeting is lost; `llmos keys create` makes another key"
            );
        }
        greeted => greeted?,
    }
    tracing::info!(%address, data_dir = %config.data_dir.display(), models = config.models.len(), "serving");

    let grace = config.shutdown_grace;
    let shutdown = async move {
        let signal = signals.next().await;
        tracing::info!(signal, grace_s = grace.as_secs(), "shutting down: answers that have begun may end");
        tokio::spawn(async move {
            let signal = signals.next().await;
            tracing::warn!(signal, "stopped at once");
            process::exit(Exit::Failed.code().into());
        });
    };
    let doors = Doors { tcp, tls, names, metadata_in_address: config.metadata_in_address, local };
    let cut = gateway::serve(path, doors, shutdown, grace).await;
    if cut > 0 {
        tracing::warn!(connections = cut, "the grace period is over: cut what was still open");
    }
    expiring.abort();
    kept.close().await;
    audit.close().await;
    // What was recorded last is signed by now.
    let forward = async {
        if let Some(collector) = &collector {
            collector.close().await;
        }
    };
    tokio::join!(outside.close(), forward);
    pushing.abort();
    if let Some(forwarding) = forwarding {
        forwarding.abort();
    }
    tracing::info!("stopped");
    Ok(())
}

/// The certificate of the configuration, with its key.
fn tls(config: &Config, secrets: &Secrets) -> Result<Option<Tls>, Failure> {
    let Some(files) = &config.tls else { return Ok(None) };
    let key = match &files.key {
        SecretPlace::File(file) => TlsKey::File(file.clone()),
        SecretPlace::Vault(name) => TlsKey::Sealed(kept::named(secrets, "`tls.key`", name)?),
    };
    Tls::open(&files.certificate, key).map(Some).map_err(|error| {
        let what = format!("the certificate of the server cannot be used: {error}");
        Failure::new(Exit::Configuration, what)
    })
}

/// How people sign in, with the secrets of providers.
fn sign_in_settings(
    config: &Config,
    address: SocketAddr,
    secrets: &Secrets,
) -> Result<SignInSettings, Failure> {
    let config::SignIn { public_url, limits, providers, mapping } = config.sign_in.clone();
    let known = || {
        let name = config.server_names.first().map_or("localhost", String::as_str);
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        Url::parse(&format!("{scheme}://{name}:{}", address.port()))
    };
    let public_url = match public_url {
        Some(url) => url,
        None => known().trying("make an address of the first of `server_names`")?,
    };
    let with_secret = |provider: config::Provider| {
        let mut settings = provider.settings;
        if let Some(place) = &provider.secret {
            let (what, setting) = (
                format!("the secret of the provider `{}`", settings.name),
                format!("`client_secret_file` of the provider `{}`", settings.name),
            );
            let read = configured::secret(secrets, (&what, &setting), place)?;
            settings.client_secret = Some(Arc::new(read().trying("open the secret of a provider")?));
        }
        Ok(settings)
    };
    let providers = providers.into_iter().map(with_secret).collect::<Result<_, Failure>>()?;
    Ok(SignInSettings { public_url, providers, mapping, limits, suite: config.suite })
}

/// Takes the models of the store into use: as long as the claims live, nobody removes them.
fn claim(config: &Config) -> Result<(Vec<ModelSpec>, Vec<Claim>), Failure> {
    let (mut specs, mut claims) = (config.models.clone(), Vec::new());
    for spec in &mut specs {
        let Source::Store { model } = &spec.source else { continue };
        let store =
            ModelStore::open(&data_dir::models(&config.data_dir)).trying("open the store of models")?;
        let claim = store.claim(model).map_err(|error| {
            let what = format!("model `{}` cannot be served: {error}", spec.name);
            Failure::new(Exit::Configuration, what)
                .advise("`llmos pull` fetches models, `llmos models` lists them")
        })?;
        spec.source = Source::File { path: claim.path.clone(), sha256: Some(claim.model.digest.hex()) };
        claims.push(claim);
    }
    Ok((specs, claims))
}

/// A mock that takes its time, so that what is tried on it feels like a model, unless it is told not to.
fn simulated(spec: &ModelSpec) -> Arc<dyn Launch> {
    let mock = MockLaunch::new(spec.context);
    Arc::new(match spec.source {
        Source::Simulator { instant: true, .. } => mock,
        _ => mock.paced(StepTime::default()),
    })
}

/// The signals that end a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one, by name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn bind(listen: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(listen).await.map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("port {} of {} is in use by another program", listen.port(), listen.ip())
            }
            _ => format!("cannot listen on {listen}: {error}"),
        };
        Failure::new(Exit::Failed, what).advise(
            "choose another with `listen` in the configuration file, LLMOS_LISTEN or --listen; port 0 lets the \
             system choose one",
        )
    })
}

/// What there is to begin with, the first time; shown this once.
struct First<'a> {
    key: Option<&'a Secret>,
    /// Where the owner sets up their account, and the token for it.
    setup: Option<(&'a Url, &'a Secret)>,
}

/// Tells a person how to use the server, by a question to a model that generates; the first time with a key, which is
/// never shown again.
fn greet(
    config: &Config,
    address: SocketAddr,
    first: &First<'_>,
    asked: Option<&ModelName>,
    output: Output,
) -> Result<(), Failure> {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let address = format!("{scheme}://{address}");
    let key = first.key.map(|key| String::from_utf8_lossy(key.expose()));
    let token = first.setup.map(|(_, token)| String::from_utf8_lossy(token.expose()));
    let curl = key.as_ref().zip(asked).map(|(key, model)| {
        format!(
            "curl {address}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: \
             application/json' -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \
             \"What is the capital of France?\"}}]}}'"
        )
    });
    if output.json {
        let models: Vec<&str> = config.models.iter().map(|model| model.name.as_str()).collect();
        return output::document(&json!({
            "address": address, "key": key, "setup_token": token, "curl": curl, "models": models,
        }));
    }
    let next = match key {
        Some(key) => {
            let try_it = curl.map_or(String::new(), |curl| format!("\n\nTry it:\n\n    {curl}"));
            let sign_in = first.setup.zip(token).map_or(String::new(), |((url, _), token)| {
                format!("\n\nTo sign in with a browser, {url} takes this one-time token within a day:\n\n    {token}")
            });
            format!("The owner's key, shown this once:\n\n    {key}{sign_in}{try_it}")
        }
        None => format!(
            "To make a key:\n\n    llmos keys create --label 'my laptop' --user me --data-dir '{}'",
            config.data_dir.display()
        ),
    };
    output.text(&format!("llmos listens on {address}\n\n{next}\n\n"))
}
