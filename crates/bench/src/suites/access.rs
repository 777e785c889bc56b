//! Suite `access`: what it costs to find out who somebody is, and what they may do.
//!
//! In this process, on one thread, by CPU time: what is measured is the crate that the server links. And what all of a request
//! costs, from socket to socket: the real server beside the same codec wired straight to the same mock driver, in turns.

use std::{path::Path, sync::Arc};

use access::{Access, Credential, Generate, ManageKeys, ModelUse, NewKey, Shown};
use anyhow::{Context, Result, ensure};
use audit::{Audit, Erases};
use futures::future::try_join_all;
use hyper::body::Bytes;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use store::Store;
use types::{DataClass, Declared, ModelName, Principal, PriorityClass, Role, Scope, UserId};

use super::Options;
use crate::{
    figures::{Findings, Outcome},
    http::Connection,
    progress,
    servers::{MODEL, Server, beside_us},
    statistics::Summary,
};

const ROUNDS: usize = 9;
/// Keys that are shown in a round, each once: nobody keeps a copy of a key.
const KEYS: u32 = 200;
const DECISIONS: u32 = 20_000;
const FRESH: u32 = 5_000;
/// What is measured beside the server, and where its program lies: beside this one.
const STRAIGHT: &str = "llmos-bench-straight";
/// Bytes of a request's body.
const REQUEST_BYTES: usize = 1_024;
/// Callers at once, each with a connection: as many as fit into the KV memory of the mock.
const CONNECTIONS: usize = 4;
/// Requests of each of them in a round: their CPU time is some hundred times what the kernel counts it in (10 ms).
const REQUESTS: usize = 2_500;

pub(super) async fn run(options: &Options) -> Result<Findings> {
    let mut findings = Findings::default();
    let folder = tempfile::tempdir().context("a folder for the keys")?;
    let store = Store::open(&folder.path().join("state.db")).await?;
    let (log, key) = (folder.path().join("audit"), super::secret_file(&folder.path().join("audit.key"))?);
    let (audit, _) = Audit::open(&log, &key, Arc::new(Erases)).await?;
    let access = Access::open(store, &super::secret_file(&folder.path().join("pepper"))?, audit).await?;
    let first = access.bootstrap().await?.context("there were keys before")?;
    let owner = access.authenticate(Shown::ApiKey(first).into()).await?;
    let by = access.authorize::<ManageKeys>(&owner, owner.tenant)?;
    let count = ROUNDS * KEYS as usize;
    progress(&format!("access: making {count} keys"));
    let mut keys = Vec::new();
    for number in 0..count {
        keys.push(Credential::from(Shown::ApiKey(access.create_key(&by, new_key(number)).await?.1)));
    }
    let model: ModelName = "smollm2".parse()?;

    let (mut checks, mut memos, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        progress(&format!("access: checking and deciding, {round} of {ROUNDS}"));
        let begun = cpu_s();
        let mut principal = None;
        for key in keys.drain(..KEYS as usize) {
            principal = Some(access.authenticate(key).await?);
        }
        checks.push(micros(begun, KEYS));
        let principal = principal.context("nobody was checked")?;

        let begun = cpu_s();
        for _ in 0..DECISIONS {
            access.authorize::<Generate>(&principal, wanted(&model))?;
        }
        memos.push(micros(begun, DECISIONS));

        // Each time somebody else, so that nothing is remembered.
        let callers: Vec<Principal> = (0..FRESH)
            .map(|number| Principal {
                user: UserId(u64::from(number) + u64::from(FRESH) * round as u64 + 1_000_000),
                ..principal.clone()
            })
            .collect();
        let begun = cpu_s();
        for caller in &callers {
            let proof = access.authorize::<Generate>(caller, wanted(&model))?;
            ensure!(proof.policies() == ["role.member"], "another policy decided: {:?}", proof.policies());
        }
        fresh.push(micros(begun, FRESH));
    }
    for (figure, values) in
        [("key_check_us", &checks), ("decision_memo_us", &memos), ("decision_fresh_us", &fresh)]
    {
        let summary = Summary::of(values).context("nothing was measured")?;
        findings.outcomes.insert(figure, Outcome::Measured(summary));
    }
    through_the_path(&options.llmos, &mut findings).await?;
    findings.number("live keys", count as f64, "");
    Ok(findings)
}

/// CPU time of a request through the whole server over that of the codec and the driver alone.
async fn through_the_path(program: &Path, findings: &mut Findings) -> Result<()> {
    let servers = [Server::llmos(program, None).await?, Server::straight(&beside_us(STRAIGHT)?).await?];
    let body = request()?;
    let (mut ratios, mut costs) = (Vec::new(), [Vec::new(), Vec::new()]);
    for round in 0..=ROUNDS {
        progress(&format!("access: requests through the path and beside it, {round} of {ROUNDS}"));
        let mut cost = [0.0; 2];
        // Who is first changes from round to round.
        for server in [round % 2, (round + 1) % 2] {
            cost[server] = cost_us(&servers[server], &body).await?;
        }
        // The first round only warms up.
        if round > 0 {
            ratios.push(cost[0] / cost[1]);
            costs.iter_mut().zip(cost).for_each(|(all, one)| all.push(one));
        }
    }
    let summary = Summary::of(&ratios).context("nothing was measured")?;
    findings.outcomes.insert("path_cpu_ratio", Outcome::Measured(summary));
    for (name, costs) in
        ["CPU of a request, llmos", "CPU of a request, codec and driver"].into_iter().zip(&costs)
    {
        findings.number(name, Summary::of(costs).context("nothing was measured")?.median, "us");
    }
    let [llmos, straight] = servers;
    llmos.process.stop().await?;
    straight.process.stop().await
}

/// CPU time of the server for one request, in microseconds.
async fn cost_us(server: &Server, body: &Bytes) -> Result<f64> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(&server.endpoint).await?);
    }
    let before = server.process.cpu_seconds()?;
    let all = connections.into_iter().map(async |mut connection| {
        for _ in 0..REQUESTS {
            connection.chat(body.clone()).await?;
        }
        Ok::<_, anyhow::Error>(())
    });
    try_join_all(all).await?;
    let used = server.process.cpu_seconds()? - before;
    Ok(used * 1e6 / (CONNECTIONS * REQUESTS) as f64)
}

/// A chat of 1 KB. Of the answer one token is enough: all others cost both the same.
fn request() -> Result<Bytes> {
    let body = |text: &str| {
        let messages = json!([{ "role": "user", "content": text }]);
        serde_json::to_vec(
            &json!({ "model": MODEL, "messages": messages, "max_tokens": 1, "temperature": 0 }),
        )
    };
    let rest = REQUEST_BYTES.checked_sub(body("")?.len()).context("a request is too small")?;
    Ok(body(&"word ".repeat(REQUEST_BYTES)[..rest])?.into())
}

fn new_key(number: usize) -> NewKey {
    NewKey {
        label: "benchmark".to_owned(),
        tenant: "a new tenant".to_owned(),
        user: format!("user {number}"),
        role: Role::Member,
        class_max: PriorityClass::Interactive,
        data_class_max: DataClass::Restricted,
        is_service: false,
        purposes: types::Purposes::any(),
        scope: Scope::default(),
        expires_at: None,
    }
}

fn wanted(model: &ModelName) -> ModelUse {
    ModelUse { model: model.clone(), declared: Declared::default() }
}

/// CPU time of this thread, in seconds.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn micros(begun: f64, times: u32) -> f64 {
    (cpu_s() - begun) * 1e6 / f64::from(times)
}
