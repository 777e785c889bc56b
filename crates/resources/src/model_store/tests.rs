use std::{
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    process::Command,
};

use tempfile::TempDir;

use super::{
    partial::{Origin, Partial},
    *,
};

/// A store and a folder for files to pull.
struct Site {
    root: TempDir,
    store: ModelStore,
}

impl Site {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = ModelStore::open(&root.path().join("models")).unwrap();
        Self { root, store }
    }

    fn file(&self, name: &str, content: &[u8]) -> PullSource {
        let path = self.root.path().join(name);
        fs::write(&path, content).unwrap();
        PullSource::File(path)
    }

    fn pull(&self, source: &PullSource) -> Result<StoredModel, StoreError> {
        self.pull_as(source, None, &[])
    }

    fn pull_as(
        &self,
        source: &PullSource,
        name: Option<&str>,
        aliases: &[&str],
    ) -> Result<StoredModel, StoreError> {
        let pull = Pull {
            source: source.clone(),
            name: name.map(|name| name.parse().unwrap()),
            aliases: aliases.iter().map(|name| name.parse().unwrap()).collect(),
            digest: None,
        };
        run(&self.store, &pull, &mut |_| ())
    }

    /// All files below the store, but for the lock.
    fn left(&self) -> Vec<String> {
        let folder = &self.store.folder;
        let all = [folder.blobs(), folder.partial(), folder.names(), folder.in_use()];
        let names = all.iter().flat_map(|folder| entries(folder).unwrap());
        names.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }
}

fn run(store: &ModelStore, pull: &Pull, watch: Watch<'_>) -> Result<StoredModel, StoreError> {
    let doors = Doors {
        rules: outbound::Rules::default(),
        hub: outbound::Url::parse("https://hub.invalid").unwrap(),
        token: None,
    };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(store.pull(pull, doors, watch))
}

/// A sound model; another one for each seed.
fn model(seed: &str) -> Vec<u8> {
    let mut file = modelfile::gguf::sample();
    file.text("test.seed", seed);
    file.to_bytes().unwrap()
}

fn key(source: &PullSource) -> String {
    source.key()
}

#[test]
fn a_local_file_is_pulled_named_and_found() {
    let site = Site::new();
    let content = model("a");
    let source = site.file("Small Model.gguf", &content);
    let pulled = site.pull_as(&source, Some("org/small@1"), &["small", "S"]).unwrap();
    assert_eq!((pulled.architecture.as_str(), pulled.purpose.as_str()), ("llama", "generate"));
    assert_eq!((pulled.bytes, pulled.context), (content.len() as u64, 256));
    let licence = pulled.licence.clone().unwrap();
    assert_eq!(
        (licence.name.as_str(), licence.found_in.as_str()),
        ("apache-2.0", "general.license of the file")
    );

    let again = ModelStore::open(&site.root.path().join("models")).unwrap();
    for text in ["org/small@1", "small", "S", &pulled.digest.to_string()] {
        assert_eq!(again.find(text).unwrap(), pulled, "{text}");
    }
    assert!(again.find("s").unwrap_err().to_string().contains("there are: org/small@1"));
    let path = again.path(&pulled);
    assert_eq!(fs::read(&path).unwrap(), content);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
    for folder in [again.folder.blobs(), again.folder.names(), again.folder.partial()] {
        assert_eq!(
            fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
            0o700,
            "{}",
            folder.display()
        );
    }
    assert_eq!(site.left().len(), 2);
    assert_eq!(site.pull(&source).unwrap().name.as_str(), "Small-Model");
}

