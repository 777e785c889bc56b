//! `llmos usage` and `llmos budgets`: what was used, and what is left.

use std::collections::BTreeMap;

use gateway::admin_usage_types::{Budget, BudgetReport, Usage, UsageReport};
use serde::Serialize;

use crate::{
    cli::{UsageArgs, UsageBy},
    client::Client,
    exit::Failure,
    output::{self, Output, date},
};

const DAY_S: u64 = 86_400;
/// Characters of a date without its time.
const DATE_CHARS: usize = 10;

/// Requests, tokens and money of a group.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
struct Sum {
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    spend_nano: u64,
}

/// The name of whose there is none.
const NONE: &str = "-";

pub(crate) async fn run(client: &Client, args: UsageArgs, output: Output) -> Result<(), Failure> {
    let report: UsageReport = client.get(&format!("/api/v1/usage/{}", args.days)).await?;
    let by = if args.by.is_empty() { vec![UsageBy::Tenant, UsageBy::User] } else { args.by };
    let groups = summed(&report.usage, &by);
    if output.json {
        let named = |(names, sum): &(Vec<String>, Sum)| {
            let mut group = serde_json::Map::new();
            group.extend(by.iter().map(|by| by.name().to_owned()).zip(names.iter().cloned().map(Into::into)));
            group.insert("requests".to_owned(), sum.requests.into());
            group.insert("input_tokens".to_owned(), sum.input_tokens.into());
            group.insert("output_tokens".to_owned(), sum.output_tokens.into());
            group.insert("spend".to_owned(), money(sum.spend_nano).into());
            group
        };
        return output::document(
            &serde_json::json!({ "usage": groups.iter().map(named).collect::<Vec<_>>() }),
        );
    }
    let names = by.iter().map(|by| by.name()).chain(["requests", "input_tokens", "output_tokens", "spend"]);
    let cells = |(names, sum): &(Vec<String>, Sum)| {
        let sums = [sum.requests, sum.input_tokens, sum.output_tokens].map(|number| number.to_string());
        names.iter().cloned().chain(sums).chain([money(sum.spend_nano)]).collect::<Vec<String>>()
    };
    let rows: Vec<Vec<String>> = groups.iter().map(cells).collect();
    if args.csv {
        let line = |cells: Vec<String>| cells.join(",") + "\r\n";
        let head = line(names.map(str::to_owned).collect());
        let lines = rows.into_iter().map(|cells| line(cells.iter().map(|cell| quoted(cell)).collect()));
        return output.text(&(head + &lines.collect::<String>()));
    }
    let headers: Vec<String> = names.map(|name| name.replace('_', " ").to_uppercase()).collect();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    output.table(&headers, &rows)
}

/// What is left of the quotas.
pub(crate) async fn budgets(client: &Client, output: Output) -> Result<(), Failure> {
    let report: BudgetReport = client.get("/api/v1/budgets").await?;
    if output.json {
        let shown = |budget: &Budget| {
            let Budget { tenant, team, user, key, limit, .. } = budget;
            let [most, left] = amounts(budget);
            serde_json::json!({
                "tenant": tenant, "team": team, "user": user, "key": key, "limit": limit, "most": most, "left": left,
            })
        };
        let budgets: Vec<_> = report.budgets.iter().map(shown).collect();
        return output::document(&serde_json::json!({ "budgets": budgets }));
    }
    let row = |budget: &Budget| {
        let whose = [("team", &budget.team), ("user", &budget.user), ("key", &budget.key)];
        let whose = whose.into_iter().find_map(|(what, name)| Some(format!("{what} {}", name.as_ref()?)));
        let whose = whose.unwrap_or_else(|| "all of it".to_owned());
        let [most, left] = amounts(budget);
        vec![budget.tenant.clone(), whose, budget.limit.clone(), most, left]
    };
    let rows: Vec<Vec<String>> = report.budgets.iter().map(row).collect();
    output.table(&["TENANT", "WHOSE", "LIMIT", "MOST", "LEFT"], &rows)
}

