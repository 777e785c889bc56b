//! Rules about what stands in a source file.

use std::path::Path;

use super::Finding;

/// Where the text behind a `Prompt` or `Secret` may be looked at: where a protocol is written
/// or read, where a model reads it, where a key is checked or shown the one time. Everywhere else it is carried
/// unseen.
const MAY_EXPOSE: [&str; 19] = [
    "crates/vault/src/",
    "crates/engine/src/",
    "crates/path/src/vectors.rs",
    "crates/path/src/told.rs",
    "crates/audit/src/key.rs",
    "crates/audit/src/personal.rs",
    "crates/gateway/src/openai/",
    "crates/gateway/src/admin.rs",
    "crates/gateway/src/admin_audit.rs",
    "crates/gateway/src/auth/",
    "crates/gateway/src/tls.rs",
    "crates/identity/src/sign_in.rs",
    "crates/access/src/",
    "crates/simulator/src/mock.rs",
    "crates/store/src/postgres.rs",
    "crates/llmos/src/remote.rs",
    "crates/llmos/src/serve.rs",
    "crates/outbound/src/call.rs",
    "crates/outbound/src/client.rs",
];
/// Names that say nothing about what is in a file.
const EMPTY_NAMES: [&str; 8] =
    ["utils", "util", "common", "helpers", "helper", "misc", "manager", "managers"];
/// What only unfinished code contains. In two parts, so that this file does not contain it.
const UNFINISHED: [(&str, &str); 3] = [("todo", "!("), ("unimplemented", "!("), ("#[", "ignore")];
/// Where prompts and secrets are handled.
const PRODUCT: &str = "crates/";
/// The one door out: the only crate that opens connections to elsewhere.
const DOOR: &str = "crates/outbound/";
/// A program for those who build llmos, which drives servers on this machine.
const BENCHMARKS: &str = "crates/bench/";
/// What opens a connection to elsewhere, looks a name up, or is another client. Unix sockets are not elsewhere.
const WAYS_OUT: [&str; 8] = [
    "TcpStream::connect",
    "TcpSocket::",
    "UdpSocket::",
    "lookup_host(",
    "to_socket_addrs(",
    "hyper_util::client",
    "reqwest::",
    "ureq::",
];
/// What makes a statement for the database of a text that is not in the program: where it stands, each piece is a word or a
/// number of ours, and values are bound.
const MADE_STATEMENT: &str = "AssertSqlSafe";
/// The only files with such statements.
const MAY_MAKE_STATEMENTS: [&str; 4] = [
    "crates/store/src/accounts.rs",
    "crates/store/src/migrations.rs",
    "crates/store/src/postgres.rs",
    "crates/store/src/scim.rs",
];
/// What makes numbers that can be guessed. Secrets, ids and nonces are made by the operating system, through `getrandom`
/// or `aws-lc-rs`, and by nothing else.
const GUESSABLE: [&str; 12] = [
    "planner::Random",
    " Random::new(",
    "SplitMix64",
    "Xoshiro",
    "fastrand::",
    "rand::random",
    "rand::rng(",
    "thread_rng(",
    "SmallRng",
    "StdRng",
    "RandomState",
    "new_v4(",
];
/// Where they may be: what is repeated from a seed, and hashes that spread what is remembered over its shelves.
const MAY_GUESS: [&str; 4] =
    ["crates/planner/", "crates/simulator/", "crates/bench/", "crates/access/src/policy/memo.rs"];
/// The only crate that may contain unsafe code.
const UNSAFE_CRATE: &str = "crates/engine/";
const FORBID_UNSAFE: &str = "#![forbid(unsafe_code)]";

