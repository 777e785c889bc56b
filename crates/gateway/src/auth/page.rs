//! The pages of the sign-in: plain HTML, made here, with one small script for passkeys.

use std::{fmt::Write as _, time::SystemTime};

use access::{FactorKind, OwnSession, SessionKind, SessionView, SignInError, Stage};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use types::Secret;

use crate::error::ApiError;

/// What pages may do: show themselves, run our script, and send forms to us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// Browsers say where a form comes from only if they may; other sites learn nothing.
const REFERRER: &str = "same-origin";

pub(crate) const SCRIPT: &str = include_str!("passkeys.js");
pub(crate) const STYLE: &str = include_str!("page.css");

/// Text that is shown as what it is.
fn text(raw: &str) -> String {
    let mut safe = String::with_capacity(raw.len());
    for character in raw.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A page. `body` is HTML.
fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>{title} - llmos</title>\n<link rel=\"stylesheet\" \
         href=\"/auth/page.css\">\n<script src=\"/auth/passkeys.js\" defer></script>\n<main>\n<h1>{title}</h1>\n{body}\n\
         <p id=\"error\" role=\"alert\"></p>\n</main>\n</html>\n",
        title = text(title),
    );
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static(REFERRER));
    response
}

fn button(action: &str, label: &str, fields: &str) -> String {
    format!("<form method=\"post\" action=\"{action}\">{fields}<button>{}</button></form>\n", text(label))
}

/// A button that begins a sign-in.
fn to_provider(provider: &str, label: &str, fields: &str) -> String {
    button(&format!("/auth/login/{}", text(provider)), label, fields)
}

/// The same for somebody who has signed in, and is asked again.
fn again(provider: &str) -> String {
    let fields = "<input type=\"hidden\" name=\"anew\" value=\"1\">";
    to_provider(provider, &format!("Sign in with {provider} again"), fields)
}

/// Goes on to a provider by itself. Not a redirect: a form leads to this server only, and browsers hold what it is redirected to
/// to that too.
pub(crate) fn leave(provider: &str, url: &str) -> Response {
    let Ok(refresh) = HeaderValue::from_str(&format!("0; url={url}")) else {
        return ApiError::Internal.into_response();
    };
    let body = format!("<p><a class=\"button\" href=\"{}\">Go on to {}</a></p>", text(url), text(provider));
    let mut page = page(StatusCode::OK, "One moment", &body);
    page.headers_mut().insert(header::REFRESH, refresh);
    page
}

/// What went wrong, for people.
pub(crate) fn failed(status: StatusCode, error: &SignInError) -> Response {
    let body =
        format!("<p>{}</p>\n<p><a href=\"/auth\">Sign in again</a></p>", text(&sentence(&error.to_string())));
    page(status, "You are not signed in", &body)
}

/// Something else than a sign-in went wrong.
pub(crate) fn refused(status: StatusCode, why: &str) -> Response {
    page(
        status,
        "This did not work",
        &format!("<p>{}</p>\n<p><a href=\"/auth\">Back</a></p>", text(&sentence(why))),
    )
}

fn sentence(words: &str) -> String {
    let mut characters = words.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str().trim_end_matches('.'))
}

/// Where nobody has signed in.
pub(crate) fn sign_in(providers: &[&str], passkeys: bool, next: &str) -> Response {
    let mut body = String::new();
    for provider in providers {
        body.push_str(&to_provider(provider, &format!("Sign in with {provider}"), &onward(next)));
    }
    let emergency = !providers.is_empty();
    if emergency {
        body.push_str("<details><summary>Sign in without the provider</summary>\n<p>For emergencies. It is written to the log, with the reason.</p>\n");
    }
    let reason = if emergency {
        "<label>Reason <input name=\"reason\" minlength=\"8\" maxlength=\"200\" required></label>\n"
    } else {
        ""
    };
    if passkeys {
        let _ = writeln!(
            body,
            "<form data-passkey=\"sign_in\" data-next=\"{}\">\n{reason}<button>Use a passkey</button></form>",
            text(next)
        );
    }
    let _ = writeln!(
        body,
        "<form method=\"post\" action=\"/auth/setup\">\n{reason}<label>One-time token <input name=\"token\" type=\"password\" \
         autocomplete=\"off\" required></label>\n<button>Set up this account</button></form>"
    );
    if emergency {
        body.push_str("</details>\n");
    }
    page(StatusCode::OK, "Sign in", &body)
}

