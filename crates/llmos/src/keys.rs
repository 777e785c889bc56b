//! `llmos keys`.

use std::time::{SystemTime, UNIX_EPOCH};

use gateway::admin_types::{CreatedKey, Key, KeyRequest, KeyRotationRequest, Keys};

use crate::{
    cli::{KeyArgs, KeysCommand},
    client::Client,
    exit::{Exit, Failure},
    output::{self, Output, date},
};

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;

pub(crate) async fn run(client: &Client, command: KeysCommand, output: Output) -> Result<(), Failure> {
    match command {
        KeysCommand::Create(args) => create(client, *args, output).await,
        KeysCommand::List => list(client, output).await,
        KeysCommand::Rotate { id, overlap_hours } => rotate(client, &id, overlap_hours, output).await,
        KeysCommand::Revoke { id } => revoke(client, &id, output).await,
    }
}

async fn create(client: &Client, args: KeyArgs, output: Output) -> Result<(), Failure> {
    let request = KeyRequest {
        label: args.label,
        tenant: args.tenant,
        user: args.user,
        service: args.service,
        role: args.role,
        class_max: args.class_max,
        data_class_max: args.data_class_max,
        purposes: Some(args.purposes).filter(|purposes| !purposes.is_empty()),
        actions: args.actions,
        models: args.models,
        expires_at: args.expires_days.map(|days| now_s() + days * DAY_S),
    };
    let created: CreatedKey = client.post("/api/v1/keys", &request).await?;
    if output.json {
        return output::document(&created);
    }
    output::note(format_args!("key {} is made; it is shown this once:", created.key.id));
    output.text(&format!("{}\n", created.secret))
}

async fn rotate(client: &Client, id: &str, overlap_hours: u64, output: Output) -> Result<(), Failure> {
    let path = format!("/api/v1/keys/{}/rotations", checked(id)?);
    let request = KeyRotationRequest { overlap_s: overlap_hours * HOUR_S };
    let created: CreatedKey = client.post(&path, &request).await?;
    if output.json {
        return output::document(&created);
    }
    output::note(format_args!(
        "key {id} has a new secret; it is shown this once. The one before is accepted for {overlap_hours} hours more:"
    ));
    output.text(&format!("{}\n", created.secret))
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let keys: Keys = client.get("/api/v1/keys").await?;
    if output.json {
        return output::document(&keys);
    }
    let headers = [
        "ID",
        "LABEL",
        "TENANT",
        "USER",
        "ROLE",
        "CLASS MAX",
        "DATA CLASS MAX",
        "FOR",
        "CREATED",
        "EXPIRES",
        "REVOKED",
    ];
    let rows: Vec<_> = keys.keys.iter().map(row).collect();
    output.table(&headers, &rows)
}

async fn revoke(client: &Client, id: &str, output: Output) -> Result<(), Failure> {
    let id = checked(id)?;
    let revoked: Key = client.delete(&format!("/api/v1/keys/{id}")).await?;
    if output.json {
        return output::document(&revoked);
    }
    output.text(&format!("revoked {}\n", revoked.id))
}

/// Whatever is no id cannot be a part of a path, and is no key either.
fn checked(id: &str) -> Result<&str, Failure> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err(Failure::new(Exit::NotFound, format!("there is no key `{id}`"))
            .advise("`llmos keys list` shows the ids of all keys"));
    }
    Ok(id)
}

fn row(key: &Key) -> Vec<String> {
    let Key { id, label, tenant, user, role, class_max, data_class_max, .. } = key.clone();
    let time = |seconds: Option<u64>| seconds.map_or("-".to_owned(), date);
    let scope = [&key.actions[..], &key.models[..], key.purposes.as_deref().unwrap_or_default()].concat();
    let scope = if scope.is_empty() { "all".to_owned() } else { scope.join(" ") };
    let [created, expires, revoked] = [Some(key.created_at), key.expires_at, key.revoked_at].map(time);
    vec![id, label, tenant, user, role, class_max, data_class_max, scope, created, expires, revoked]
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
