//! `llmos keys`.

use gateway::admin_types::{CreatedKey, Key, KeyRequest, Keys};

use crate::{
    cli::{KeyArgs, KeysCommand},
    client::Client,
    exit::{Exit, Failure},
    output::{self, Output, date},
};

pub(crate) async fn run(client: &Client, command: KeysCommand, output: Output) -> Result<(), Failure> {
    match command {
        KeysCommand::Create(args) => create(client, args, output).await,
        KeysCommand::List => list(client, output).await,
        KeysCommand::Revoke { id } => revoke(client, &id, output).await,
    }
}

async fn create(client: &Client, args: KeyArgs, output: Output) -> Result<(), Failure> {
    let KeyArgs { label, tenant, user, role, class_max, data_class_max } = args;
    let request = KeyRequest { label, tenant, user, role, class_max, data_class_max };
    let created: CreatedKey = client.post("/api/v1/keys", &request).await?;
    if output.json {
        return output::document(&created);
    }
    output::note(format_args!("key {} is made; it is shown this once:", created.key.id));
    output.text(&format!("{}\n", created.secret))
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let keys: Keys = client.get("/api/v1/keys").await?;
    if output.json {
        return output::document(&keys);
    }
    let headers =
        ["ID", "LABEL", "TENANT", "USER", "ROLE", "CLASS MAX", "DATA CLASS MAX", "CREATED", "REVOKED"];
    let rows: Vec<_> = keys.keys.iter().map(row).collect();
    output.table(&headers, &rows)
}

async fn revoke(client: &Client, id: &str, output: Output) -> Result<(), Failure> {
    // Whatever is no id cannot be a part of a path, and is no key either.
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err(Failure::new(Exit::NotFound, format!("there is no key `{id}`"))
            .advise("`llmos keys list` shows the ids of all keys"));
    }
    let revoked: Key = client.delete(&format!("/api/v1/keys/{id}")).await?;
    if output.json {
        return output::document(&revoked);
    }
    output.text(&format!("revoked {}\n", revoked.id))
}

fn row(key: &Key) -> Vec<String> {
    let Key { id, label, tenant, user, role, class_max, data_class_max, created_at, revoked_at } =
        key.clone();
    let revoked = revoked_at.map_or("-".to_owned(), date);
    vec![id, label, tenant, user, role, class_max, data_class_max, date(created_at), revoked]
}
