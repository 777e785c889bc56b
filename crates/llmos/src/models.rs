//! `llmos pull`, `llmos models`, `llmos rm` and `llmos import`. They work on the store of models themselves, whether
//! a server runs or not.

use std::time::Duration;

use resources::{
    Size,
    model_store::{
        Condition, Digest, Doors, Licence, Listing, ModelStore, PartialView, Pull, PullSource, StoreError,
        StoredModel,
    },
};
use rustix::fs::Mode;
use serde_json::{Value, json};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::timeout,
};
use types::{ModelName, Secret};

use crate::{
    cli::{ImportArgs, NameArgs, PullArgs},
    config::Config,
    data_dir,
    exit::{Exit, Failure, Trying},
    output::{self, Output, date},
    progress::Meter,
};

/// The token for the hub, under the name that its own tools use.
const HUB_TOKEN: &str = "HF_TOKEN";
/// How long an interrupted pull may take to write down what it has. What cannot be stopped, because it hashes or
/// imports, is left where it is: a person's Ctrl-C ends the program at once, and what was durable before is still.
const KEEP_WAIT_MAX: Duration = Duration::from_millis(500);

/// Fetches a model.
pub(crate) fn pull(config: &Config, args: PullArgs, output: Output) -> Result<(), Failure> {
    let folder = std::env::current_dir().trying("find out which folder this is")?;
    let source: PullSource = args.source.parse().map_err(StoreError::from).map_err(failure)?;
    let source = source.from_folder(&folder);
    let (name, aliases) = names(args.names)?;
    let digest = args.sha256.as_deref().map(digest).transpose()?;
    let token = std::env::var(HUB_TOKEN).ok().filter(|token| !token.is_empty()).map(Secret::from);
    let doors = Doors { rules: config.outbound.for_models(), hub: config.outbound.hub.clone(), token };
    let pull = Pull { source, name, aliases, digest };
    let store = open(config)?;
    let left = store.clone();
    let mut meter = Meter::new(output);
    let model =
        interruptible(
            &left,
            async move { store.pull(&pull, doors, &mut |progress| meter.show(progress)).await },
        )?;
    pulled(&model, output)
}

/// Makes a model of a folder.
pub(crate) fn import(config: &Config, args: ImportArgs, output: Output) -> Result<(), Failure> {
    let folder = std::env::current_dir().trying("find out which folder this is")?.join(args.folder);
    let folder = folder.canonicalize().trying(format_args!("find the folder {}", folder.display()))?;
    let (name, aliases) = names(args.names)?;
    let store = open(config)?;
    let left = store.clone();
    let mut meter = Meter::new(output);
    let model = interruptible(&left, async move {
        store.import(&folder, name, aliases, &mut |progress| meter.show(progress))
    })?;
    pulled(&model, output)
}

/// Lists what is there; with `verify` after reading all of it again.
pub(crate) fn list(config: &Config, verify: bool, output: Output) -> Result<(), Failure> {
    let store = open(config)?;
    let conditions = if verify { verified(&store, output)? } else { Vec::new() };
    let listing = store.list().map_err(failure)?;
    // Who has read the files knows more than who has only looked at their lengths.
    let bad: Vec<String> = if verify {
        conditions.iter().filter_map(|(model, condition)| problem(model, *condition)).collect()
    } else {
        listing.incomplete.clone()
    };
    if output.json {
        output::document(&json!({
            "models": listing.models,
            "partial": listing.partial.iter().map(partial_document).collect::<Vec<_>>(),
            "damaged": listing.damaged.iter().chain(&bad).collect::<Vec<_>>(),
        }))?;
    } else {
        tables(&listing, output)?;
    }
    if verify && bad.is_empty() && !output.json {
        output::note(match conditions.len() {
            1 => "the model is as it came".to_owned(),
            count => format!("all {count} models are as they came"),
        });
    }
    let damaged: Vec<&String> = listing.damaged.iter().chain(&bad).collect();
    if damaged.is_empty() {
        return Ok(());
    }
    let what = format!("{} of the models cannot be used", damaged.len());
    Err(damaged.into_iter().fold(Failure::new(Exit::Failed, what), Failure::advise))
}

