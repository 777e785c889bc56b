//! The table of routes. The routers and `/openapi.json` are both made of it, so they cannot differ.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use path::Path;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Doors, admin, admin_audit, admin_plans, admin_policies, admin_usage, admin_vault, auth, body,
    credential::Caller,
    described,
    error::ApiError,
    exchange::{self, OpenAnswers},
    health,
    names::{self, Names},
    openai::{chat, completions, embeddings, models, rerank, stored},
    scim, witness,
};

/// What handlers work with.
pub(crate) struct Gateway {
    /// The only thing that they may ask.
    pub(crate) path: Arc<Path>,
    /// Address of the public listener.
    pub(crate) listen: String,
    /// Whether lists take texts to filter by in their addresses.
    pub(crate) metadata_in_address: bool,
    /// The body of `/openapi.json`: what there is at this door.
    pub(crate) document: Bytes,
}

/// What each door serves.
pub(crate) struct Routers {
    /// Everything that names no files and processes of this machine.
    pub(crate) tcp: Router,
    /// All of it.
    pub(crate) local: Router,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "llmos",
        description = "The APIs of llmos: OpenAI's protocol, health, and the admin API.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "openai", description = "OpenAI's protocol, and Jina's for reranking"),
        (name = "sign-in", description = "Pages and protocols for those who sign in"),
        (name = "scim", description = "SCIM 2.0: a provider pushes who there is and in which groups"),
        (name = "audit", description = "For servers that keep checkpoints of each other"),
        (name = "health", description = "Whether and how the server does"),
        (name = "admin", description = "Looks after the installation and its tenants; what names files and processes is only at the local socket in the data directory"),
    ),
    modifiers(&ApiKey),
    security(("api_key" = [])),
)]
struct Document;

/// All routes but those with `security(())` need a key, or the local socket.
struct ApiKey;

impl Modify for ApiKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("api_key", scheme);
    }
}

fn public() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(chat::chat_completions, stored::list_stored))
        .routes(routes!(completions::completions))
        .routes(routes!(embeddings::embeddings))
        .routes(routes!(rerank::rerank))
        .routes(routes!(models::list_models))
        .routes(routes!(models::show_model))
        .routes(routes!(admin_audit::receipt))
        .routes(routes!(witness::add_checkpoint))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(health::openapi))
}

/// Answers that are stored.
fn stored_answers() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::default()
        .routes(routes!(stored::get_stored, stored::update_stored, stored::delete_stored))
        .routes(routes!(stored::list_stored_messages))
}

/// A deed that has begun is done, and what became of it recorded, also if whoever asked for it hangs up.
async fn carry_through(request: Request, next: Next) -> Response {
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => ApiError::Internal.into_response(),
    }
}

/// What looks after the installation and its tenants. At both doors: who may what is decided in the path.
fn administration() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::default()
        .routes(routes!(admin::processes))
        .routes(routes!(admin::kill_sequence))
        .routes(routes!(admin::load_model, admin::unload_model))
        .routes(routes!(admin::list_keys, admin::create_key))
        .routes(routes!(admin::revoke_key))
        .routes(routes!(admin::rotate_key))
        .routes(routes!(admin_usage::usage))
        .routes(routes!(admin_usage::budgets))
        .routes(routes!(admin::list_users, admin::change_user))
        .routes(routes!(admin::invite))
        .routes(routes!(admin::forget_factors))
        .routes(routes!(admin_policies::list_policies))
        .routes(routes!(admin_policies::put_policy, admin_policies::delete_policy))
        .routes(routes!(admin_policies::decide))
        .routes(routes!(admin_plans::plan_workflow))
        .routes(routes!(admin_audit::records))
        .routes(routes!(admin_audit::checkpoint))
        .routes(routes!(admin_audit::consistency))
        .routes(routes!(admin_vault::status))
        .routes(routes!(admin_vault::rotate))
        .routes(routes!(admin_vault::reseal))
        .routes(routes!(admin_vault::shred))
}

/// What names files and processes of this machine: for those who work on it.
fn on_this_machine() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::default()
        .routes(routes!(admin::version))
        .routes(routes!(admin_vault::back_up))
        .routes(routes!(admin_vault::restore))
        .routes(routes!(admin_vault::export))
        .routes(routes!(admin_audit::export))
}

