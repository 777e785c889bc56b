//! The table of OWASP ASVS 5.0 in `docs/security/asvs.csv`: which requirement is met, shown by which test.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use super::Finding;

/// The table, from the checkout.
pub(super) const TABLE: &str = "docs/security/asvs.csv";
/// The requirements themselves, from the checkout. Their text is not ours, so they do not lie in it.
pub(super) const REQUIREMENTS: &str = "../shared/data/security/asvs-5.0.csv";

const HEADER: [&str; 4] = ["id", "level", "status", "evidence"];
const LEVELS: [&str; 2] = ["1", "2"];
const STATUSES: [&str; 3] = ["met", "not_applicable", "missing"];
/// Fewer characters are no reason.
const REASON_CHARS_MIN: usize = 10;
/// What stands above a function that the test runner of Rust runs.
const TEST_ATTRIBUTES: [&str; 3] = ["#[test]", "#[tokio::test]", "#[tokio::test("];
/// What calls of node's test runner begin with.
const NODE_TESTS: [&str; 2] = ["test(", "it("];

/// The section of each chapter of ASVS that says what must be documented. Only there pages alone show that a rule is met.
const DOCUMENTED: u32 = 1;

/// The numbers of an id such as `V1.2.3`.
type Id = [u32; 3];

/// All tests of the workspace: their names, by the file that they are in and by the crate. And the headings of all pages, by
/// the page: what must be documented is shown by where it is.
#[derive(Debug, Default)]
pub(super) struct Tests(HashMap<String, BTreeSet<String>>);

impl Tests {
    /// Takes in what a source file tests; `path` is relative to the checkout.
    pub(super) fn add(&mut self, path: &str, text: &str) {
        let parts: Vec<&str> = path.split('/').collect();
        let names: Vec<String> = match path.rsplit_once('.') {
            Some((_, "rs")) => rust_tests(text),
            Some((_, "py")) => python_tests(text),
            Some((_, "js" | "mjs" | "ts")) => node_tests(text),
            Some((_, "md")) => {
                self.0.entry(path.to_owned()).or_default().extend(headings(text));
                return;
            }
            _ => return,
        };
        let of_crate = match parts[..] {
            ["crates", name, ..] | [name @ ("xtask" | "fuzz"), ..] => Some(name),
            _ => None,
        };
        for place in of_crate.into_iter().chain(parts.last().copied()) {
            self.0.entry(place.to_owned()).or_default().extend(names.iter().cloned());
        }
    }

    /// What is wrong with a name such as `gateway::bodies_are_read_under_bounds`, `attacks.rs::a01_…` or
    /// `docs/concepts/access.md#sessions`.
    fn problem(&self, name: &str) -> Option<String> {
        if let Some((page, heading)) = name.split_once('#') {
            let is_there = self.0.get(page).is_some_and(|headings| headings.contains(heading));
            return (!is_there).then(|| format!("there is no heading `#{heading}` in a page `{page}`"));
        }
        let Some((place, test)) = name.split_once("::") else {
            return Some(format!("`{name}` is no name of a test; write `crate::test` or `file.rs::test`"));
        };
        let Some(tests) = self.0.get(place) else {
            return Some(format!("there is no crate and no file `{place}` with tests"));
        };
        (!tests.contains(test)).then(|| format!("there is no test `{test}` in `{place}`"))
    }
}

/// A row as it is written.
struct Row {
    line: usize,
    fields: Vec<String>,
}