#[test]
fn what_is_no_sound_model_gets_no_name_and_leaves_nothing() {
    let site = Site::new();
    let good = model("a");
    let mut no_shape = modelfile::gguf::Writer::new();
    no_shape.text("general.architecture", "llama");
    for (name, content, message) in [
        ("page.gguf", b"<!DOCTYPE html><html>Please log in".to_vec(), "is an HTML page instead of a model"),
        ("cut.gguf", good[..good.len() - 1].to_vec(), "ends too early"),
        ("header.gguf", good[..100].to_vec(), "ends too early"),
        ("empty.gguf", Vec::new(), "a GGUF file begins with `GGUF`"),
        ("other.gguf", b"PK\x03\x04".to_vec(), "a GGUF file begins with `GGUF`"),
        ("shapeless.gguf", no_shape.to_bytes().unwrap(), "is no model that can be used"),
    ] {
        let error = site.pull(&site.file(name, &content)).unwrap_err().to_string();
        assert!(error.contains(message), "{name}: {error}");
        assert_eq!(site.left(), [""; 0], "{name}");
    }
    let folder = site.pull(&PullSource::File(site.root.path().to_owned())).unwrap_err().to_string();
    assert!(folder.contains("`llmos import` takes those"), "{folder}");
    assert!(
        site.pull(&PullSource::File("/nowhere/m.gguf".into()))
            .unwrap_err()
            .to_string()
            .contains("cannot open")
    );
}

#[test]
fn a_wrong_digest_is_refused_and_says_both() {
    let site = Site::new();
    let source = site.file("m.gguf", &model("a"));
    let expected: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let mut pull = Pull { source, name: None, aliases: Vec::new(), digest: Some(expected) };
    let StoreError::WrongDigest { found, .. } = run(&site.store, &pull, &mut |_| ()).unwrap_err() else {
        panic!("another error")
    };
    assert_eq!(site.left(), [""; 0]);
    pull.digest = Some(found);
    assert_eq!(run(&site.store, &pull, &mut |_| ()).unwrap().digest, found);
    // Its content is known now, so that its source is not even looked at.
    pull.source = PullSource::File("/nowhere/gone.gguf".into());
    assert_eq!(run(&site.store, &pull, &mut |_| ()).unwrap().name.as_str(), "gone");
}

#[test]
fn the_second_pull_of_a_model_is_told_who_is_at_it() {
    let site = Site::new();
    let source = site.file("m.gguf", &model("a"));
    let first = Partial::open(&site.store.folder, &key(&source), &source.to_string()).unwrap();
    let error = site.pull(&source).unwrap_err().to_string();
    assert!(error.contains(&format!("process {} is pulling", std::process::id())), "{error}");
    assert_eq!(site.store.list().unwrap().partial[0].pid, Some(std::process::id().to_string()));
    assert_eq!(site.store.remove_partial().unwrap(), []);
    drop(first);
    assert!(site.pull(&source).is_ok());
    assert_eq!(site.store.list().unwrap().partial, []);
}

#[test]
fn a_model_in_use_is_not_removed() {
    let site = Site::new();
    let pulled = site.pull_as(&site.file("m.gguf", &model("a")), None, &["alias"]).unwrap();
    let (first, second) = (site.store.claim("alias").unwrap(), site.store.claim("m").unwrap());
    assert_eq!(first.path, site.store.path(&pulled));
    drop(second);
    for text in ["m", "alias", &pulled.digest.to_string()] {
        let error = site.store.remove(text).unwrap_err().to_string();
        let message = format!("model `m` is in use by process {}; stop that first", std::process::id());
        assert_eq!(error, message);
    }
    drop(first);
    // A killed process leaves its mark, and no lock.
    let mark = site.store.folder.in_use().join(format!("{}.1.0", blob_name(&pulled.digest)));
    fs::write(&mark, "").unwrap();
    let removed = site.store.remove("m").unwrap();
    assert_eq!((removed.names.len(), removed.freed), (1, pulled.bytes));
    ModelStore::open(&site.root.path().join("models")).unwrap();
    assert_eq!(site.left(), [""; 0]);
    assert!(matches!(site.store.remove("m"), Err(StoreError::NotFound { .. })));
    assert!(matches!(site.store.claim("m"), Err(StoreError::NotFound { .. })));
}

