//! `llmos login`, `llmos logout`, `llmos whoami` and `llmos sessions`.

use std::time::Duration;

use gateway::sign_in_types::{DeviceAnswer, ListedSession, Session, Sessions, TokenAnswer, TokenError};
use http::Method;
use outbound::Reply;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep};
use types::Secret;

use crate::{
    cli::SessionsCommand,
    client::refusal_of,
    exit::{Exit, Failure, Trying},
    output::{self, Output, date},
    remote::Remote,
};

/// What is added to the wait when the server asks for patience (RFC 8628, section 3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// The grant of RFC 8628.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Shows a code, and waits until somebody has let us in with it.
pub(crate) async fn login(remote: Remote, output: Output) -> Result<(), Failure> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let client = Secret::from(format!("llmos on {host}"));
    let codes: DeviceAnswer = answered(&remote.form("/auth/device", &[("client_id", &client)]).await?)?;
    // Whatever the server says, a terminal is shown letters only.
    let plain = |text: &str| text.chars().filter(char::is_ascii_graphic).collect::<String>();
    let (code, uri) = (plain(&codes.user_code), plain(&codes.verification_uri_complete));
    if output.json {
        output::document(
            &json!({ "user_code": code, "verification_uri": uri, "expires_in": codes.expires_in }),
        )?;
    } else {
        output.text(&format!(
            "Open {uri} in a browser, and let `llmos on {host}` in with the code {code}.\n"
        ))?;
    }
    let (grant, device) = (Secret::from(GRANT.to_owned()), Secret::from(codes.device_code));
    let end = Instant::now() + Duration::from_secs(codes.expires_in);
    let mut interval = Duration::from_secs(codes.interval.max(1));
    while Instant::now() < end {
        sleep(interval).await;
        let reply = remote.form("/auth/token", &[("grant_type", &grant), ("device_code", &device)]).await?;
        if reply.status.is_success() {
            let answer: TokenAnswer = answered(&reply)?;
            let until = answer.expires_in;
            remote.keep(answer)?;
            if output.json {
                return output::document(&json!({ "server": remote.url().as_str(), "expires_in": until }));
            }
            return output.text(&format!("Signed in at {} for {} h.\n", remote.url(), until.div_ceil(3_600)));
        }
        let error: TokenError = serde_json::from_slice(&reply.body).trying("read the server's answer")?;
        match error.error.as_str() {
            "authorization_pending" => {}
            "slow_down" => interval += SLOWER,
            "access_denied" => return Err(Failure::new(Exit::NotAllowed, "somebody said no")),
            _ => break,
        }
    }
    Err(Failure::new(Exit::NotAllowed, "nobody has let us in with this code in time").advise("try again"))
}

/// Ends the sign-in, there and here.
pub(crate) async fn logout(remote: Remote, output: Output) -> Result<(), Failure> {
    let remote = remote.signed_in()?;
    let reply = remote.ask(Method::DELETE, "/auth/session", None).await?;
    // Over already is over too.
    if !reply.status.is_success() && reply.status != http::StatusCode::UNAUTHORIZED {
        return Err(refused(&reply));
    }
    remote.forget()?;
    if output.json { output::document(&json!({ "signed_out": true })) } else { output.text("Signed out.\n") }
}

/// Says who is signed in.
pub(crate) async fn whoami(remote: Remote, output: Output) -> Result<(), Failure> {
    let remote = remote.signed_in()?;
    let session: Session = answered(&remote.ask(Method::GET, "/auth/session", None).await?)?;
    if output.json {
        return output::document(&session);
    }
    let Session { tenant, user, role, kind, expires_at, .. } = session;
    output.table(
        &["TENANT", "USER", "ROLE", "KIND", "UNTIL"],
        &[vec![tenant, user, role, kind, date(expires_at)]],
    )
}

/// Lists the sessions of who is signed in, or ends one.
pub(crate) async fn sessions(
    remote: Remote,
    command: SessionsCommand,
    output: Output,
) -> Result<(), Failure> {
    let remote = remote.signed_in()?;
    if let SessionsCommand::End { id } = command {
        let path = format!("/auth/sessions/{}", crate::policies::part(&id));
        let reply = remote.ask(Method::DELETE, &path, None).await?;
        if !reply.status.is_success() {
            return Err(refused(&reply));
        }
        return if output.json {
            output::document(&json!({ "ended": true }))
        } else {
            output.text("It is over.\n")
        };
    }
    let listed: Sessions = answered(&remote.ask(Method::GET, "/auth/sessions", None).await?)?;
    if output.json {
        return output::document(&listed);
    }
    let row = |session: &ListedSession| {
        let ListedSession { id, kind, provider, created_at, seen_at, expires_at, is_this, .. } =
            session.clone();
        let this = if is_this { "this one" } else { "" }.to_owned();
        let provider = provider.unwrap_or("-".to_owned());
        vec![id, kind, provider, date(created_at), date(seen_at), date(expires_at), this]
    };
    let rows: Vec<_> = listed.sessions.iter().map(row).collect();
    output.table(&["ID", "KIND", "PROVIDER", "SINCE", "LAST USED", "UNTIL", ""], &rows)
}

fn answered<T: DeserializeOwned>(reply: &Reply) -> Result<T, Failure> {
    if reply.status.is_success() {
        serde_json::from_slice(&reply.body).trying("read the server's answer; is it of another version?")
    } else {
        Err(refused(reply))
    }
}

fn refused(reply: &Reply) -> Failure {
    refusal_of(reply.status, &serde_json::from_slice(&reply.body).unwrap_or_default())
}