/// Every rule that the table breaks. With `requirements` also whether its ids and levels are those of ASVS.
pub(super) fn findings(table: &str, requirements: Option<&str>, tests: &Tests) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |line: usize, problem: String| {
        findings.push(Finding { place: format!("{TABLE}:{line}"), problem });
    };
    let mut rows = rows(table).into_iter();
    if rows.next().is_none_or(|header| header.fields != HEADER) {
        find(1, format!("the first line must be {}", HEADER.join(",")));
    }
    let mut levels: BTreeMap<Id, String> = BTreeMap::new();
    let mut before = None;
    for Row { line, fields } in rows {
        let [id, level, status, evidence] = &fields[..] else {
            find(line, format!("has {} fields, not {}", fields.len(), HEADER.len()));
            continue;
        };
        let Some(number) = parse_id(id) else {
            find(line, format!("`{id}` is no id such as V1.2.3"));
            continue;
        };
        if before.is_some_and(|before| before >= number) {
            find(line, format!("{id} must stand once, and in the order of the numbers"));
        }
        before = Some(number);
        if !LEVELS.contains(&level.as_str()) {
            find(line, format!("{id} has level `{level}`; allowed: {}", LEVELS.join(", ")));
        }
        levels.insert(number, level.clone());
        match status.as_str() {
            "met" => {
                if evidence.trim().is_empty() {
                    find(line, format!("{id} is met, and no test is named that shows it"));
                }
                let is_section = |name: &str| name.contains('#');
                if number[1] != DOCUMENTED && evidence.split_whitespace().all(is_section) {
                    find(line, format!("{id} is no rule about documents; name a test that shows it"));
                }
                for problem in evidence.split_whitespace().filter_map(|name| tests.problem(name)) {
                    find(line, format!("{id}: {problem}"));
                }
            }
            "not_applicable" | "missing" => {
                if evidence.chars().count() < REASON_CHARS_MIN {
                    find(line, format!("{id} is {status}; say why in a sentence"));
                }
            }
            _ => find(line, format!("{id} has status `{status}`; allowed: {}", STATUSES.join(", "))),
        }
    }
    if let Some(requirements) = requirements {
        findings.extend(differences(&levels, requirements));
    }
    findings
}

/// How many rows there are of each status, in the order of [`STATUSES`].
pub(super) fn counts(table: &str) -> String {
    let rows = rows(table);
    let count =
        |status: &str| rows.iter().filter(|row| row.fields.get(2).is_some_and(|s| s == status)).count();
    STATUSES.map(|status| format!("{} {}", count(status), status.replace('_', " "))).join(", ")
}

/// Requirements of levels 1 and 2 without a row, rows without a requirement, and rows of another level.
fn differences(levels: &BTreeMap<Id, String>, requirements: &str) -> Vec<Finding> {
    let mut rows = rows(requirements).into_iter();
    let header = rows.next().map(|row| row.fields).unwrap_or_default();
    let column = |name: &str| header.iter().position(|field| field == name);
    let (Some(of_id), Some(of_level)) = (column("req_id"), column("L")) else {
        let problem = "has no columns `req_id` and `L`".to_owned();
        return vec![Finding { place: REQUIREMENTS.to_owned(), problem }];
    };
    let wanted: BTreeMap<Id, String> = rows
        .filter_map(|row| {
            let (id, level) = (parse_id(row.fields.get(of_id)?)?, row.fields.get(of_level)?);
            LEVELS.contains(&level.as_str()).then(|| (id, level.clone()))
        })
        .collect();
    let problem = |id: &Id| match (levels.get(id), wanted.get(id)) {
        (None, Some(level)) => Some(format!("is of level {level} and has no row")),
        (Some(_), None) => Some("is no requirement of level 1 or 2".to_owned()),
        (Some(level), Some(wanted)) if level != wanted => Some(format!("is of level {wanted}, not {level}")),
        _ => None,
    };
    let ids: BTreeSet<&Id> = levels.keys().chain(wanted.keys()).collect();
    let finding = |[a, b, c]: &Id| {
        let problem = problem(&[*a, *b, *c])?;
        Some(Finding { place: TABLE.to_owned(), problem: format!("V{a}.{b}.{c} {problem}") })
    };
    ids.into_iter().filter_map(finding).collect()
}

fn parse_id(text: &str) -> Option<Id> {
    let number = |part: &str| {
        let is_plain = !part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| part.parse::<u32>().ok()).flatten()
    };
    let parts: Option<Vec<u32>> = text.strip_prefix('V')?.split('.').map(number).collect();
    parts?.try_into().ok()
}

