//! Lets a device in that has no browser (RFC 8628): it shows a code, and somebody who has signed in types it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use identity::user_code;
use types::Secret;

use super::{DeviceError, SignIn, SignInError, locked, waiting::Waiting};
use crate::{
    AccessError, SessionKind, Stage,
    clock::now_s,
    key::{Form, Key},
    sessions::{Opened, Session},
};

/// How long a code is good for.
const LASTS: Duration = Duration::from_secs(600);
/// Least time between two questions of a device; each one that comes too soon adds as much.
const INTERVAL: Duration = Duration::from_secs(5);
/// Most devices that wait at once.
const DEVICES_MAX: usize = 1_024;
/// Longest name of a client and of its place, in characters.
const NAME_CHARS_MAX: usize = 64;

/// What a device is given.
pub struct DeviceCodes {
    /// Its own secret.
    pub device_code: Secret,
    /// To be shown.
    pub user_code: String,
    /// Seconds that both are good for.
    pub expires_in: u64,
    /// Seconds between two questions.
    pub interval: u64,
}

/// A device that asks to be let in, as whoever decides sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceView {
    /// What it calls itself.
    pub client: String,
    /// Where it asks from.
    pub place: String,
    /// When it asked: seconds since 1970.
    pub asked_at: u64,
}

struct Device {
    hash: [u8; 32],
    view: DeviceView,
    decision: Option<Decision>,
    asked: Option<Instant>,
    interval: Duration,
}

enum Decision {
    /// As whom, and until when at the latest.
    Allowed(Box<Opened>, Option<u64>),
    Denied,
}

/// Devices that wait.
pub(super) struct Devices {
    /// By the id in their secret.
    waiting: Waiting<Device>,
    /// The id, by the code that people type.
    codes: HashMap<String, String>,
}

impl Devices {
    pub(super) fn new() -> Self {
        Self { waiting: Waiting::new(LASTS, DEVICES_MAX), codes: HashMap::new() }
    }

    fn by_code(&mut self, code: &str) -> Option<(String, &mut Device)> {
        let id = self.codes.get(&typed(code))?.clone();
        self.waiting.get_mut(&id).map(|device| (id, device))
    }
}

impl SignIn {
    /// A device asks to be let in. What it calls itself is its own word, and is shown as such.
    pub fn begin_device(&self, client: &str, place: &str) -> Result<DeviceCodes, SignInError> {
        let key = Key::random().map_err(|error| AccessError::Unavailable(error.to_string()))?;
        let code = user_code()?;
        let plain =
            |text: &str| text.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect::<String>();
        let device = Device {
            hash: self.0.keyring.pepper().hash(&key),
            view: DeviceView { client: plain(client), place: plain(place), asked_at: now_s() },
            decision: None,
            asked: None,
            interval: INTERVAL,
        };
        let mut devices = locked(&self.0.devices);
        let Devices { waiting, codes } = &mut *devices;
        waiting.insert(key.id().to_string(), device);
        codes.retain(|_, id| waiting.get_mut(id).is_some());
        codes.insert(typed(&code), key.id().to_string());
        Ok(DeviceCodes {
            device_code: key.text(Form::Device),
            user_code: code,
            expires_in: LASTS.as_secs(),
            interval: INTERVAL.as_secs(),
        })
    }

    /// Who asks with this code. For those only who have signed in completely; wrong codes are counted.
    pub fn device(&self, secret: &Secret, code: &str) -> Result<DeviceView, SignInError> {
        let opened = self.complete(secret)?.opened;
        self.check_attempts(opened.user)?;
        let found = locked(&self.0.devices).by_code(code).map(|(_, device)| device.view.clone());
        found.ok_or_else(|| self.no_device(&opened))
    }

    /// Lets a device in, as oneself, or sends it away.
    pub fn decide_device(&self, secret: &Secret, code: &str, allow: bool) -> Result<(), SignInError> {
        let session = self.complete(secret)?;
        let user = session.opened.user;
        self.check_attempts(user)?;
        let mut devices = locked(&self.0.devices);
        let found = devices.by_code(code).filter(|(_, device)| device.decision.is_none());
        let Some((_, device)) = found else {
            drop(devices);
            return Err(self.no_device(&session.opened));
        };
        // What was opened in an emergency gives nothing that lasts longer.
        let is_emergency = session.opened.kind.is_emergency();
        let until = is_emergency.then_some(session.expires_at);
        let kind = if is_emergency { SessionKind::BreakGlassCli } else { SessionKind::Cli };
        let opened = Opened { kind, ..session.opened };
        device.decision =
            Some(if allow { Decision::Allowed(Box::new(opened), until) } else { Decision::Denied });
        // The code is of no use any more.
        devices.codes.remove(&typed(code));
        drop(devices);
        self.right(user);
        Ok(())
    }

    /// What became of a device: its session, once.
    pub async fn poll_device(&self, code: &Secret) -> Result<Secret, DeviceError> {
        let key = Key::parse(Form::Device, code).ok_or(DeviceError::Invalid)?;
        let id = key.id().to_string();
        let (opened, until) = {
            let mut devices = locked(&self.0.devices);
            let device = devices.waiting.get_mut(&id).ok_or(DeviceError::Invalid)?;
            if !self.0.keyring.pepper().matches(&key, &device.hash) {
                return Err(DeviceError::Invalid);
            }
            let now = Instant::now();
            let is_early = device.asked.is_some_and(|asked| now - asked < device.interval);
            device.asked = Some(now);
            if is_early {
                device.interval += INTERVAL;
                return Err(DeviceError::SlowDown);
            }
            match device.decision {
                None => return Err(DeviceError::Pending),
                Some(_) => match devices.waiting.take(&id).and_then(|device| device.decision) {
                    Some(Decision::Allowed(opened, until)) => (opened, until),
                    _ => return Err(DeviceError::Denied),
                },
            }
        };
        self.0.sessions.begin(*opened, until).await.map_err(|_| DeviceError::Invalid)
    }

    fn complete(&self, secret: &Secret) -> Result<Session, SignInError> {
        let session = self.in_browser(secret)?;
        match session.opened.stage {
            Stage::Complete => Ok(session),
            Stage::FirstFactor => Err(AccessError::SecondFactorMissing.into()),
        }
    }

    fn no_device(&self, opened: &Opened) -> SignInError {
        self.wrong(opened, "user_code");
        SignInError::WrongCode
    }
}

/// A code as people type it.
fn typed(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).take(NAME_CHARS_MAX).collect::<String>().to_uppercase()
}
