//! What the endpoints for those who sign in say, and the commands read.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who somebody is here.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// The tenant's name.
    pub tenant: String,
    /// The user's name.
    pub user: String,
    /// What they are.
    pub role: String,
    /// `browser`, `break_glass`, `cli` or `workload`.
    pub kind: String,
    /// Whether the second factor was proved; without it the session is good for that only.
    pub complete: bool,
    /// When it was last proved that they are there: seconds since 1970.
    pub present_at: Option<u64>,
    /// When it ends at the latest: seconds since 1970.
    pub expires_at: u64,
}

/// What a device shows, and waits with (RFC 8628, section 3.2).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeviceAnswer {
    /// The device's own secret.
    pub device_code: String,
    /// To be shown.
    pub user_code: String,
    /// Where somebody types the code.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: String,
    /// Seconds.
    pub expires_in: u64,
    /// Seconds between two questions.
    pub interval: u64,
}

/// A session for a program.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenAnswer {
    /// The session's secret.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Seconds.
    pub expires_in: u64,
    /// What it is, of an exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_token_type: Option<String>,
}

/// An error as OAuth writes it (RFC 6749, section 5.2).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenError {
    /// A code of OAuth's.
    pub error: String,
    /// The same in words.
    pub error_description: String,
}
