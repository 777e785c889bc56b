//! Suite `access`: what it costs to find out who somebody is, and what they may do.
//!
//! In this process, on one thread, by CPU time: what is measured is the crate that the server links.

use access::{Access, Credential, Generate, ManageKeys, ModelUse, NewKey, Shown};
use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use store::Store;
use types::{DataClass, Declared, ModelName, Principal, PriorityClass, Role, Scope, UserId};

use crate::{
    figures::{Findings, Outcome},
    progress,
    statistics::Summary,
};

const ROUNDS: usize = 9;
/// Keys that are shown in a round, each once: nobody keeps a copy of a key.
const KEYS: u32 = 200;
const DECISIONS: u32 = 20_000;
const FRESH: u32 = 5_000;

pub(super) async fn run() -> Result<Findings> {
    let mut findings = Findings::default();
    let folder = tempfile::tempdir().context("a folder for the keys")?;
    let store = Store::open(&folder.path().join("state.db")).await?;
    let access = Access::open(store, &folder.path().join("pepper")).await?;
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
    // What it is compared with, the codecs wired straight to a mock driver, is not there yet.
    findings.outcomes.insert("path_cpu_ratio", Outcome::Skipped);
    findings.number("live keys", count as f64, "");
    Ok(findings)
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
