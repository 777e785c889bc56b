//! `llmos vault`, `llmos shred` and `llmos export`.

use std::{
    io::{self, BufRead, IsTerminal},
    path::{Path, absolute},
};

use gateway::admin_types::{
    Backup, BackupRequest, Export, ExportRequest, Reseal, ResealRequest, Restore, RestoreRequest, Rotation,
    RotationRequest, Shred, ShredRequest, Vault,
};

use crate::{
    cli::{ExportArgs, ShredArgs, VaultKeysCommand},
    client::Client,
    exit::{Exit, Failure, Trying},
    output::{self, Output},
};

pub(crate) async fn run(client: &Client, command: VaultKeysCommand, output: Output) -> Result<(), Failure> {
    match command {
        VaultKeysCommand::Status => status(client, output).await,
        VaultKeysCommand::Rotate { tenant } => {
            let done: Rotation =
                client.post("/api/v1/vault/rotations", &RotationRequest { tenant: tenant.clone() }).await?;
            let what = tenant.map_or("the root key".to_owned(), |tenant| format!("the key of {tenant}"));
            told(output, &done, format!("rotated {what}: {} wrapped anew", keys(done.rewrapped)))
        }
        VaultKeysCommand::Reseal { replace_keys } => reseal(client, replace_keys, output).await,
        VaultKeysCommand::Backup { file, recipients } => {
            let file = named(&file)?;
            let request = BackupRequest { file: file.clone(), recipients };
            let done: Backup = client.post("/api/v1/vault/backups", &request).await?;
            told(output, &done, format!("wrote {file}, {} bytes", done.bytes))
        }
        VaultKeysCommand::Restore { file, identity } => {
            let identity = identity.as_deref().map(named).transpose()?;
            let request = RestoreRequest { file: named(&file)?, identity };
            let done: Restore = client.post("/api/v1/vault/restores", &request).await?;
            let kept_away = match done.shredded {
                0 => String::new(),
                count => format!("; {} stayed away, because they were shredded", keys(count)),
            };
            told(output, &done, format!("restored {}{kept_away}", keys(done.restored)))
        }
    }
}

async fn status(client: &Client, output: Output) -> Result<(), Failure> {
    let vault: Vault = client.get("/api/v1/vault").await?;
    if output.json {
        return output::document(&vault);
    }
    let text = format!(
        "root key          {} (kept in: {})\nsuite             {}\ntenant keys       {}\nkeys of people    {}\nshredded          {}\nchat \
         completions  {}\n",
        vault.root,
        vault.root_kept_in,
        vault.suite,
        vault.tenant_keys,
        vault.subject_keys,
        vault.shredded,
        vault.chat_completions
    );
    let behind = match vault.subject_keys_behind {
        0 => String::new(),
        count => format!(
            "\n{} wait for a rotation that was broken off; `llmos vault rotate --tenant NAME` completes it\n",
            keys(count)
        ),
    };
    output.text(&(text + &behind))
}

async fn reseal(client: &Client, replace_keys: bool, output: Output) -> Result<(), Failure> {
    let done: Reseal = client.post("/api/v1/vault/reseals", &ResealRequest { replace_keys }).await?;
    let Reseal { suite, replaced_keys, chat_completions, seeds, erased, unreadable, left } = &done;
    let mut said = vec![format!("sealed anew in {suite}: {chat_completions} chat completions")];
    let more = [
        (seeds, "seeds of apps"),
        (replaced_keys, "people have a new key"),
        (erased, "of people who were erased stay until they expire"),
        (unreadable, "do not open and stay as they are; the server's log names them"),
        (left, "were changed meanwhile; `llmos vault reseal` takes them up"),
    ];
    let more = more.into_iter().filter(|(count, _)| **count > 0);
    said.extend(more.map(|(count, why)| format!("{count} {why}")));
    told(output, &done, said.join("; "))
}

pub(crate) async fn shred(client: &Client, args: ShredArgs, output: Output) -> Result<(), Failure> {
    let ShredArgs { subject, tenant, yes } = args;
    if !yes && !confirmed(&subject, &tenant)? {
        return Err(Failure::new(Exit::Failed, "nothing was shredded"));
    }
    let request = ShredRequest { tenant: tenant.clone(), subject: subject.clone() };
    let done: Shred = client.post("/api/v1/subjects/shred", &request).await?;
    let said = if done.key_destroyed {
        let count = done.chat_completions;
        format!(
            "shredded {subject}: the key is destroyed, and what was stored is deleted (chat completions: {count})"
        )
    } else {
        format!("there was no key of {subject} in the tenant {tenant}, so there is nothing to shred")
    };
    told(output, &done, said)
}

/// What is shredded cannot be brought back, so a person is asked; a script says `--yes`.
fn confirmed(subject: &str, tenant: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "nobody can be asked whether to shred, as this is no terminal",
        )
        .advise("say --yes to shred without being asked"));
    }
    output::note(format_args!(
        "This destroys the key of {subject} in the tenant {tenant}, for ever. Write the name again to go on:"
    ));
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).trying("read the answer")?;
    Ok(line.trim() == subject)
}

pub(crate) async fn export(client: &Client, args: ExportArgs, output: Output) -> Result<(), Failure> {
    let ExportArgs { subject, tenant, recipients, file } = args;
    let file = named(&file)?;
    let request = ExportRequest { tenant, subject, file: file.clone(), recipients };
    let done: Export = client.post("/api/v1/subjects/export", &request).await?;
    told(output, &done, format!("wrote {file} (chat completions: {})", done.chat_completions))
}

fn told(output: Output, done: &impl serde::Serialize, text: String) -> Result<(), Failure> {
    if output.json { output::document(done) } else { output.text(&format!("{text}\n")) }
}

/// The server may run in another folder.
fn named(file: &Path) -> Result<String, Failure> {
    let file = absolute(file).trying("find out which folder this is")?;
    file.into_os_string()
        .into_string()
        .map_err(|file| Failure::new(Exit::Usage, format!("the path {} is not UTF-8", file.display())))
}

fn keys(count: u64) -> String {
    format!("{count} {}", if count == 1 { "key" } else { "keys" })
}