#[test]
fn a_name_stands_for_one_content() {
    let site = Site::new();
    let (a, b) = (site.file("a.gguf", &model("a")), site.file("b.gguf", &model("b")));
    site.pull_as(&a, Some("one"), &["uno"]).unwrap();
    for name in ["one", "uno"] {
        let error = site.pull_as(&b, Some(name), &[]).unwrap_err().to_string();
        assert!(error.contains(&format!("the name `{name}` belongs to the model `one`")), "{error}");
        let error = site.pull_as(&b, Some("two"), &[name]).unwrap_err().to_string();
        assert!(error.contains("belongs to the model `one`"), "{error}");
    }
    let error = site.pull_as(&b, Some("sha256:x"), &[]).unwrap_err().to_string();
    assert!(error.contains("looks like a digest"), "{error}");
    // What has come for these is kept: it needs only another name, and not its source.
    fs::remove_file(site.root.path().join("b.gguf")).unwrap();
    assert_eq!(site.pull_as(&b, Some("two"), &[]).unwrap().name.as_str(), "two");

    // The same content under the same name gets more aliases; under another name it is not stored twice.
    assert_eq!(site.pull_as(&a, Some("uno"), &["eins"]).unwrap().aliases.len(), 2);
    site.pull_as(&a, Some("three"), &[]).unwrap();
    assert_eq!(entries(&site.store.folder.blobs()).unwrap().len(), 2);
    let alias = site.store.remove("eins").unwrap();
    assert_eq!((alias.still.unwrap().as_str(), alias.freed), ("one", 0));
    assert_eq!(site.store.remove("one").unwrap().freed, 0);
    assert!(site.store.remove("three").unwrap().freed > 0);
    let names: Vec<String> =
        site.store.list().unwrap().models.iter().map(|model| model.name.to_string()).collect();
    assert_eq!(names, ["two"]);
}

#[test]
fn a_pull_that_was_cut_off_goes_on_or_begins_anew_if_the_file_changed() {
    let site = Site::new();
    let content = model("a");
    let source = site.file("m.gguf", &content);
    let begins = |site: &Site| {
        let mut begun = Vec::new();
        let pull = Pull { source: source.clone(), name: None, aliases: Vec::new(), digest: None };
        let pulled = run(&site.store, &pull, &mut |progress| {
            if let Progress::Begins { what, done, .. } = progress
                && what.starts_with("copying")
            {
                begun.push(done);
            }
        });
        (pulled.unwrap(), begun)
    };
    let version = |site: &Site| {
        use std::os::unix::fs::MetadataExt;
        let seen = fs::metadata(site.root.path().join("m.gguf")).unwrap();
        format!("{}-{}-{}.{}", seen.ino(), seen.len(), seen.mtime(), seen.mtime_nsec())
    };
    for (version, wrong, expected) in [(version(&site), false, 1_000), ("other".to_owned(), true, 0)] {
        let mut partial = Partial::open(&site.store.folder, &key(&source), "m").unwrap();
        partial.begin(0, Some(version), Some(content.len() as u64), &mut |_| ()).unwrap();
        partial.write(if wrong { &[7; 1_000] } else { &content[..1_000] }).unwrap();
        drop(partial);
        let listed = site.store.list().unwrap().partial;
        assert_eq!((listed[0].bytes, listed[0].pid.as_deref()), (1_000, None));
        let (pulled, begun) = begins(&site);
        assert_eq!(begun, [expected]);
        assert_eq!(fs::read(site.store.path(&pulled)).unwrap(), content);
        site.store.remove("m").unwrap();
    }
    // What was cut off can be forgotten.
    let mut partial = Partial::open(&site.store.folder, &key(&source), "m").unwrap();
    partial.begin(0, Some("x".to_owned()), None, &mut |_| ()).unwrap();
    partial.write(b"GGUF").unwrap();
    drop(partial);
    assert_eq!(site.store.remove_partial().unwrap().len(), 1);
    assert_eq!(site.left(), [""; 0]);
}