/// The routers of both doors, over `path`.
pub(crate) fn routers(path: &Arc<Path>, listen: &str, open: &OpenAnswers, doors: &Doors) -> Routers {
    let deeds = || stored_answers().merge(scim::routes()).merge(administration());
    let carried = || middleware::from_fn(carry_through);
    let everywhere = || public().merge(auth::routes()).merge(deeds().layer(carried()));
    let door = |routes: OpenApiRouter<Arc<Gateway>>| {
        let (routes, document) = routes.split_for_parts();
        let gateway = Arc::new(Gateway {
            path: path.clone(),
            listen: listen.to_owned(),
            metadata_in_address: doors.metadata_in_address,
            document: written(document),
        });
        let enter = middleware::from_fn_with_state(gateway.clone(), enter);
        enclosed(with_fallbacks(routes).layer(enter).with_state(gateway), open, &doors.names)
    };
    Routers { tcp: door(everywhere()), local: door(everywhere().merge(on_this_machine().layer(carried()))) }
}

/// Where the server says whether it is well, to everybody and under whatever name.
pub(crate) const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// Paths that anybody may ask for. All others are for those who show a valid credential, and to others they do not say so
/// much as whether they exist.
fn is_open(path: &str) -> bool {
    HEALTH.contains(&path) || auth::is_below(path) || path == witness::ADD_CHECKPOINT
}

/// Sends away who shows no valid credential, before anything of the request is looked at; then whose address says two things
/// of the same name, wherever it leads.
async fn enter(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    request: Request,
    next: Next,
) -> Response {
    if !is_open(request.uri().path())
        && let Err(error) = gateway.path.may_enter(credential).await
    {
        return ApiError::from(error).into_response();
    }
    if let Err(error) = body::each_once(request.uri().query().unwrap_or_default().as_bytes()) {
        return error.into_response();
    }
    next.run(request).await
}

pub(crate) fn with_fallbacks<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes
        .fallback(async || ApiError::NoSuchPath)
        .method_not_allowed_fallback(async || ApiError::NoSuchMethod)
}

/// What every router has around its routes: the exchange outside, then the rules about names and headers.
pub(crate) fn enclosed(routes: Router, open: &OpenAnswers, names: &Names) -> Router {
    routes
        .layer(middleware::from_fn_with_state(names.clone(), names::guard))
        .layer(middleware::from_fn_with_state(open.clone(), exchange::carry))
}

/// `OpenAPI` knows no wildcards: a parameter that takes the rest of the path is written like any other.
fn written(mut document: utoipa::openapi::OpenApi) -> Bytes {
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    // A document made of our own types is always valid JSON; if it were not, the tests would see it empty.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    described::complete(&mut document);
    document.to_string().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ROUTES: &str = include_str!("routes.csv");

    #[test]
    fn the_document_has_all_routes() {
        let all = public()
            .merge(stored_answers())
            .merge(auth::routes())
            .merge(scim::routes())
            .merge(administration())
            .merge(on_this_machine());
        let (_, document) = all.split_for_parts();
        let document: serde_json::Value = serde_json::from_slice(&written(document)).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let routes: Vec<String> = paths
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
            })
            .collect();
        // Each route has a row that says which action it is: a new one without fails here.
        let rows = ROUTES.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
        let rows: Vec<Vec<&str>> = rows.collect();
        let expected: BTreeSet<String> = rows.iter().map(|row| format!("{} {}", row[0], row[1])).collect();
        assert_eq!(routes.into_iter().collect::<BTreeSet<_>>(), expected);
        for row in rows {
            let is_open = row[2] == "anybody" && is_open(row[1]);
            assert!(is_open || access::ACTIONS.contains(&row[2]), "{row:?}");
        }

        assert_eq!(document["security"][0]["api_key"], serde_json::json!([]));
        assert_eq!(document["components"]["securitySchemes"]["api_key"]["scheme"], "bearer");
        for (path, free) in [("/healthz", true), ("/readyz", true), ("/metrics", false)] {
            assert_eq!(paths[path]["get"].get("security").is_some(), free, "{path}");
        }
        let chat = &document["components"]["schemas"]["ChatRequest"];
        assert_eq!(chat["required"], serde_json::json!(["messages", "model"]));
        assert!(chat["properties"]["temperature"].is_object() && chat["properties"]["tools"].is_null());
        // Every schema says something: a description that is none would be empty.
        let words = ["type", "enum", "allOf", "anyOf", "oneOf"];
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            assert!(words.iter().any(|word| !schema[word].is_null()), "{name}: {schema}");
        }
        for (path, item) in paths {
            for (method, operation) in item.as_object().unwrap() {
                for status in ["4XX", "5XX"] {
                    let content = &operation["responses"][status]["content"];
                    assert!(content["application/json"]["schema"].is_object(), "{method} {path} {status}");
                }
            }
        }
        // Whatever a schema refers to is there.
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }

    #[test]
    fn what_names_files_and_processes_is_not_public() {
        let (_, document) = public().merge(administration()).split_for_parts();
        for path in
            ["/api/v1/version", "/api/v1/vault/backups", "/api/v1/vault/restores", "/api/v1/subjects/export"]
        {
            assert!(!document.paths.paths.contains_key(path), "{path}");
        }
    }
}
