use resources::{GpuLayers, LoadWhen, Stay};

use super::*;

fn load(text: &str, variables: &[(&str, &str)], args: ConfigArgs) -> Result<Config, Vec<Problem>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), text).unwrap();
    let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    Config::load(&args, &Surroundings { variables, folder: folder.path().to_owned() })
}

const HOME: (&str, &str) = ("HOME", "/home/someone");

#[test]
fn without_a_file_the_defaults_hold() {
    let surroundings = Surroundings {
        variables: [("HOME".to_owned(), "/home/someone".to_owned())].into(),
        folder: "/nowhere".into(),
    };
    let config = Config::load(&ConfigArgs::default(), &surroundings).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.data_dir, Path::new("/home/someone/.local/share/llmos"));
    assert_eq!(config.shutdown_grace, Duration::from_secs(30));
    assert_eq!((config.log.format, config.log.level), (LogFormat::Text, LevelFilter::INFO));
    assert_eq!(config.file, None);
    assert!(config.problems_of_serving()[0].message.contains("[[model]]"));
}

#[test]
fn what_is_said_later_goes_first() {
    let file = "listen = '127.0.0.1:1'\ndata_dir = 'd'\n[log]\nlevel = 'warn'\nformat = 'json'\n";
    let environment = [HOME, ("LLMOS_LISTEN", "127.0.0.1:2"), ("LLMOS_LOG_LEVEL", "error")];
    let args = ConfigArgs { listen: Some("127.0.0.1:3".to_owned()), ..ConfigArgs::default() };
    let config = load(file, &environment, args).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!((config.log.format, config.log.level), (LogFormat::Json, LevelFilter::ERROR));
    assert_eq!(config.data_dir, config.file.as_ref().unwrap().parent().unwrap().join("d"));

    let shown = config.to_toml();
    for line in [
        "listen = \"127.0.0.1:3\"  # flag --listen\n",
        "level = \"error\"  # environment LLMOS_LOG_LEVEL\n",
        "shutdown_grace_s = 30  # default\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(shown.contains("/llmos.toml line 5\n"), "{shown}");
    assert_eq!(config.to_json()["origins"]["log.level"], "environment LLMOS_LOG_LEVEL");
    assert_eq!(config.to_json()["values"]["log"]["format"], "json");
}

#[test]
fn what_is_shown_can_be_read_again() {
    let file = "[[model]]\nname = 'a'\nsource = 'm.gguf'\naliases = ['b']\n[[model]]\nname = 'c'\nsource = 'simulator:'\n";
    let first = load(file, &[HOME], ConfigArgs::default()).unwrap().to_toml();
    let again = load(&first, &[HOME], ConfigArgs::default()).unwrap().to_toml();
    let values = |text: &str| {
        text.lines().map(|line| line.split("  #").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values(&first)[1..], values(&again)[1..]);
    assert!(first.contains("context = 4096  # default"), "{first}");
}

#[test]
fn models_become_specs() {
    let file = "[[model]]\nname = 'a'\nsource = 'models/m.gguf'\nsha256 = 'DIGITS'\ncontext = 8192\nthreads = 2\n\
                aliases = ['b', 'c']\nmemory_mb = 512\nparallel = 4\ngpu_layers = 20\nload = 'demand'\nkeep_alive_s = 9\n";
    let config = load(&file.replace("DIGITS", &"0a".repeat(32)), &[HOME], ConfigArgs::default()).unwrap();
    let spec = &config.models[0];
    assert_eq!(spec.name.as_str(), "a");
    assert_eq!(spec.aliases.len(), 2);
    assert_eq!((spec.context.0, spec.threads, spec.memory_max), (8192, Some(2), Some(512 << 20)));
    assert_eq!((spec.parallel, spec.gpu_layers), (4, GpuLayers::Count(20)));
    let stay = Stay { load: LoadWhen::Demand, keep_alive: Some(Duration::from_secs(9)), pinned: false };
    assert_eq!(spec.stay, stay);
    let Source::File { path, sha256 } = &spec.source else { panic!("not a file") };
    assert!(path.is_absolute() && path.ends_with("models/m.gguf"), "{path:?}");
    assert_eq!(sha256.as_deref(), Some("0a".repeat(32).as_str()));
    assert!(config.problems_of_serving()[0].message.contains("there is no file"));
}

/// What is shipped is built so (`make release`).
#[test]
fn where_simulated_models_are_left_out_none_is_served() {
    for text in ["simulator:", "simulator:instant"] {
        let refused = models::simulated(text, false).unwrap().err().unwrap();
        assert!(refused.contains("is for tests") && refused.contains("path of a GGUF file"), "{refused}");
        assert!(matches!(models::simulated(text, true), Some(Ok(Source::Simulator { .. }))));
    }
    assert!(models::simulated("m.gguf", false).is_none());
}

#[test]
fn every_bad_value_is_reported_with_line_and_remedy() {
    for (text, message) in [
        ("listen = '0.0.0.0:80'", "line 1: `listen` is 0.0.0.0:80, which other machines may reach"),
        ("listen = '[::]:80'", "set `tls.certificate` and `tls.key`, or write 127.0.0.1:80"),
        ("listen = 'localhost:80'", "write an IP address and a port"),
        ("listen = '127.0.0.1'", "write an IP address and a port"),
        ("shutdown_grace_s = -1", "`shutdown_grace_s` is -1; allowed: 0 to 3600"),
        ("data_dir = '~/llmos'", "write the whole path"),
        ("data_dir = ''", "`data_dir` is empty"),
        ("[log]\nformat = 'xml'", "line 2: `log.format` is `xml`; allowed: text, json"),
        ("[log]\nlevel = 'loud'", "allowed: error, warn, info, debug, trace"),
        ("[[model]]\nsource = 'simulator:'", "line 1: this model has an empty or no `name`"),
        ("[[model]]\nname = 'a'", "line 1: this model has no `source`"),
        ("[[model]]\nname = 'two words'\nsource = 'simulator:'", "line 2: `name` contains `two words`"),
        ("[[model]]\nname = 'a'\nsource = 'hf:org/m'", "`hf:` is not a known kind of source"),
        ("[[model]]\nname = 'a'\nsource = 'store:'", "line 3: `store:` names no model of the store"),
        ("[[model]]\nname = 'a'\nsource = 'store:../x y'", "names no model of the store: a name has"),
        (
            "[[model]]\nname = 'a'\nsource = 'store:sha256:AB'",
            "names no model of the store: a digest is written",
        ),
        (
            &format!("[[model]]\nname = 'a'\nsource = 'store:m'\nsha256 = '{}'", "a".repeat(64)),
            "line 4: a model of the store is known by its digest",
        ),
        ("[outbound]\nhub = 'http://hub.test'", "line 2: `outbound.hub` is `http://hub.test`"),
        ("[outbound]\nhub = 'https://me:pw@hub.test'", "without user"),
        ("[outbound]\nprivate = ['10.0.0.1/8']", "line 2: `10.0.0.1/8` is not a network"),
        ("[outbound]\nprivate = ['everything']", "`everything` is not a network"),
        ("[outbound]\nhosts = ['https://hub.test']", "line 2: `https://hub.test` is not a host"),
        ("[outbound]\nca_file = '~/ca.pem'", "write the whole path"),
        (
            "[[model]]\nname = 'a'\nsource = 'simulator:'\ncontext = 0",
            "line 4: `context` is 0; allowed: 1 to",
        ),
        ("[[model]]\nname = 'a'\nsource = 'simulator:'\nthreads = 0", "`threads` is 0; allowed: 1 to"),
        ("[[model]]\nname = 'a'\nsource = 'simulator:'\nmemory_mb = 0", "`memory_mb` is 0; allowed: 1 to"),
        (
            "[[model]]\nname = 'a'\nsource = 'simulator:'\nparallel = 257",
            "`parallel` is 257; allowed: 1 to 256",
        ),
        (
            "[[model]]\nname = 'a'\nsource = 'simulator:'\nload = 'late'",
            "`load` is `late`; allowed: start, demand",
        ),
        ("[[model]]\nname = 'a'\nsource = 'simulator:'\ngpu_layers = 'all'", "allowed: \"auto\", or 0 to"),
        (
            "[[model]]\nname = 'a'\nsource = 'simulator:'\ngpu_layers = -1",
            "`gpu_layers` is -1; allowed: 0 to",
        ),
        (
            "[[model]]\nname = 'a'\nsource = 'simulator:'\npinned = 1",
            "`pinned` is an integer, expected a boolean",
        ),
        (
            "[[model]]\nname = 'a'\nsource = 'simulator:'\nkeep_alive_s = 5\npinned = true",
            "line 4: this model is `pinned`, so it never goes",
        ),
        ("memory_total_mb = 0", "`memory_total_mb` is 0; allowed: 1 to"),
        ("[[model]]\nname = 'a'\nsource = 'm'\nsha256 = 'abc'", "line 4: `sha256` must be 64 lower-case"),
        (
            &format!("[[model]]\nname = 'a'\nsource = 'm'\nsha256 = '{}'", "A".repeat(64)),
            "`sha256` must be 64 lower-case",
        ),
        (
            &format!("[[model]]\nname = 'a'\nsource = 'simulator:'\nsha256 = '{}'", "a".repeat(64)),
            "line 4: a model with the source simulator: has no file",
        ),
        (
            "[[model]]\nname = 'a'\nsource = 'm'\n[[model]]\nname = 'a'\nsource = 'm'",
            "line 5: `a` names model 1 and model 2",
        ),
        (
            "[[model]]\nname = 'a'\nsource = 'm'\n[[model]]\nname = 'b'\nsource = 'm'\naliases = ['a']",
            "line 7: `a` names model 1 and model 2",
        ),
        ("[[model]]\nname = 'a'\nsource = 'm'\naliases = ['a']", "line 4: `a` names model 1 and model 1"),
    ] {
        let problems = load(text, &[HOME], ConfigArgs::default()).unwrap_err();
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert!(problems[0].to_string().contains(message), "{text}: {}", problems[0]);
    }
}

#[test]
fn models_of_the_store_are_named_or_pinned() {
    for model in ["org/model-7b", &format!("sha256:{}", "0a".repeat(32))] {
        let text = format!("[[model]]\nname = 'a'\nsource = 'store:{model}'\n");
        let config = load(&text, &[HOME], ConfigArgs::default()).unwrap();
        assert!(matches!(&config.models[0].source, Source::Store { model: found } if found == model));
        let problems = config.problems_of_serving();
        assert_eq!(problems[0].key, "model[0].source");
        assert!(problems[0].message.contains(&format!("there is no model `{model}`")), "{problems:?}");
    }
}

#[test]
fn what_is_elsewhere_is_configured() {
    let file = "[outbound]\nhub = 'https://hub.test/mirror'\nprivate = ['10.0.0.0/8', 'fd00::/8']\nca_file = 'ca.pem'\n";
    let config = load(file, &[HOME], ConfigArgs::default()).unwrap();
    assert_eq!(config.outbound.hub.as_str(), "https://hub.test/mirror");
    assert_eq!(config.outbound.rules.private.len(), 2);
    let ca_file = config.outbound.rules.ca_file.as_ref().unwrap();
    assert!(ca_file.is_absolute() && ca_file.ends_with("ca.pem"), "{ca_file:?}");
}

/// Keys whose ids are right, of a witness and of a log.
const WITNESS: &str = "example.com/w+b0f2fc9a+BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const LOG: &str = "example.com/l+2ffba1a2+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[test]
fn places_off_the_machine_are_configured() {
    let file = format!(
        "[audit]\npush_every_s = 5\nrequests_per_minute = 7\n[[audit_anchor]]\nfolder = 'elsewhere'\n[[audit_anchor]]\nwitness = \
         'https://w.test/witness/v1'\nkey = '{WITNESS}'\n[[witnessed_log]]\nkey = '{LOG}'\n[audit_collector]\nurl = \
         'https://siem.test:4318/v1/logs'\ntoken_file = 'siem.token'\n"
    );
    let config = load(&file, &[HOME], ConfigArgs::default()).unwrap();
    let Audit { requests_per_minute, push_every, anchors, collector, witnessed } = &config.audit;
    let Collector { url, token: Some(SecretPlace::File(token)) } = collector.as_ref().unwrap() else {
        panic!("{collector:?}")
    };
    assert_eq!(url.as_str(), "https://siem.test:4318/v1/logs");
    assert!(token.is_absolute() && token.ends_with("siem.token"), "{token:?}");
    assert_eq!((*requests_per_minute, push_every.as_secs(), witnessed[0].name()), (7, 5, "example.com/l"));
    assert!(
        matches!(&anchors[0], Anchor::Folder(folder) if folder.is_absolute() && folder.ends_with("elsewhere"))
    );
    assert!(matches!(&anchors[1], Anchor::Witness { key, .. } if key.name() == "example.com/w"));

    let https = "witness = 'https://w.test'";
    for (text, line, says) in [
        ("[audit]\npush_every_s = 0".to_owned(), 2, "`push_every_s` is 0; allowed: 1 to 86400"),
        ("[audit]\nrequests_per_minute = 0".to_owned(), 2, "`requests_per_minute` is 0; allowed: 1 to 60000"),
        ("[[audit_anchor]]".to_owned(), 1, "write either a `folder`, or a `witness` and its `key`"),
        (format!("[[audit_anchor]]\n{https}"), 1, "write either a `folder`"),
        (format!("[[audit_anchor]]\nfolder = 'a'\n{https}\nkey = '{WITNESS}'"), 1, "write either a `folder`"),
        (format!("[[audit_anchor]]\n{https}\nkey = '{LOG}'"), 3, "it is a log's; a witness's is wanted here"),
        (
            format!("[[audit_anchor]]\nwitness = 'http://w.test'\nkey = '{WITNESS}'"),
            2,
            "write the `https` address",
        ),
        (
            "[[audit_anchor]]\nfolder = 'a'\n[[audit_anchor]]\nfolder = 'a'".to_owned(),
            3,
            "each is there once",
        ),
        ("[audit_collector]\nurl = 'http://siem.test/v1/logs'".to_owned(), 2, "write the `https` address"),
        ("[audit_collector]\nurl = 'https://me:pass@siem.test/'".to_owned(), 2, "`https://…@siem.test/`"),
        ("[audit_collector]\ntoken_file = 'siem.token'".to_owned(), 2, "`audit_collector.url` is not"),
        (format!("[[witnessed_log]]\nkey = '{WITNESS}'"), 2, "a log's is wanted here"),
        ("[[witnessed_log]]".to_owned(), 1, "not the key of a log"),
    ] {
        let problems = load(&text, &[HOME], ConfigArgs::default()).unwrap_err();
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        let shown = problems[0].to_string();
        assert!(shown.contains(says) && shown.contains(&format!("line {line}: ")), "{text}: {shown}");
    }
}

#[test]
fn all_problems_are_reported_and_each_once() {
    let text = "lisen = 'x'\nlisten = 'y'\n[[model]]\nname = 3\ncontext = 0\nsource = 'simulator:'\n";
    let environment = [HOME, ("LLMOS_LOGLEVEL", "info"), ("LLMOS_SHUTDOWN_GRACE_S", "soon")];
    let problems = load(text, &environment, ConfigArgs::default()).unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        ["lisen", "model[0].name", "LLMOS_LOGLEVEL", "shutdown_grace_s", "listen", "model[0].context"]
    );
    let failure = failure(&problems);
    assert_eq!(failure.exit, Exit::Configuration);
    assert_eq!(failure.advice.len(), problems.len());
}

#[test]
fn a_flag_heals_what_the_file_has_wrong() {
    let args = ConfigArgs { listen: Some("127.0.0.1:0".to_owned()), ..ConfigArgs::default() };
    assert_eq!(load("listen = 8080", &[HOME], args).unwrap().listen.port(), 0);
}

#[test]
fn a_named_file_must_be_there_and_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe.toml")).status().unwrap();
    assert!(made.success());
    for (name, why) in [("missing.toml", "No such file"), ("pipe.toml", "it is not a regular file")] {
        let surroundings = Surroundings {
            variables: [("LLMOS_CONFIG".to_owned(), name.to_owned())].into(),
            folder: folder.path().into(),
        };
        let problems = Config::load(&ConfigArgs::default(), &surroundings).unwrap_err();
        let expected = format!("{name} line 1: the file cannot be read: {why}");
        assert!(problems[0].to_string().contains(&expected), "{problems:?}");
    }
}

/// The reference shows every setting, with the default that holds and the variable that works.
#[test]
fn the_reference_is_complete() {
    let reference = include_str!("../../../../docs/reference/cli.md");
    let (_, example) = reference.split_once("```toml\n").unwrap();
    let example = keys::inspect(example.split_once("```").unwrap().0);
    assert_eq!(example.complaints, []);
    let names = |table: &Table| table.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&example.table), names(&keys::known()));
    let model = |table: &Table| names(table["model"][0].as_table().unwrap());
    assert_eq!(model(&example.table), model(&keys::known()));
    for key in keys::scalars().into_keys() {
        let row = format!("| `{key}` | `{}` |", overrides::variable(&key));
        assert!(reference.contains(&row), "{row} is missing");
    }
    for name in model(&keys::known()) {
        assert!(reference.contains(&format!("| `model.{name}` |")), "model.{name} is missing");
    }
}