/// Every rule that a file breaks; `path` is relative to the checkout.
pub(super) fn findings(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find =
        |place: String, problem: &str| findings.push(Finding { place, problem: problem.to_owned() });
    if path.split('/').any(|part| EMPTY_NAMES.contains(&part.split('.').next().unwrap_or(part))) {
        find(path.to_owned(), "has a name that says nothing; name it after the one idea in it");
    }
    if Path::new(path).extension().is_none_or(|ending| ending != "rs") {
        return findings;
    }
    if is_root(path) && !path.starts_with(UNSAFE_CRATE) && !text.lines().any(|line| line == FORBID_UNSAFE) {
        find(path.to_owned(), "must say #![forbid(unsafe_code)]");
    }
    let lines: Vec<&str> = text.lines().collect();
    let product_ends = if is_test(path) || !path.starts_with(PRODUCT) { 0 } else { inline_tests(&lines) };
    for (index, line) in lines.iter().enumerate() {
        let place = || format!("{path}:{}", index + 1);
        let code = without_comment(line);
        if UNFINISHED.iter().any(|(start, end)| code.contains(&format!("{start}{end}"))) {
            find(place(), "is unfinished; finish it or leave it out");
        }
        if index < product_ends
            && exposes(code)
            && !MAY_EXPOSE.iter().any(|allowed| path.starts_with(allowed))
        {
            find(place(), "looks at a prompt or a secret; only the places in xtask/src/check/sources.rs may");
        }
        if index < product_ends && !may_go_out(path) && WAYS_OUT.iter().any(|way| code.contains(way)) {
            find(place(), "goes out by itself; only the crate outbound opens connections to elsewhere");
        }
        if index < product_ends && code.contains(MADE_STATEMENT) && !MAY_MAKE_STATEMENTS.contains(&path) {
            find(
                place(),
                "makes a statement of text; bind values, or name the file in xtask/src/check/sources.rs",
            );
        }
        if index < product_ends
            && GUESSABLE.iter().any(|maker| code.contains(maker))
            && !MAY_GUESS.iter().any(|allowed| path.starts_with(allowed))
        {
            find(
                place(),
                "makes what can be guessed; what is secret or unique comes from getrandom or aws-lc-rs",
            );
        }
        if path.starts_with(UNSAFE_CRATE) && opens_unsafe(code) && !is_justified(&lines[..index]) {
            find(place(), "unsafe code without a `// SAFETY:` comment right above it");
        }
    }
    findings
}

/// The file that a library, program or test begins with.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(
        parts.as_slice(),
        ["crates", _, "src", "lib.rs" | "main.rs"]
            | ["xtask", "src", "main.rs"]
            | ["crates", _, "src", "bin", _]
    )
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// The line at which a file's own module of tests begins, or the number of its lines.
fn inline_tests(lines: &[&str]) -> usize {
    let begins =
        |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    lines.windows(2).position(begins).unwrap_or(lines.len())
}

fn may_go_out(path: &str) -> bool {
    path.starts_with(DOOR) || path.starts_with(BENCHMARKS)
}

fn without_comment(line: &str) -> &str {
    let trimmed = line.trim_start();
    if trimmed.starts_with("//") { "" } else { trimmed.split(" // ").next().unwrap_or(trimmed) }
}

fn exposes(code: &str) -> bool {
    code.contains(".expose()") || code.contains("::expose")
}

fn opens_unsafe(code: &str) -> bool {
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|start| code.contains(start))
}

