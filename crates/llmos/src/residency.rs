//! `llmos load` and `llmos unload`.

use std::time::Duration;

use gateway::admin_types::{Processes, Replica};
use serde::de::IgnoredAny;
use serde_json::json;

use crate::{
    client::Client,
    exit::{Exit, Failure},
    output::{self, Output},
};

/// How often it is looked how far a load has come.
const POLL: Duration = Duration::from_millis(200);

/// Begins the load and waits for its end; the person at the keyboard is the limit, and Ctrl-C leaves it going on.
pub(crate) async fn load(client: &Client, model: &str, output: Output) -> Result<(), Failure> {
    let name = canonical(client, model).await?;
    client.put::<IgnoredAny>(&format!("/api/v1/loaded/{name}")).await?;
    let mut told = None;
    loop {
        let replica = replica(client, &name).await?;
        match replica.state.as_str() {
            "ready" if output.json => return output::document(&replica),
            "ready" => return output.text(&format!("{name} is in memory\n")),
            "failed" => {
                let why = replica.why.unwrap_or_default();
                return Err(Failure::new(Exit::Failed, format!("{name} cannot be loaded: {why}")));
            }
            "unloaded" => {
                let what = format!("{name} was unloaded before it was whole");
                return Err(Failure::new(Exit::Failed, what).advise("the server's log says for whom"));
            }
            _ if told != replica.percent && !output.json => {
                told = replica.percent;
                let left = replica.left_s.map_or(String::new(), |left| format!(", about {left:.0} s to go"));
                output::note(format_args!("loading {name}: {} %{left}", replica.percent.unwrap_or(0)));
            }
            _ => {}
        }
        tokio::time::sleep(POLL).await;
    }
}

pub(crate) async fn unload(client: &Client, model: &str, output: Output) -> Result<(), Failure> {
    let name = canonical(client, model).await?;
    let before = replica(client, &name).await?;
    // Answers when the memory is free, also if the model was on its way out already.
    client.delete::<IgnoredAny>(&format!("/api/v1/loaded/{name}")).await?;
    if output.json {
        return output::document(&json!({ "unloaded": name }));
    }
    let what = match (before.memory, before.state.as_str()) {
        (None, _) => "was not in memory",
        (Some(_), "unloaded") => "was on its way out of memory, and is gone",
        (Some(_), _) => "is gone from memory",
    };
    output.text(&format!("{name} {what}\n"))
}

/// The configured name behind a name or alias.
async fn canonical(client: &Client, model: &str) -> Result<String, Failure> {
    #[derive(serde::Deserialize)]
    struct Model {
        id: String,
    }
    // What is no name of a model never gets into a path.
    let Ok(model) = model.parse::<types::ModelName>() else {
        return Err(Failure::new(Exit::NotFound, format!("there is no model `{model}`")));
    };
    Ok(client.get::<Model>(&format!("/v1/models/{model}")).await?.id)
}

async fn replica(client: &Client, name: &str) -> Result<Replica, Failure> {
    let processes: Processes = client.get("/api/v1/processes").await?;
    let found = processes.replicas.into_iter().find(|replica| replica.model == name);
    found.ok_or_else(|| Failure::new(Exit::NotFound, format!("the server has no model `{name}` any more")))
}
