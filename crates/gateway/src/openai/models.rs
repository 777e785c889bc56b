//! `GET /v1/models` and `GET /v1/models/{id}`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use resources::ModelView;
use serde::Serialize;
use types::ModelName;
use utoipa::ToSchema;

use crate::{
    credential::Caller,
    error::{ApiError, ErrorBody},
    routes::Gateway,
};

/// The models that can be asked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// Always `list`.
    object: &'static str,
    /// In their configured order.
    data: Vec<Model>,
}

/// A model.
#[derive(Serialize, ToSchema)]
pub(crate) struct Model {
    /// Its configured name.
    id: String,
    /// Always `model`.
    object: &'static str,
    /// When it was deployed: seconds since 1970.
    created: u64,
    /// Always `llmos`.
    owned_by: &'static str,
    /// Other names for it. Not in OpenAI's API.
    aliases: Vec<String>,
    /// Most tokens of prompt and answer together: as configured, or as trained if that is known to be less. The name
    /// is vLLM's. Not in OpenAI's API.
    max_model_len: u32,
    /// What it is made to do: `generate`, `embed` or `rank`; absent as long as its file could not be read. Not in
    /// OpenAI's API.
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    /// Whether it is the simulator's mock. Not in OpenAI's API.
    simulated: bool,
}

impl From<ModelView> for Model {
    fn from(view: ModelView) -> Self {
        Self {
            id: view.name.to_string(),
            object: "model",
            created: view.created_at,
            owned_by: "llmos",
            aliases: view.aliases.iter().map(ModelName::to_string).collect(),
            max_model_len: view.context.0,
            purpose: view.purpose.map(|purpose| purpose.to_string()),
            simulated: view.simulated,
        }
    }
}

/// List models
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "openai",
    responses(
        (status = 200, description = "The models", body = ModelList),
        (status = "4XX", description = "No valid key", body = ErrorBody),
    ),
)]
pub(crate) async fn list_models(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
) -> Result<Json<ModelList>, ApiError> {
    let models = gateway.path.models(credential).await?;
    Ok(Json(ModelList { object: "list", data: models.into_iter().map(Model::from).collect() }))
}

/// Show a model
///
/// By name or alias. A name may hold slashes.
#[utoipa::path(
    get,
    path = "/v1/models/{*id}",
    tag = "openai",
    params(("id" = String, Path, description = "Name or alias of the model")),
    responses(
        (status = 200, description = "The model", body = Model),
        (status = "4XX", description = "No valid key, or no such model", body = ErrorBody),
    ),
)]
pub(crate) async fn show_model(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    id: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<Json<Model>, ApiError> {
    let models = gateway.path.models(credential).await?;
    // A path that is no text names no model.
    let Ok(Path(id)) = id else { return Err(ApiError::NoSuchModel) };
    let names =
        |view: &ModelView| view.name.as_str() == id || view.aliases.iter().any(|alias| alias.as_str() == id);
    let model = models.into_iter().find(names).ok_or(ApiError::NoSuchModel)?;
    Ok(Json(Model::from(model)))
}
