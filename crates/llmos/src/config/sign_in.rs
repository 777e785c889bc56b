//! Checks what is set about signing in.

use std::str::FromStr;

use access::{RoleMapping, SessionLimits};
use identity::ProviderSettings;
use outbound::Url;
use types::{PurposeOfUse, Purposes};

use super::{
    Provider, SignIn,
    check::{Check, is_name},
    file::{self, File},
};

/// Identity providers.
const PROVIDERS_MAX: usize = 16;
/// Lines that say what their accounts may do.
const MAPPINGS_MAX: usize = 1_024;
/// Longest name of a provider.
const PROVIDER_NAME_BYTES_MAX: usize = 24;
/// Longest that a session is not used: a day.
const IDLE_MINUTES_MAX: i64 = 1_440;
/// Longest that a browser's session lasts: a week.
const ABSOLUTE_HOURS_MAX: i64 = 168;
/// Longest that a session of the commands lasts: ninety days.
const CLI_HOURS_MAX: i64 = 2_160;

impl Check<'_> {
    pub(super) fn sign_in(&mut self, values: &File) -> SignIn {
        let public_url = values.public_url.as_deref().and_then(|text| self.public_url(text));
        let file::Session { idle_minutes, absolute_hours, cli_hours } = values.session;
        let mut seconds = |name: &str, value: i64, max: i64, unit: u64| {
            self.number(&format!("session.{name}"), value, 1, max)
                .map_or(0, |value| value.unsigned_abs() * unit)
        };
        let limits = SessionLimits {
            idle_s: seconds("idle_minutes", idle_minutes, IDLE_MINUTES_MAX, 60),
            absolute_s: seconds("absolute_hours", absolute_hours, ABSOLUTE_HOURS_MAX, 3_600),
            cli_s: seconds("cli_hours", cli_hours, CLI_HOURS_MAX, 3_600),
        };
        let providers = self.providers(&values.provider);
        let mapping = self.mapping(&values.role_mapping, &providers);
        SignIn { public_url, limits, providers, mapping }
    }

    fn public_url(&mut self, text: &str) -> Option<Url> {
        let is_plain = |url: &Url| {
            let is_local = url.domain() == Some("localhost");
            (url.scheme() == "https" || (url.scheme() == "http" && is_local))
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        };
        let url = Url::parse(text).ok().filter(is_plain);
        if url.is_none() {
            let message = format!(
                "`public_url` is `{text}`; write the address that browsers know, without a path, as in \
                 https://llm.example.org; `http` is for localhost only"
            );
            self.refuse("public_url", message);
        }
        url
    }

    fn providers(&mut self, providers: &[file::Provider]) -> Vec<Provider> {
        if providers.len() > PROVIDERS_MAX {
            let message =
                format!("there are {} providers; at most {PROVIDERS_MAX} are allowed", providers.len());
            self.refuse("provider", message);
            return Vec::new();
        }
        for (index, provider) in providers.iter().enumerate() {
            let twice =
                |other: &file::Provider| other.name == provider.name || other.issuer == provider.issuer;
            if providers[..index].iter().any(twice) {
                let message = "there is another `[[provider]]` with this name or issuer; each is there once";
                self.refuse(&format!("provider[{index}].name"), message.to_owned());
            }
        }
        let all = providers.iter().enumerate();
        all.map(|(index, provider)| self.provider(&format!("provider[{index}]"), provider)).collect()
    }

    fn provider(&mut self, section: &str, provider: &file::Provider) -> Provider {
        let file::Provider { name, issuer, client_id, client_secret_file, .. } = provider.clone();
        let is_name = (1..=PROVIDER_NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !is_name {
            let message = format!(
                "`name` is `{name}`; it stands in addresses: write 1 to {PROVIDER_NAME_BYTES_MAX} of a-z, 0-9 and -"
            );
            self.refuse(&format!("{section}.name"), message);
        }
        let is_issuer =
            |url: &Url| url.scheme() == "https" && url.query().is_none() && url.fragment().is_none();
        if !Url::parse(&issuer).is_ok_and(|url| is_issuer(&url)) {
            let message = format!(
                "`issuer` is `{issuer}`; write the `https` address that the provider calls its issuer, letter by letter"
            );
            self.refuse(&format!("{section}.issuer"), message);
        }
        for (key, value) in [("client_id", &client_id), ("groups_claim", &provider.groups_claim)] {
            if value.is_empty() {
                self.refuse(
                    &format!("{section}.{key}"),
                    format!("`{key}` is empty; write what the provider calls it"),
                );
            }
        }
        let secret = client_secret_file
            .and_then(|text| self.secret_place(&format!("{section}.client_secret_file"), &text));
        let settings = ProviderSettings {
            name,
            issuer,
            client_id,
            client_secret: None,
            scopes: provider.scopes.clone(),
            groups_claim: provider.groups_claim.clone(),
            audience: provider.audience.clone().filter(|audience| !audience.is_empty()),
            token_types: provider.token_types.clone(),
            acr: provider.acr.clone(),
            amr: provider.amr.clone(),
        };
        Provider { settings, secret }
    }

    fn mapping(&mut self, lines: &[file::RoleMapping], providers: &[Provider]) -> Vec<RoleMapping> {
        if lines.len() > MAPPINGS_MAX {
            let message = format!("there are {} lines; at most {MAPPINGS_MAX} are allowed", lines.len());
            self.refuse("role_mapping", message);
            return Vec::new();
        }
        let all = lines.iter().enumerate();
        all.filter_map(|(index, line)| self.line(&format!("role_mapping[{index}]"), line, providers))
            .collect()
    }

    fn line(
        &mut self,
        section: &str,
        line: &file::RoleMapping,
        providers: &[Provider],
    ) -> Option<RoleMapping> {
        let file::RoleMapping { provider, group, subject, service, tenant, team, .. } = line.clone();
        if !providers.iter().any(|known| known.settings.name == provider) {
            let message = format!("`provider` is `{provider}`; there is no `[[provider]]` of this name");
            self.refuse(&format!("{section}.provider"), message);
        }
        if group.is_some() == subject.is_some() {
            let message = "write either a `group` or a `subject`: whose accounts this is for";
            self.refuse(section, message.to_owned());
        }
        if !is_name(&tenant) {
            let message =
                format!("`tenant` is `{tenant}`; write the name of the tenant that the accounts belong to");
            self.refuse(&format!("{section}.tenant"), message);
        }
        if let Some(team) = team.as_deref().filter(|team| !is_name(team)) {
            let message = format!("`team` is `{team}`; write the name of a team, or remove it");
            self.refuse(&format!("{section}.team"), message);
        }
        let purposes = self.purposes(section, line.purposes.as_deref());
        let role = self.level(section, "role", &line.role);
        let class_max = self.level(section, "class_max", &line.class_max);
        let data_class_max = self.level(section, "data_class_max", &line.data_class_max);
        Some(RoleMapping {
            provider,
            group,
            subject,
            is_service: service,
            tenant,
            team,
            role: role?,
            class_max: class_max?,
            data_class_max: data_class_max?,
            purposes: purposes?,
        })
    }

    fn purposes(&mut self, section: &str, names: Option<&[String]>) -> Option<Purposes> {
        let Some(names) = names else { return Some(Purposes::any()) };
        let purposes: Option<Vec<PurposeOfUse>> =
            names.iter().map(|name| self.level(section, "purposes", name)).collect();
        match Purposes::only(purposes?) {
            Ok(purposes) => Some(purposes),
            Err(error) => {
                self.refuse(&format!("{section}.purposes"), error.to_string());
                None
            }
        }
    }

    fn level<T: FromStr<Err = types::OutOfRange>>(
        &mut self,
        section: &str,
        name: &str,
        text: &str,
    ) -> Option<T> {
        match text.parse() {
            Ok(level) => Some(level),
            Err(error) => {
                self.refuse(
                    &format!("{section}.{name}"),
                    format!("`{name}` is `{text}`; allowed: {}", error.allowed),
                );
                None
            }
        }
    }
}