/// Where somebody has signed in, wholly or in part.
pub(crate) fn account(view: &SessionView, own: &[OwnSession], passkeys: bool, next: &str) -> Response {
    let who = format!("<p>{} of {}, {}</p>\n", text(&view.user), text(&view.tenant), view.role);
    match (&view.second_factor_at, view.stage) {
        (Some(provider), Stage::FirstFactor) => {
            let body = format!(
                "{who}<p>{} has not asked you for a second factor.</p>\n{}{}",
                text(provider),
                again(provider),
                sign_out()
            );
            page(StatusCode::OK, "A second factor is missing", &body)
        }
        (_, Stage::FirstFactor) if view.factors.is_empty() => {
            let body = format!(
                "{who}<p>Choose how you prove from now on that it is you.</p>\n{}{}",
                add(passkeys, next),
                sign_out()
            );
            page(StatusCode::OK, "Add a second factor", &body)
        }
        (_, Stage::FirstFactor) => {
            let body = format!("{who}{}{}", prove(view, next), sign_out());
            page(StatusCode::OK, "Prove that it is you", &body)
        }
        (elsewhere, Stage::Complete) => {
            let mut body = who;
            match elsewhere {
                Some(provider) => {
                    body.push_str("<p>For what cannot be undone, prove once more that it is you:</p>\n");
                    body.push_str(&again(provider));
                }
                None => body.push_str(&factors(view, passkeys, next)),
            }
            body.push_str(&sessions(own));
            body.push_str("<p><a href=\"/auth/verify\">Let a device in</a></p>\n");
            body.push_str(&button("/auth/sign-out-elsewhere", "Sign out everywhere else", ""));
            body.push_str(&sign_out());
            page(StatusCode::OK, "You are signed in", &body)
        }
    }
}

