//! Checks what is set about places, prices and quotas.

use std::collections::HashMap;

use access::{Limits, Location, Price, Quota, Whose};
use outbound::Network;
use types::ModelName;

use super::{
    check::{Check, is_name},
    file,
};

/// Places.
const LOCATIONS_MAX: usize = 64;
/// Networks of a place.
const NETWORKS_MAX: usize = 64;
/// Quotas: each is looked at with every request.
const QUOTAS_MAX: usize = 256;
/// Most of a quota: as far as numbers of JSON are exact.
const QUOTA_MAX: i64 = 1 << 53;
/// Stands for each by itself.
const EACH: &str = "*";
/// Digits of money before the point: with nine behind it they fit into 64 bits.
const MONEY_DIGITS_MAX: usize = 9;
/// Digits of a price behind the point.
const PRICE_DIGITS: usize = 3;
/// Digits of an amount behind the point.
const NANO_DIGITS: usize = 9;

impl Check<'_> {
    pub(super) fn locations(&mut self, locations: &[file::Location]) -> Vec<Location> {
        if locations.len() > LOCATIONS_MAX {
            let message =
                format!("there are {} locations; at most {LOCATIONS_MAX} are allowed", locations.len());
            self.refuse("location", message);
            return Vec::new();
        }
        let mut found: Vec<Location> = Vec::new();
        for (index, location) in locations.iter().enumerate() {
            let section = format!("location[{index}]");
            let name = location.name.clone();
            if !is_name(&name) || found.iter().any(|other| other.name == name) {
                let message = format!("`name` is `{name}`; write a name that no other location has");
                self.refuse(&format!("{section}.name"), message);
            }
            if !(1..=NETWORKS_MAX).contains(&location.networks.len()) {
                let count = location.networks.len();
                let message =
                    format!("there are {count} networks; write 1 to {NETWORKS_MAX}, as in [\"10.1.3.0/24\"]");
                self.refuse(&format!("{section}.networks"), message);
            }
            let mut networks = Vec::new();
            for text in location.networks.iter().take(NETWORKS_MAX) {
                match text.parse::<Network>() {
                    Ok(network) => networks.push(network),
                    Err(error) => self.refuse(&format!("{section}.networks"), error.to_string()),
                }
            }
            found.push(Location { name, networks });
        }
        found
    }

    /// What the tokens of models cost, by their configured names.
    pub(super) fn prices(&mut self, models: &[file::Model]) -> HashMap<ModelName, Price> {
        let mut prices = HashMap::new();
        for (index, model) in models.iter().enumerate() {
            let price = self.price(&format!("model[{index}]"), model);
            if let Ok(name) = model.name.parse() {
                prices.insert(name, price);
            }
        }
        prices
    }

    /// A thousandth of the currency for a million tokens is a billionth of it for one.
    fn price(&mut self, section: &str, model: &file::Model) -> Price {
        let mut price = |name: &str, text: &Option<String>| {
            let text = text.as_deref()?;
            self.money(&format!("{section}.{name}"), text, PRICE_DIGITS, 0)
        };
        Price {
            input: price("input_price", &model.input_price).unwrap_or_default(),
            output: price("output_price", &model.output_price).unwrap_or_default(),
        }
    }

    /// Money with at most so many digits behind the point, in units of the last.
    fn money(&mut self, key: &str, text: &str, digits: usize, least: u64) -> Option<u64> {
        let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
        let is_number = !whole.is_empty() && whole.len() <= MONEY_DIGITS_MAX && rest.len() <= digits;
        let number = (is_number && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
            .then(|| format!("{whole}{rest:0<digits$}").parse::<u64>().ok())
            .flatten();
        let number = number.filter(|number| *number >= least);
        if number.is_none() {
            let name = key.rsplit('.').next().unwrap_or(key);
            let more = if least > 0 { ", and more than nothing" } else { "" };
            let message = format!(
                "`{name}` is `{text}`; write a decimal number in quotes, as in \"0.15\", with at most {MONEY_DIGITS_MAX} \
                 digits before the point and {digits} behind it{more}"
            );
            self.refuse(key, message);
        }
        number
    }

    pub(super) fn quotas(&mut self, quotas: &[file::Quota]) -> Vec<Quota> {
        if quotas.len() > QUOTAS_MAX {
            let message = format!("there are {} quotas; at most {QUOTAS_MAX} are allowed", quotas.len());
            self.refuse("quota", message);
            return Vec::new();
        }
        let quotas = quotas.iter().enumerate();
        quotas.map(|(index, quota)| self.quota(&format!("quota[{index}]"), quota)).collect()
    }

    fn quota(&mut self, section: &str, quota: &file::Quota) -> Quota {
        let mut limit = |name: &str, most: Option<i64>| {
            let most = self.number(&format!("{section}.{name}"), most?, 1, QUOTA_MAX)?;
            Some(most.unsigned_abs())
        };
        let limits = Limits {
            requests_per_minute: limit("requests_per_minute", quota.requests_per_minute),
            tokens_per_minute: limit("tokens_per_minute", quota.tokens_per_minute),
            tokens_per_day: limit("tokens_per_day", quota.tokens_per_day),
            concurrent: limit("concurrent", quota.concurrent),
            spend_per_day: None,
            spend_per_month: None,
        };
        let mut spend = |name: &str, text: &Option<String>| {
            self.money(&format!("{section}.{name}"), text.as_deref()?, NANO_DIGITS, 1)
        };
        let limits = Limits {
            spend_per_day: spend("spend_per_day", &quota.spend_per_day),
            spend_per_month: spend("spend_per_month", &quota.spend_per_month),
            ..limits
        };
        if limits == Limits::default() {
            let message = "this quota limits nothing; set `requests_per_minute`, `tokens_per_minute`, `tokens_per_day`, \
                           `spend_per_day`, `spend_per_month` or `concurrent`";
            self.refuse(section, message.to_owned());
        }
        for (name, text) in
            [("tenant", &quota.tenant), ("team", &quota.team), ("user", &quota.user), ("key", &quota.key)]
        {
            if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
                self.refuse(
                    &format!("{section}.{name}"),
                    format!("`{name}` is empty; remove it, or write a name"),
                );
            }
        }
        let whose = |name: &Option<String>| match name.as_deref()? {
            EACH => Some(Whose::Each),
            name => Some(Whose::Of(name.to_owned())),
        };
        let (team, user, key) = (whose(&quota.team), whose(&quota.user), whose(&quota.key));
        Quota { tenant: quota.tenant.clone(), team, user, key, limits }
    }
}