/// A process can be killed between any two of its system calls. What it leaves between the last byte and the name
/// is made here; `crates/llmos/tests` kills real ones.
#[test]
fn a_file_that_lacks_only_its_name_gets_it() {
    let site = Site::new();
    let content = model("a");
    let source = PullSource::File("/nowhere/m.gguf".into());
    let whole = || {
        let mut partial = Partial::open(&site.store.folder, &key(&source), "m").unwrap();
        partial.begin(0, None, None, &mut |_| ()).unwrap();
        partial.write(&content).unwrap();
        let licence = Licence { name: "mit".to_owned(), found_in: "a test".to_owned() };
        partial.finish(&Origin { licence: Some(licence), revision: None }).unwrap();
        partial
    };
    // Before it is renamed; after it was protected; after it was renamed.
    drop(whole());
    assert_eq!(site.pull(&source).unwrap().licence.unwrap().name, "mit");
    site.store.remove("m").unwrap();
    let protected = whole();
    fs::set_permissions(protected.path(), Permissions::from_mode(0o400)).unwrap();
    drop(protected);
    assert!(site.pull(&source).is_ok());
    site.store.remove("m").unwrap();
    // What it must be is checked all the same; and what it is, if it changed on the disk.
    drop(whole());
    let digest = Some(format!("sha256:{}", "0".repeat(64)).parse().unwrap());
    let pull = Pull { source: source.clone(), name: None, aliases: Vec::new(), digest };
    assert!(matches!(run(&site.store, &pull, &mut |_| ()), Err(StoreError::WrongDigest { .. })));
    assert_eq!(site.left(), [""; 0]);
    let changed = whole();
    fs::write(changed.path(), &content[1..]).unwrap();
    drop(changed);
    assert!(site.pull(&source).unwrap_err().to_string().contains("cannot open"));
    site.store.remove_partial().unwrap();
    let first = whole();
    drop(first);
    site.pull(&source).unwrap();

    let renamed = whole();
    renamed.move_to(&site.store.folder.blob(&renamed.digest())).unwrap();
    drop(renamed);
    // Its source is asked again, and here it is gone: the name that was there before is whole still.
    assert!(site.pull(&source).is_err());
    assert_eq!(fs::read(&site.store.claim("m").unwrap().path).unwrap(), content);
}

#[test]
fn leftovers_of_killed_processes_are_swept() {
    let site = Site::new();
    let folder = &site.store.folder;
    let living = folder.scratch().unwrap();
    let dead = folder.scratch().unwrap().path().to_owned();
    fs::create_dir(&dead).unwrap();
    for name in ["lock", "wheel"] {
        fs::write(dead.join(name), "").unwrap();
    }
    fs::write(folder.names().join("abc.json.new"), "{").unwrap();
    // A pull that was killed before its first checkpoint, or that could not have gone on.
    fs::write(folder.partial().join("0.data"), "GGUF").unwrap();
    fs::write(folder.partial().join("1.data"), "").unwrap();
    fs::write(folder.partial().join("1.json.new"), "{").unwrap();
    ModelStore::open(&site.root.path().join("models")).unwrap();
    assert!(living.path().exists() && !dead.exists());
    assert_eq!(site.left(), [""; 0]);
}

#[test]
fn no_name_looks_like_a_digest() {
    let site = Site::new();
    let source = site.file("m.gguf", &model("m"));
    for name in ["sha256:x", &"a".repeat(64), &"0B".repeat(32)] {
        for (name, aliases) in [(Some(name), &[][..]), (None, &[name])] {
            let refused = site.pull_as(&source, name, aliases).unwrap_err().to_string();
            assert!(refused.contains("looks like a digest"), "{refused}");
        }
    }
    assert_eq!(site.left(), [""; 0], "nothing was copied");
    site.pull_as(&source, Some(&"a".repeat(63)), &[]).unwrap();
}

