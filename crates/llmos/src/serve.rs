use std::{io, net::SocketAddr, process, sync::Arc, time::Duration};

use access::Access;
use engine::Launch;
use gateway::{Doors, Names, Tls};
use resources::{
    ModelSpec, Replicas, Source,
    memory::Corrections,
    model_store::{Claim, ModelStore},
};
use rustix::fs::Mode;
use serde_json::json;
use simulator::{MockLaunch, replay::StepTime};
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};
use types::{ModelName, Secret};

use crate::{
    config::Config,
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
    log::start(config.log);
    let data_dir = DataDir::open(&config.data_dir)?;
    let runtime = Builder::new_multi_thread().enable_all().build().trying("start")?;
    let result = runtime.block_on(serve(config, &data_dir, output));
    runtime.shutdown_timeout(RUNTIME_STOP_MAX);
    result
}

/// Puts the house together, floor by floor.
async fn serve(config: &Config, data_dir: &DataDir, output: Output) -> Result<(), Failure> {
    let mut signals = Signals::new().trying("listen for signals")?;
    let tls = config.tls.as_ref().map(|files| Tls::open(&files.certificate, &files.key)).transpose();
    let tls = tls.map_err(|error| {
        let what = format!("the certificate of the server cannot be used: {error}");
        Failure::new(Exit::Configuration, what)
    })?;
    let tcp = bind(config.listen).await?;
    let address = tcp.local_addr().trying("find out the address")?;
    let names = Names::new(address, &config.server_names);
    let local = UnixListener::bind(data_dir.socket()).trying("open the admin socket")?;
    data_dir.make_socket_private().trying("make the admin socket private")?;

    let (store, kept) = kept::open(config, data_dir).await?;
    let access = Access::open(store, &data_dir.pepper()).await.trying("open the keys")?;
    let access = access.with_quotas(config.quotas.clone()).await.trying("read what was used today")?;
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
    let path = Arc::new(path::Path::new(access, replicas, kept.clone()));

    let expiring = tokio::spawn(kept::expire(kept.clone()));

    data_dir.publish(&address.to_string()).trying("write down the address")?;
    match greet(config, address, first_key.as_ref(), asked.as_ref(), output) {
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
    let cut = gateway::serve(path, Doors { tcp, tls, names, local }, shutdown, grace).await;
    if cut > 0 {
        tracing::warn!(connections = cut, "the grace period is over: cut what was still open");
    }
    expiring.abort();
    kept.close().await;
    tracing::info!("stopped");
    Ok(())
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

/// A mock that takes its time, so that what is tried on it feels like a model.
fn simulated(spec: &ModelSpec) -> Arc<dyn Launch> {
    Arc::new(MockLaunch::new(spec.context).paced(StepTime::default()))
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

/// Tells a person how to use the server, by a question to a model that generates; the first time with a key, which is
/// never shown again.
fn greet(
    config: &Config,
    address: SocketAddr,
    first_key: Option<&Secret>,
    asked: Option<&ModelName>,
    output: Output,
) -> Result<(), Failure> {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let address = format!("{scheme}://{address}");
    let key = first_key.map(|key| String::from_utf8_lossy(key.expose()));
    let curl = key.as_ref().zip(asked).map(|(key, model)| {
        format!(
            "curl {address}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: \
             application/json' -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \
             \"What is the capital of France?\"}}]}}'"
        )
    });
    if output.json {
        let models: Vec<&str> = config.models.iter().map(|model| model.name.as_str()).collect();
        return output::document(&json!({ "address": address, "key": key, "curl": curl, "models": models }));
    }
    let next = match key {
        Some(key) => {
            let try_it = curl.map_or(String::new(), |curl| format!("\n\nTry it:\n\n    {curl}"));
            format!("The owner's key, shown this once:\n\n    {key}{try_it}")
        }
        None => format!(
            "To make a key:\n\n    llmos keys create --label 'my laptop' --user me --data-dir '{}'",
            config.data_dir.display()
        ),
    };
    output.text(&format!("llmos listens on {address}\n\n{next}\n\n"))
}
