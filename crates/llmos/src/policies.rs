//! `llmos policies` and `llmos why`.

use std::fs;

use gateway::admin_types::{DecisionReport, DecisionRequest, Policies, PolicyRequest};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    cli::{PoliciesCommand, WhyCommand},
    client::Client,
    exit::{Exit, Failure},
    output::{self, Output},
};

pub(crate) async fn run(client: &Client, command: PoliciesCommand, output: Output) -> Result<(), Failure> {
    match command {
        PoliciesCommand::List { tenant } => {
            let path = format!("/api/v1/policies/{}", part(&tenant));
            let policies: Policies = client.get(&path).await?;
            if output.json {
                return output::document(&policies);
            }
            let texts = policies
                .policies
                .iter()
                .map(|policy| format!("// {}\n{}\n", policy.name, policy.text.trim()));
            output.text(&texts.collect::<Vec<_>>().join("\n"))
        }
        PoliciesCommand::Set { name, file, tenant } => {
            let text = fs::read_to_string(&file).map_err(|error| {
                Failure::new(Exit::Failed, format!("cannot read {}: {error}", file.display()))
            })?;
            client.put_with::<()>(&place(&tenant, &name), &PolicyRequest { text }).await?;
            done(&name, "in force", output)
        }
        PoliciesCommand::Remove { name, tenant } => {
            client.delete::<()>(&place(&tenant, &name)).await?;
            done(&name, "removed", output)
        }
    }
}

pub(crate) async fn why(client: &Client, command: WhyCommand, output: Output) -> Result<(), Failure> {
    let WhyCommand::Access { principal, action, resource } = command;
    let request = match (principal.strip_prefix("key:"), principal.split_once('/')) {
        (Some(key), _) => DecisionRequest { key: Some(key.to_owned()), ..DecisionRequest::default() },
        (None, Some((tenant, user))) => user_of(tenant, user),
        (None, None) => user_of("default", &principal),
    };
    let request = DecisionRequest { action: action.clone(), resource, ..request };
    let report: DecisionReport = client.post("/api/v1/decisions", &request).await?;
    if output.json {
        return output::document(&report);
    }
    output.text(&told(&principal, &action, &report))
}

/// The decision in words, and the policies that decide it.
fn told(principal: &str, action: &str, report: &DecisionReport) -> String {
    let verdict = match (report.allowed, &report.says, report.policies.is_empty()) {
        (true, ..) => format!("{principal} may {action}"),
        (false, Some(says), _) => format!("{principal} may not {action}: {says}"),
        (false, None, false) => format!("{principal} may not {action}"),
        (false, None, true) => {
            format!("{principal} may not {action}: no policy permits it; the roles {} may", report.roles)
        }
    };
    let policies =
        report.policies.iter().map(|policy| format!("\n\n{}\n{}", policy.name, policy.text.trim()));
    format!("{verdict}{}\n", policies.collect::<String>())
}

fn user_of(tenant: &str, user: &str) -> DecisionRequest {
    DecisionRequest {
        tenant: Some(tenant.to_owned()),
        user: Some(user.to_owned()),
        ..DecisionRequest::default()
    }
}

fn done(name: &str, what: &str, output: Output) -> Result<(), Failure> {
    if output.json {
        return output::document(&serde_json::json!({ "policy": name, "state": what }));
    }
    output.text(&format!("policy {name} is {what}\n"))
}

fn place(tenant: &str, name: &str) -> String {
    format!("/api/v1/policies/{}/{}", part(tenant), part(name))
}

pub(crate) fn part(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}