#[test]
fn verify_says_which_files_are_damaged_or_missing() {
    let site = Site::new();
    for name in ["sound", "changed", "gone"] {
        site.pull(&site.file(&format!("{name}.gguf"), &model(name))).unwrap();
    }
    let path = |name: &str| site.store.path(&site.store.find(name).unwrap());
    let changed = path("changed");
    fs::set_permissions(&changed, Permissions::from_mode(0o600)).unwrap();
    let mut content = fs::read(&changed).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::write(&changed, content).unwrap();
    fs::remove_file(path("gone")).unwrap();
    let sound = path("sound");
    fs::set_permissions(&sound, Permissions::from_mode(0o600)).unwrap();
    fs::OpenOptions::new().append(true).open(&sound).unwrap().write_all(b"!").unwrap();
    // A glance finds what has another length, and not what has other bytes.
    let glance = site.store.list().unwrap().incomplete;
    assert!(glance[0].starts_with("the file of `gone` cannot be looked at"), "{glance:?}");
    assert!(glance[1].starts_with("the file of `sound` has ") && glance.len() == 2, "{glance:?}");
    let length = fs::metadata(&sound).unwrap().len() - 1;
    fs::OpenOptions::new().write(true).open(&sound).unwrap().set_len(length).unwrap();
    let verified = site.store.verify(&mut |_| ()).unwrap();
    let of = |name: &str| verified.iter().find(|(model, _)| model.name.as_str() == name).unwrap().1;
    assert_eq!((of("sound"), of("gone")), (Condition::Sound, Condition::Missing));
    assert!(matches!(of("changed"), Condition::Damaged(_)));
    assert!(site.store.claim("gone").unwrap_err().to_string().contains("cannot open"));
    // Pulled again it is whole again.
    site.pull(&site.file("changed.gguf", &model("changed"))).unwrap();
    site.pull(&site.file("gone.gguf", &model("gone"))).unwrap();
    assert!(
        site.store.verify(&mut |_| ()).unwrap().iter().all(|(_, condition)| *condition == Condition::Sound)
    );
}

#[test]
fn a_damaged_manifest_hides_no_other_and_can_be_removed() {
    let site = Site::new();
    site.pull(&site.file("good.gguf", &model("good"))).unwrap();
    let bad: ModelName = "bad".parse().unwrap();
    let path = manifest::path(&site.store.folder, &bad);
    for text in ["", "{", "{\"format\": 2}", &"x".repeat(100_000)] {
        fs::write(&path, text).unwrap();
        let listing = site.store.list().unwrap();
        assert_eq!((listing.models.len(), listing.damaged.len()), (1, 1), "{text}");
        assert!(listing.damaged[0].contains("is damaged"), "{}", listing.damaged[0]);
    }
    // It may stand for any file, so none is removed as long as it is there.
    let other = site.pull(&site.file("other.gguf", &model("other"))).unwrap();
    let claim = site.store.claim("other").unwrap();
    fs::write(manifest::path(&site.store.folder, &other.name), "{").unwrap();
    site.store.remove("other").unwrap();
    // Nor is one that is in use, whatever happened to its name.
    assert_eq!(site.store.remove("bad").unwrap().freed, 0);
    assert!(claim.path.exists());
    drop(claim);
    fs::write(&path, "{").unwrap();
    assert!(site.store.remove("bad").unwrap().freed > 0);
    assert_eq!(site.store.list().unwrap().damaged, [""; 0]);
}

/// A small file system in memory. Nothing if it cannot be mounted here.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(folder.path());
        mount.output().is_ok_and(|output| output.status.success()).then(|| Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_is_foreseen_or_keeps_what_has_come() {
    let Some(disk) = SmallDisk::mount(1 << 20) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no small file system can be mounted here (not root?)");
        return;
    };
    let mut site = Site::new();
    site.store = ModelStore::open(&disk.0.path().join("models")).unwrap();
    let mut big = modelfile::gguf::sample();
    big.tensor("padding", &[1 << 20], modelfile::TensorType::F32);
    let content = big.to_bytes().unwrap();
    let source = site.file("big.gguf", &content);
    let error = site.pull(&source).unwrap_err();
    let StoreError::NoSpace { needed, free, .. } = &error else { panic!("{error}") };
    assert!(*needed == content.len() as u64 && *free <= 1 << 20);
    assert!(error.to_string().contains("are missing; make room"), "{error}");

    // Somebody else fills the disk in the meantime.
    let mut partial = Partial::open(&site.store.folder, &key(&source), "big").unwrap();
    partial.begin(0, Some("version".to_owned()), None, &mut |_| ()).unwrap();
    let error = content.chunks(64 << 10).find_map(|chunk| partial.write(chunk).err()).unwrap();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    let came = partial.bytes();
    assert!(came > 512 << 10 && error.to_string().contains("are kept, and the next pull goes on"), "{error}");
    drop(partial);
    let partial = Partial::open(&site.store.folder, &key(&source), "big").unwrap();
    assert_eq!(partial.durable(), (came, Some("version")));
    assert_eq!(fs::read(partial.path()).unwrap(), content[..came as usize]);
}