/// Where else they are signed in.
fn sessions(own: &[OwnSession]) -> String {
    let mut body = String::from("<h2>Where you are signed in</h2>\n<ul>\n");
    let ago = |at: u64| now_s().saturating_sub(at) / 60;
    for session in own {
        let kind = match session.kind {
            SessionKind::Browser => "a browser",
            SessionKind::BreakGlass => "a browser, without the provider",
            SessionKind::Cli => "llmos login",
            SessionKind::BreakGlassCli => "llmos login, without the provider",
            SessionKind::Workload => "a program",
            SessionKind::Setup => "a one-time token that was not used",
        };
        let end = if session.is_this {
            " (this one)".to_owned()
        } else {
            button(&format!("/auth/sessions/{}/end", session.id), "End", "")
        };
        let _ = writeln!(
            body,
            "<li>{kind}, since {} min, last used {} min ago{end}</li>",
            ago(session.created_at),
            ago(session.seen_at)
        );
    }
    body + "</ul>\n"
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn sign_out() -> String {
    button("/auth/sign-out", "Sign out", "")
}

fn add(passkeys: bool, next: &str) -> String {
    let mut body = String::new();
    if passkeys {
        let _ = write!(
            body,
            "<form data-passkey=\"add\" data-next=\"{}\"><label>Name of the passkey <input name=\"label\" value=\"my device\" maxlength=\"64\" \
             required></label>\n<button>Add a passkey</button></form>\n",
            text(next)
        );
    }
    body.push_str(&button("/auth/totp", "Use an authenticator app", &onward(next)));
    body
}

/// Where a form leads to when it is done.
fn onward(next: &str) -> String {
    format!("<input type=\"hidden\" name=\"next\" value=\"{}\">\n", text(next))
}

fn prove(view: &SessionView, next: &str) -> String {
    let has = |kind| view.factors.iter().any(|factor| factor.kind == kind);
    let mut body = String::new();
    if has(FactorKind::Passkey) {
        let next = text(next);
        let _ = writeln!(
            body,
            "<form data-passkey=\"prove\" data-next=\"{next}\"><button>Use a passkey</button></form>"
        );
    }
    let code = |action: &str, label: &str, mode: &str| {
        let field = format!(
            "<label>{label} <input name=\"code\" inputmode=\"{mode}\" autocomplete=\"one-time-code\" required></label>\n"
        );
        button(action, "Prove", &format!("{}{field}", onward(next)))
    };
    if has(FactorKind::Totp) {
        body.push_str(&code("/auth/proofs/totp", "Code of your authenticator app", "numeric"));
    }
    if has(FactorKind::Recovery) {
        let _ = write!(
            body,
            "<details><summary>I have lost it</summary>\n{}</details>\n",
            code("/auth/proofs/recovery", "Recovery code", "text")
        );
    }
    body
}

fn factors(view: &SessionView, passkeys: bool, next: &str) -> String {
    let mut body = String::from("<h2>How you prove that it is you</h2>\n<ul>\n");
    for factor in view.factors.iter().filter(|factor| factor.kind != FactorKind::Recovery) {
        let remove = if view.may_change_factors {
            button(&format!("/auth/factors/{}/remove", factor.id), "Remove", "")
        } else {
            String::new()
        };
        let _ = writeln!(body, "<li>{}: {}{remove}</li>", factor.kind.as_str(), text(&factor.label));
    }
    let left =
        view.factors.iter().filter(|factor| factor.kind == FactorKind::Recovery && !factor.is_used).count();
    let _ = writeln!(body, "<li>recovery codes: {left} left</li>\n</ul>");
    if view.may_change_factors {
        body.push_str(&add(passkeys, next));
        body.push_str(&button("/auth/recovery-codes", "New recovery codes", ""));
    } else {
        body.push_str("<p>To change them, or for what cannot be undone, prove that it is you.</p>\n");
        body.push_str(&prove(view, next));
    }
    body
}

/// The seed of an authenticator app.
pub(crate) fn totp(id: &str, picture: &Secret, seed: &Secret, next: &str) -> Response {
    let code = format!(
        "{}<input type=\"hidden\" name=\"id\" value=\"{}\"><label>Code that it shows <input name=\"code\" \
         inputmode=\"numeric\" autocomplete=\"one-time-code\" required></label>\n",
        onward(next),
        text(id)
    );
    let body = format!(
        "<p>Scan this with your app, or type <code>{}</code>.</p>\n<img alt=\"QR code\" width=\"240\" height=\"240\" \
         src=\"data:image/svg+xml;base64,{}\">\n{}",
        text(&String::from_utf8_lossy(seed.expose())),
        data_encoding::BASE64.encode(picture.expose()),
        button("/auth/totp/first", "Add", &code)
    );
    page(StatusCode::OK, "Use an authenticator app", &body)
}

/// Recovery codes, this once.
pub(crate) fn codes(codes: &[Secret], next: &str) -> Response {
    let mut list = String::new();
    for code in codes {
        let _ = writeln!(list, "<li><code>{}</code></li>", text(&String::from_utf8_lossy(code.expose())));
    }
    let body = format!(
        "<p>Print these and lock them away. Each is good once, if your other factors are lost. They are not shown again.</p>\n\
         <ol id=\"codes\">\n{list}</ol>\n<p><a class=\"button\" href=\"{}\">I have them</a></p>",
        text(next)
    );
    page(StatusCode::OK, "Your recovery codes", &body)
}

/// Asks for the code that a device shows.
pub(crate) fn ask_device(code: &str) -> Response {
    let body = format!(
        "<form method=\"get\" action=\"/auth/verify\"><label>Code that the device shows <input name=\"user_code\" \
         value=\"{}\" autocomplete=\"off\" required></label>\n<button>Go on</button></form>",
        text(code)
    );
    page(StatusCode::OK, "Let a device in", &body)
}

/// Asks whether a device is to be let in. Who was sent here by somebody else can see what they would let in.
pub(crate) fn decide_device(view: &access::DeviceView, code: &str, minutes: u64) -> Response {
    let code = format!("<input type=\"hidden\" name=\"user_code\" value=\"{}\">", text(code));
    let choice = |decision: &str, label: &str| {
        button(
            "/auth/verify",
            label,
            &format!("{code}<input type=\"hidden\" name=\"decision\" value=\"{decision}\">"),
        )
    };
    let body = format!(
        "<p>A program that calls itself <strong id=\"client\">{}</strong> asks to act as you. It asked from <strong \
         id=\"place\">{}</strong>, {minutes} min ago.</p>\n<p>Only go on if you have started it yourself, just now.</p>\n{}{}",
        text(&view.client),
        text(&view.place),
        choice("allow", "Let it in"),
        choice("deny", "Send it away")
    );
    page(StatusCode::OK, "Let this device in?", &body)
}

/// A last word.
pub(crate) fn done(title: &str, words: &str, link: Option<(&str, &str)>) -> Response {
    let (href, label) = link.unwrap_or(("/auth", "Back"));
    let body = format!("<p>{}</p>\n<p><a href=\"{}\">{}</a></p>", text(words), text(href), text(label));
    page(StatusCode::OK, title, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_is_shown_as_text() {
        assert_eq!(text("<a href='x'>&\"</a>"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;&lt;/a&gt;");
        assert_eq!(sentence("there is none"), "There is none.");
    }
}
