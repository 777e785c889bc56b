use super::*;

fn parse(line: &str) -> Result<Command, String> {
    Command::parse(line.split_whitespace().map(OsString::from)).map_err(|trouble| trouble.to_string())
}

#[test]
fn commands_are_read_with_their_values() {
    let log = Command::Log {
        folder: "dir".into(),
        key: "k".to_owned(),
        checkpoints: vec!["a".into(), "b".into()],
        witnesses: vec!["w".to_owned()],
    };
    assert_eq!(parse("log dir --key k --checkpoint a --checkpoint=b --witness w").unwrap(), log);
    assert_eq!(parse("log --checkpoint a --key=k --witness=w --checkpoint b -- dir").unwrap(), log);
    let receipt = |request: Option<&str>, answer: Option<&str>| {
        let texts = told::Files { request: request.map(Into::into), answer: answer.map(Into::into) };
        Command::Receipt { file: "-".into(), key: "k".to_owned(), checkpoints: vec![], texts }
    };
    assert_eq!(parse("receipt - --key k").unwrap(), receipt(None, None));
    let line = "receipt --request=a --key k --answer b -";
    assert_eq!(parse(line).unwrap(), receipt(Some("a"), Some("b")));
    let checkpoints =
        Command::Checkpoints { files: vec!["a".into()], key: "k".to_owned(), log: Some("dir".into()) };
    assert_eq!(parse("checkpoints a --key k --log dir").unwrap(), checkpoints);
    for line in ["help", "--help", "-h", "log --help", "log --key -h"] {
        assert_eq!(parse(line).unwrap(), Command::Help, "{line}");
    }
    assert_eq!(parse("-V").unwrap(), Command::Version);
}

#[test]
fn wrong_usage_says_what_is_wrong() {
    let many = format!("checkpoints --key k {}", "a ".repeat(1001));
    let cases = [
        ("", "no command"),
        ("verify", "no command \"verify\""),
        ("log", "needs a folder"),
        ("log a b --key k", "takes one folder of a log, not 2"),
        ("log a", "--key is missing"),
        ("log a --key", "--key needs a value"),
        ("log a --key k --key k", "more than once"),
        ("log a --log b --key k", "no option \"--log\""),
        ("receipt a --witness w --key k", "no option \"--witness\""),
        ("receipt --key k", "needs a receipt"),
        ("receipt a --key k --answer a --answer b", "--answer is given more than once"),
        ("log a --key k --request a", "no option \"--request\""),
        ("checkpoints a --key k", "two files or more"),
        ("checkpoints --log a --key k", "two files or more"),
        ("checkpoints a --log a --log b --key k", "more than once"),
        (&many, "more than 1000"),
    ];
    for (line, says) in cases {
        let error = parse(line).unwrap_err();
        assert!(error.contains(says) && error.contains("--help"), "{line}: {error}");
    }
}