/// Removes a model, or without a name the downloads that were cut off.
pub(crate) fn remove(config: &Config, name: Option<String>, output: Output) -> Result<(), Failure> {
    let store = open(config)?;
    let Some(name) = name else {
        let removed = store.remove_partial().map_err(failure)?;
        let freed = removed.iter().map(|partial| partial.bytes).sum();
        if output.json {
            let sources: Vec<&str> = removed.iter().map(|partial| partial.source.as_str()).collect();
            return output::document(&json!({ "removed": sources, "freed": freed }));
        }
        let count = match removed.len() {
            1 => "1 download".to_owned(),
            count => format!("{count} downloads"),
        };
        return output.text(&format!("removed {count}, freed {}\n", Size(freed)));
    };
    let removed = store.remove(&name).map_err(failure)?;
    let names: Vec<&str> = removed.names.iter().map(ModelName::as_str).collect();
    if output.json {
        return output::document(&json!({ "removed": names, "freed": removed.freed }));
    }
    let what = match &removed.still {
        Some(model) => format!("; the model is still there as {model}"),
        None if removed.freed == 0 => "; its file has other names".to_owned(),
        None => format!(", freed {}", Size(removed.freed)),
    };
    output.text(&format!("removed {}{what}\n", names.join(", ")))
}

/// Opens the store. What is made there is for our eyes only.
pub(crate) fn open(config: &Config) -> Result<ModelStore, Failure> {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    data_dir::make(&config.data_dir)?;
    ModelStore::open(&data_dir::models(&config.data_dir)).map_err(failure)
}

/// Runs the work on a thread of its own, so that a signal ends it at any time; what has come is kept.
fn interruptible<T: Send + 'static>(
    store: &ModelStore,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, Failure> {
    // Two threads: signals and clocks need one that the work does not block.
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().trying("start")?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).trying("listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).trying("listen for signals")?;
        let mut task: JoinHandle<_> = tokio::spawn(work);
        tokio::select! {
            done = &mut task => done.trying("finish; a defect in llmos stopped it")?.map_err(failure),
            _ = terminate.recv() => Err(interrupted(store, task).await),
            _ = interrupt.recv() => Err(interrupted(store, task).await),
        }
    });
    runtime.shutdown_background();
    result
}

/// Waits until what has come is written down, and says what that is.
async fn interrupted<T>(store: &ModelStore, task: JoinHandle<T>) -> Failure {
    task.abort();
    let _ = timeout(KEEP_WAIT_MAX, task).await;
    let failure = Failure::new(Exit::Failed, "interrupted");
    let ours = |partial: &PartialView| partial.pid.is_none() && partial.bytes > 0;
    let kept = store.list().map(|listing| listing.partial.into_iter().filter(ours).collect::<Vec<_>>());
    kept.unwrap_or_default().iter().fold(failure, |failure, partial| {
        let of = partial.total.map_or(String::new(), |total| format!(" of {}", Size(total)));
        failure.advise(format_args!(
            "{}{of} of {} are kept: pull it again to go on, or `llmos rm --partial`",
            Size(partial.bytes),
            partial.source
        ))
    })
}

fn names(args: NameArgs) -> Result<(Option<ModelName>, Vec<ModelName>), Failure> {
    let name = |text: String| {
        text.parse::<ModelName>().map_err(|error| {
            let what = format!("`{text}` is no name for a model; allowed: {}", error.allowed);
            Failure::new(Exit::Usage, what)
        })
    };
    Ok((args.name.map(name).transpose()?, args.aliases.into_iter().map(name).collect::<Result<_, _>>()?))
}

/// With or without what digests begin with.
fn digest(text: &str) -> Result<Digest, Failure> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    Digest::from_hex(digits).map_err(|error| Failure::new(Exit::Usage, format!("--sha256: {error}")))
}