/// The records of a file of comma-separated values (RFC 4180). Empty lines are none.
fn rows(text: &str) -> Vec<Row> {
    let (mut rows, mut fields, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut begun, mut quoted) = (1, 1, false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        line += usize::from(character == '\n');
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                fields.push(std::mem::take(&mut field));
                let fields = std::mem::take(&mut fields);
                if fields != [""] {
                    rows.push(Row { line: begun, fields });
                }
                begun = line;
            }
            other => field.push(other),
        }
    }
    if !field.is_empty() || !fields.is_empty() {
        fields.push(field);
        rows.push(Row { line: begun, fields });
    }
    rows
}

/// Functions that stand below an attribute of a test; other attributes and comments may stand between.
fn rust_tests(text: &str) -> Vec<String> {
    let (mut names, mut is_test) = (Vec::new(), false);
    for line in text.lines().map(str::trim_start) {
        if TEST_ATTRIBUTES.iter().any(|attribute| line.starts_with(attribute)) {
            is_test = true;
        } else if !line.starts_with("#[") && !line.starts_with("//") && !line.is_empty() {
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if let (true, Some(rest)) = (is_test, function) {
                names.push(word(rest).to_owned());
            }
            is_test = false;
        }
    }
    names
}

/// Functions that pytest runs.
fn python_tests(text: &str) -> Vec<String> {
    let function = |line: &str| {
        let line = line.trim_start();
        let name = word(line.strip_prefix("async ").unwrap_or(line).strip_prefix("def ")?);
        name.starts_with("test_").then(|| name.to_owned())
    };
    text.lines().filter_map(function).collect()
}

/// Titles of node's tests, as names: whatever is no letter or digit is written `_`.
fn node_tests(text: &str) -> Vec<String> {
    let title = |line: &str| {
        let line = line.trim_start().trim_start_matches("await ");
        let rest = NODE_TESTS.iter().find_map(|call| line.strip_prefix(call))?;
        let quote = rest.chars().next().filter(|first| "'\"`".contains(*first))?;
        let title = rest[1..].split(quote).next()?;
        Some(title.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect())
    };
    text.lines().filter_map(title).collect()
}

/// The headings of a page, as links name them: in lower case, a hyphen for each space, without any other sign.
fn headings(text: &str) -> impl Iterator<Item = String> + '_ {
    let title =
        |line: &'_ str| line.starts_with('#').then(|| line.trim_start_matches('#').trim().to_lowercase());
    let kept = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || "-_".contains(c) => Some(c),
        _ => None,
    };
    text.lines().filter_map(title).map(move |title| title.chars().filter_map(kept).collect())
}

