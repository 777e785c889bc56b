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

/// A session, in the list of its owner's.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ListedSession {
    /// Names it when it is ended.
    pub id: String,
    /// `browser`, `break_glass`, `cli`, `workload`, or `setup`: a one-time token that nobody has redeemed.
    pub kind: String,
    /// Whether the second factor was proved.
    pub complete: bool,
    /// The provider by which they signed in, if it was one.
    pub provider: Option<String>,
    /// Seconds since 1970.
    pub created_at: u64,
    /// When it was last used: seconds since 1970, to the minute.
    pub seen_at: u64,
    /// When it ends at the latest: seconds since 1970.
    pub expires_at: u64,
    /// Whether it is the one that asks.
    pub is_this: bool,
}

/// Answer of `GET /auth/sessions`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Sessions {
    /// The latest first.
    pub sessions: Vec<ListedSession>,
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