fn pulled(model: &StoredModel, output: Output) -> Result<(), Failure> {
    if output.json {
        return output::document(model);
    }
    let licence = match &model.licence {
        Some(Licence { name, found_in }) => format!("licence {name} ({found_in})"),
        None => "licence not known: ask its maker before you use it".to_owned(),
    };
    let quantisation = model.quantisation.as_deref().unwrap_or("mixed");
    output.text(&format!(
        "{} is in the store: {}, {} {quantisation}, {licence}\n{}\nTo serve it:\n\n    [[model]]\n    name = \"{}\"\n    \
         source = \"store:{}\"\n",
        model.name,
        Size(model.bytes),
        model.architecture,
        model.digest,
        model.name,
        model.name
    ))
}

fn tables(listing: &Listing, output: Output) -> Result<(), Failure> {
    let headers =
        ["NAME", "ALIASES", "SIZE", "ARCHITECTURE", "QUANTISATION", "CONTEXT", "LICENCE", "ADDED", "SOURCE"];
    output.table(&headers, &listing.models.iter().map(row).collect::<Vec<_>>())?;
    if listing.partial.is_empty() {
        return Ok(());
    }
    output.text("\n")?;
    let rows: Vec<_> = listing.partial.iter().map(partial_row).collect();
    output.table(&["NOT COMPLETE", "CAME", "OF", "STATE"], &rows)
}

fn row(model: &StoredModel) -> Vec<String> {
    let aliases: Vec<&str> = model.aliases.iter().map(ModelName::as_str).collect();
    vec![
        model.name.to_string(),
        if aliases.is_empty() { none() } else { aliases.join(", ") },
        Size(model.bytes).to_string(),
        model.architecture.clone(),
        model.quantisation.clone().unwrap_or_else(none),
        model.context.to_string(),
        model.licence.as_ref().map_or_else(none, |licence| licence.name.clone()),
        date(model.added_at),
        model.source.clone(),
    ]
}

fn partial_row(partial: &PartialView) -> Vec<String> {
    let state = match &partial.pid {
        Some(pid) => format!("process {pid} is pulling it"),
        None => "cut off: pull it again to go on, or `llmos rm --partial`".to_owned(),
    };
    let total = partial.total.map_or_else(none, |total| Size(total).to_string());
    vec![partial.source.clone(), Size(partial.bytes).to_string(), total, state]
}

fn partial_document(partial: &PartialView) -> Value {
    json!({ "source": partial.source, "bytes": partial.bytes, "total": partial.total, "pid": partial.pid })
}

fn verified(store: &ModelStore, output: Output) -> Result<Vec<(StoredModel, Condition)>, Failure> {
    let mut meter = Meter::new(output);
    store.verify(&mut |progress| meter.show(progress)).map_err(failure)
}

/// What is wrong with a model, and what to do.
fn problem(model: &StoredModel, condition: Condition) -> Option<String> {
    let StoredModel { name, source, digest, .. } = model;
    match condition {
        Condition::Sound => None,
        Condition::Damaged(found) => Some(format!(
            "{name} is damaged: its file is {found} instead of {digest}; `llmos rm {name}`, then pull {source} again"
        )),
        Condition::Missing => {
            Some(format!("the file of {name} is missing; `llmos rm {name}`, then pull {source} again"))
        }
    }
}

fn none() -> String {
    "-".to_owned()
}

pub(crate) fn failure(error: StoreError) -> Failure {
    let exit = match &error {
        StoreError::NotFound { .. } => Exit::NotFound,
        StoreError::Source(_) | StoreError::Digest(_) | StoreError::NoName(_) | StoreError::Choose(_) => {
            Exit::Usage
        }
        _ => Exit::Failed,
    };
    Failure::new(exit, error)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[test]
    fn a_signal_does_not_wait_for_work_that_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let store = ModelStore::open(folder.path()).unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let blocks = Arc::clone(&done);
        let interrupted = interruptible(&store, async move {
            kill_process(getpid(), Signal::INT).unwrap();
            std::thread::sleep(4 * KEEP_WAIT_MAX);
            blocks.store(true, Ordering::Relaxed);
            Ok(())
        });
        assert_eq!(interrupted.unwrap_err().what, "interrupted");
        assert!(!done.load(Ordering::Relaxed));
    }
}