/// The word that a text begins with.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// What is said where the requirements are not on this machine.
pub(super) fn not_compared(requirements: &Path) -> String {
    format!(
        "ASVS ids NOT COMPARED: there is no list of the requirements of OWASP ASVS 5.0 at {}",
        requirements.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ASVS's own file is written: quotes, commas and line ends in the text, other levels between.
    const ASVS: &str = "chapter_id,req_id,req_description,L\nV1,V1.1.1,\"One, \"\"two\"\"\nthree.\",2\nV1,V1.1.2,X,3\n\
                        V1,V1.2.1,\"Y\",1\n";

    fn tests() -> Tests {
        let mut tests = Tests::default();
        let rust = "#[test]\n#[cfg(unix)]\n// Why.\nfn holds() {}\n\n    #[tokio::test(flavor = \"x\")]\n    async fn waits() {}\n\
                    fn helps() {}\n#[cfg(test)]\nmod tests {\n";
        tests.add("crates/gateway/src/names.rs", rust);
        tests.add("tests/test_openai.py", "def test_chat(client):\ndef helps():\n");
        tests.add("docs/a.md", "# A\n\n## Keys, and *their* life\n\ntext # no heading\n");
        tests.add("tests/login.mjs", "test('logs in, twice', async () => {\n  await test(\"x\", f);\n");
        tests
    }

    fn problems(rows: &str, requirements: Option<&str>) -> Vec<String> {
        let table = format!("id,level,status,evidence\n{rows}");
        findings(&table, requirements, &tests()).into_iter().map(|finding| finding.problem).collect()
    }

    #[test]
    fn finds_what_breaks_a_rule() {
        let good = "V1.1.1,2,met,gateway::holds names.rs::waits\n";
        for (rows, expected) in [
            (good, ""),
            ("V1.1.1,2,met,test_openai.py::test_chat login.mjs::logs_in__twice login.mjs::x\n", ""),
            ("V1.1.1,2,not_applicable,\"There is no mail, none at all.\"\n", ""),
            ("V1.9.1,1,missing,waits for sessions\nV1.10.1,1,missing,waits for sessions\n", ""),
            ("V1.1.1,2,met,docs/a.md#keys-and-their-life\n", ""),
            ("V1.2.1,1,met,docs/a.md#a gateway::holds\n", ""),
            ("V1.2.1,1,met,docs/a.md#a\n", "name a test"),
            ("V1.1.1,2,met,docs/a.md#no-heading\n", "no heading `#no-heading`"),
            ("V1.1.1,2,met,docs/b.md#a\n", "in a page `docs/b.md`"),
            ("V1.1.1,2,met,\n", "no test is named"),
            ("V1.1.1,2,met,holds\n", "no name of a test"),
            ("V1.1.1,2,met,gateway::helps\n", "no test `helps` in `gateway`"),
            ("V1.1.1,2,met,gateway::hold\n", "no test `hold` in"),
            ("V1.1.1,2,met,test_openai.py::helps\n", "no test `helps`"),
            ("V1.1.1,2,met,path::holds\n", "no crate and no file `path`"),
            ("V1.1.1,2,met,gateway::holds and\n", "`and` is no name of a test"),
            ("V1.1.1,2,missing,x\n", "say why"),
            ("V1.1.1,2,not_applicable,\n", "say why"),
            ("V1.1.1,2,done,gateway::holds\n", "has status `done`"),
            ("V1.1.1,3,met,gateway::holds\n", "has level `3`"),
            ("1.1.1,2,met,gateway::holds\n", "is no id"),
            ("V1.1,2,met,gateway::holds\n", "is no id"),
            ("V1.1.1.1,2,met,gateway::holds\n", "is no id"),
            ("V1.01.1,2,met,gateway::holds\n", "is no id"),
            ("V1.1.,2,met,gateway::holds\n", "is no id"),
            ("V1.1.1,2,missing,with, a comma\n", "has 5 fields"),
            ("V1.10.1,1,missing,waits for sessions\nV1.9.1,1,missing,waits for sessions\n", "in the order"),
            ("V1.9.1,1,missing,waits for sessions\nV1.9.1,1,missing,waits for sessions\n", "must stand once"),
        ] {
            let found = problems(rows, None);
            assert_eq!(found.len(), usize::from(!expected.is_empty()), "{rows}: {found:?}");
            assert!(found.iter().all(|problem| problem.contains(expected)), "{rows}: {found:?}");
        }
        assert_eq!(findings("V1.1.1,2,met,gateway::holds\n", None, &tests()).len(), 1, "no header");
        let place = &findings("id,level,status,evidence\n\nV1\n", None, &tests())[0].place;
        assert_eq!(place, "docs/security/asvs.csv:3");
    }

    #[test]
    fn ids_and_levels_are_those_of_asvs() {
        let (first, last) = ("V1.1.1,2,met,gateway::holds\n", "V1.2.1,1,met,gateway::holds\n");
        for (rows, expected) in [
            (format!("{first}{last}"), ""),
            (last.to_owned(), "V1.1.1 is of level 2 and has no row"),
            (
                format!("{first}V1.1.2,2,met,gateway::holds\n{last}"),
                "V1.1.2 is no requirement of level 1 or 2",
            ),
            (format!("{first}V1.2.1,2,met,gateway::holds\n"), "V1.2.1 is of level 1, not 2"),
        ] {
            assert_eq!(problems(&rows, Some(ASVS)).concat(), expected, "{rows}");
        }
        assert_eq!(problems(first, Some("a,b\n")).len(), 1);
    }

    #[test]
    fn rows_are_counted_by_status() {
        let table = "id,level,status,evidence\nV1.1.1,2,met,a::b\nV1.1.2,2,missing,c\nV1.1.3,2,missing,d\n";
        assert_eq!(counts(table), "1 met, 0 not applicable, 2 missing");
    }
}