/// The most, and what is left of it; money as a decimal number.
fn amounts(budget: &Budget) -> [String; 2] {
    if !budget.limit.starts_with("spend") {
        return [budget.most.to_string(), budget.left.to_string()];
    }
    let sign = if budget.left < 0 { "-" } else { "" };
    [money(budget.most), format!("{sign}{}", money(budget.left.unsigned_abs()))]
}

/// Groups in the order of their names.
fn summed(usage: &[Usage], by: &[UsageBy]) -> Vec<(Vec<String>, Sum)> {
    let mut groups: BTreeMap<Vec<String>, Sum> = BTreeMap::new();
    for used in usage {
        let name = |by: &UsageBy| match by {
            UsageBy::Day => date(used.day * DAY_S).chars().take(DATE_CHARS).collect(),
            UsageBy::Tenant => used.tenant.clone(),
            UsageBy::User => used.user.clone(),
            UsageBy::Team => used.team.clone().unwrap_or_else(|| NONE.to_owned()),
            UsageBy::Key => used.key.clone().unwrap_or_else(|| NONE.to_owned()),
            UsageBy::Model => used.model.clone(),
        };
        let sum = groups.entry(by.iter().map(name).collect()).or_default();
        sum.requests += used.requests;
        sum.input_tokens += used.input_tokens;
        sum.output_tokens += used.output_tokens;
        sum.spend_nano += used.spend_nano;
    }
    groups.into_iter().collect()
}

/// Billionths of the currency as a decimal number, with no more digits than it has, and two at least.
fn money(nano: u64) -> String {
    let digits = format!("{:09}", nano % 1_000_000_000);
    let digits = digits.trim_end_matches('0');
    format!("{}.{digits:0<2}", nano / 1_000_000_000)
}

/// A cell of CSV (RFC 4180). What a spreadsheet would take for a formula is kept from being one.
fn quoted(cell: &str) -> String {
    let cell =
        if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(day: u64, user: &str, model: &str) -> Usage {
        let (tenant, user, model) = ("t".to_owned(), user.to_owned(), model.to_owned());
        let (team, key) = (Some("ward".to_owned()).filter(|_| user == "a"), None);
        Usage {
            day,
            tenant,
            user,
            team,
            key,
            model,
            requests: 1,
            input_tokens: 10,
            output_tokens: 5,
            spend_nano: 7,
        }
    }

    #[test]
    fn money_is_printed_to_the_last_billionth() {
        for (nano, text) in
            [(0, "0.00"), (1, "0.000000001"), (1_500_000_000, "1.50"), (12_345_600_000, "12.3456")]
        {
            assert_eq!(money(nano), text);
        }
    }

    #[test]
    fn usage_is_summed_by_what_is_asked_for() {
        let usage = [used(20_000, "b", "m"), used(20_000, "a", "n"), used(20_001, "b", "n")];
        let names = |by: &[UsageBy]| -> Vec<(String, u64)> {
            summed(&usage, by).into_iter().map(|(names, sum)| (names.join(" "), sum.requests)).collect()
        };
        assert_eq!(names(&[UsageBy::User]), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert_eq!(names(&[UsageBy::Team, UsageBy::Key]), [("- -".to_owned(), 2), ("ward -".to_owned(), 1)]);
        assert_eq!(names(&[UsageBy::Day]), [("2024-10-04".to_owned(), 2), ("2024-10-05".to_owned(), 1)]);
        assert_eq!(names(&[UsageBy::Model, UsageBy::User]).len(), 3);
        assert_eq!(
            summed(&usage, &[UsageBy::Tenant])[0].1,
            Sum { requests: 3, input_tokens: 30, output_tokens: 15, spend_nano: 21 }
        );
    }

    #[test]
    fn cells_are_safe_in_a_spreadsheet() {
        for (cell, written) in [
            ("a b", "a b"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=1+1", "'=1+1"),
            ("-x", "'-x"),
        ] {
            assert_eq!(quoted(cell), written);
        }
    }
}