/// Whether the comment that ends right above says why the code is sound; attributes may stand between.
fn is_justified(above: &[&str]) -> bool {
    let lines = above.iter().rev().map(|line| line.trim_start());
    let mut comment =
        lines.skip_while(|line| line.starts_with("#[")).take_while(|line| line.starts_with("//"));
    comment.any(|line| line.starts_with("// SAFETY:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORBID: &str = "#![forbid(unsafe_code)]\n";

    #[test]
    fn finds_what_breaks_a_rule() {
        let expose = "fn f(p: &Prompt) -> &str {\n    p.expose()\n}\n";
        let connect = "let stream = net::TcpStream::connect(address).await?;\n";
        let by_path = "let texts = prompts.iter().map(Prompt::expose);\n";
        let in_tests = format!("#[cfg(test)]\nmod tests {{\n{expose}}}\n");
        let sound = "// SAFETY: the pointer is valid,\n// and nobody else has it.\n#[allow(x)]\nlet a = unsafe { f() };";
        let unsound = "// It is fine.\nlet a = unsafe { f() };";
        let far = "// SAFETY: for another one\nf();\nunsafe { f() }";
        let pieces = |(start, end): (&str, &str)| format!("    {start}{end}");
        let cases: &[(&str, &str, usize)] = &[
            ("crates/path/src/steps.rs", expose, 1),
            ("crates/path/src/steps.rs", by_path, 1),
            ("crates/path/src/steps.rs", "// p.expose() is not called here\n", 0),
            ("crates/path/src/steps.rs", &in_tests, 0),
            ("crates/path/tests/steps.rs", expose, 0),
            ("crates/gateway/src/health.rs", expose, 1),
            ("crates/gateway/src/openai/chat.rs", expose, 0),
            ("crates/path/src/steps.rs", connect, 1),
            ("crates/path/src/steps.rs", "let client = reqwest::Client::new();\n", 1),
            ("crates/path/src/steps.rs", "for one in tokio::net::lookup_host(name).await? {\n", 1),
            ("crates/path/src/steps.rs", "let stream = UnixStream::connect(path).await?;\n", 0),
            ("crates/path/src/steps.rs", "// not by TcpStream::connect\n", 0),
            ("crates/path/src/steps/tests.rs", connect, 0),
            ("crates/path/tests/steps.rs", connect, 0),
            ("crates/outbound/src/client.rs", connect, 0),
            ("crates/bench/src/http.rs", connect, 0),
            ("crates/store/src/keys.rs", "query(AssertSqlSafe(format!(\"{name}\")))", 1),
            ("crates/path/src/steps.rs", "use sqlx::AssertSqlSafe as Fine;", 1),
            ("crates/store/src/scim.rs", "query(AssertSqlSafe(sql))", 0),
            ("crates/store/tests/store.rs", "query(AssertSqlSafe(sql))", 0),
            ("crates/access/src/key.rs", "let id = fastrand::u128(..);", 1),
            ("crates/access/src/key.rs", "use planner::Random;", 1),
            ("crates/access/src/key.rs", "let id = Uuid::new_v4();", 1),
            ("crates/access/src/key.rs", "// not by rand::random", 0),
            ("crates/access/src/key.rs", "getrandom::fill(&mut id)?; rand::fill(&mut salt)?;", 0),
            ("crates/access/tests/death.rs", "let mut random = Random::new(7);", 0),
            ("crates/planner/src/search.rs", "let mut random = Random::new(seed);", 0),
            ("crates/path/src/utils.rs", "", 1),
            ("crates/path/src/common/mod.rs", "", 1),
            ("tests/helpers.py", "", 1),
            ("crates/path/src/commons.rs", "", 0),
            ("crates/path/src/steps.rs", &pieces(UNFINISHED[0]), 1),
            ("crates/path/src/steps.rs", &pieces(UNFINISHED[1]), 1),
            ("crates/path/tests/steps.rs", &pieces(UNFINISHED[2]), 1),
            ("crates/path/src/lib.rs", "//! docs\n", 1),
            ("crates/path/src/lib.rs", FORBID, 0),
            ("crates/path/src/bin/tool.rs", "fn main() {}\n", 1),
            ("xtask/src/main.rs", "fn main() {}\n", 1),
            ("crates/engine/src/lib.rs", "//! docs\n", 0),
            ("crates/engine/src/llama/worker.rs", sound, 0),
            ("crates/engine/src/llama/worker.rs", unsound, 1),
            ("crates/engine/src/llama/worker.rs", far, 1),
        ];
        for (path, text, expected) in cases {
            let found = findings(path, text);
            assert_eq!(found.len(), *expected, "{path}:\n{text}\n{found:?}");
        }
    }

    #[test]
    fn says_where() {
        let found = findings("crates/path/src/a.rs", "fn f(p: &Prompt) -> &str {\n    p.expose()\n}\n");
        assert_eq!(found[0].place, "crates/path/src/a.rs:2");
    }
}
