//! Opens the audit log of a server, compares it with what is known of it elsewhere, and countersigns the logs of others; below
//! it, `llmos audit`.

mod commands;
mod line;
mod verify;

use std::sync::Arc;

use audit::{Audit, Collector, Forwarder, Found, NotTheLog, Outside, Witness, outside::NOTHING_OUTSIDE};
use outbound::Outbound;
use path::Kept;
use vault::Secrets;

use crate::{
    config::{self, Config},
    configured,
    data_dir::DataDir,
    exit::{Exit, Failure, Trying},
};

/// What the token of the collector is called in errors, and the setting that names it.
const COLLECTOR_TOKEN: (&str, &str) =
    ("the token of the collector of the audit log", "`audit_collector.token_file`");

pub(crate) use commands::run;
pub(crate) use verify::verify;

/// The log of the data directory. Names in it are sealed with the keys of what is stored.
/// Nothing is written into it before it was compared with what is known of it elsewhere.
pub(crate) async fn open(
    data_dir: &DataDir,
    secrets: &Secrets,
    kept: Arc<Kept>,
) -> Result<(Arc<Audit>, Found), Failure> {
    let key = secrets.own(&data_dir.audit_key());
    let opened = Audit::open_as_found(&data_dir.audit(), &key, kept).await;
    opened.trying("open the audit log")
}

/// Ends in the log what the last server left undone.
pub(crate) async fn settle(audit: &Arc<Audit>, found: Found) -> Result<(), Failure> {
    let recovered = audit.settle(found).await.trying("end in the audit log what was left undone")?;
    let audit::Recovered { interrupted, cut_bytes } = recovered;
    if interrupted > 0 {
        tracing::warn!(interrupted, "the last server died over requests; the audit log says so now");
    }
    if cut_bytes > 0 {
        tracing::warn!(
            cut_bytes,
            "cut from the audit log what a crash had torn, and of which nobody had been told"
        );
    }
    Ok(())
}

/// Compares the log with what is known of it off this machine. Nothing is served before this has returned.
pub(crate) async fn look_outside(
    config: &Config,
    audit: &Arc<Audit>,
    outbound: &Outbound,
) -> Result<Arc<Outside>, Failure> {
    let config::Audit { push_every, anchors, .. } = &config.audit;
    if anchors.is_empty() {
        tracing::warn!("{NOTHING_OUTSIDE}");
    }
    let outside = Outside::new(audit.clone(), anchors.clone(), outbound.clone(), *push_every);
    outside.look().await.map_err(|error| not_the_log(config, &error))?;
    Ok(outside)
}

fn not_the_log(config: &Config, error: &NotTheLog) -> Failure {
    let data_dir = config.data_dir.display();
    Failure::new(Exit::Failed, error.to_string())
        .advise(format_args!("keep {data_dir} as it is: it is evidence. `llmos-verify log` with a checkpoint that was kept elsewhere says \
                              what is missing or changed"))
        .advise("restore the newest copy of the data directory that you trust")
        .advise(
            "if there is no such copy, or the place is meant for another log, give this server another place with `[[audit_anchor]]` \
             (a file in the folder of the log is moved away), and tell those who check the log why",
        )
}

/// Sends the records to the collector that is configured; none if none is.
pub(crate) async fn open_collector(
    config: &Config,
    data_dir: &DataDir,
    secrets: &Secrets,
    audit: &Arc<Audit>,
    outbound: &Outbound,
) -> Result<Option<Arc<Forwarder>>, Failure> {
    let Some(config::Collector { url, token }) = config.audit.collector.clone() else { return Ok(None) };
    let token = token.map(|place| configured::secret(secrets, COLLECTOR_TOKEN, &place));
    let collector = Collector { url, token: token.transpose()?, cursor: data_dir.audit_collector() };
    Ok(Some(Forwarder::open(audit.clone(), collector, outbound.clone()).await))
}

/// The witness of the logs that are configured; none if none is.
pub(crate) async fn open_witness(
    config: &Config,
    data_dir: &DataDir,
    secrets: &Secrets,
    audit: &Arc<Audit>,
) -> Result<Option<Arc<Witness>>, Failure> {
    let keys = config.audit.witnessed.clone();
    if keys.is_empty() {
        return Ok(None);
    }
    let (folder, file, audit) = (data_dir.witness(), secrets.own(&data_dir.witness_key()), audit.clone());
    let opened = tokio::task::spawn_blocking(move || Witness::open(&folder, &file, &keys, audit)).await;
    let witness = opened.trying("open the witness")?.trying("open the witness")?;
    tracing::info!(key = %witness.key(), logs = config.audit.witnessed.len(), "this server countersigns the logs of others");
    Ok(Some(Arc::new(witness)))
}
