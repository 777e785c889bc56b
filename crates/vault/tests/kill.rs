//! A process that makes, rotates and shreds keys is killed at random points: what it had acknowledged holds, and what was
//! half done goes on.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use store::VaultKeys;
use types::{DataSubject, Sealed, Secret, TenantId};
use vault::{Keyring, Place, Purpose, Root, VaultError};

/// Names the folder to the process that is killed.
const FOLDER: &str = "LLMOS_TEST_KILLED_IN";
const ROUND: &str = "LLMOS_TEST_ROUND";
const PLACE: Place<'_> = Place { purpose: Purpose::Conversation, record: b"1" };
const TENANT: TenantId = TenantId(1);

/// 50, or 1,000 with `LLMOS_TEST_FULL=1`.
fn rounds() -> u64 {
    if env::var_os("LLMOS_TEST_FULL").is_some() { 1_000 } else { 50 }
}

async fn keyring(folder: &Path) -> Keyring {
    let root = Root::of_text(&Secret::from("0123456789abcdef".repeat(4))).unwrap();
    Keyring::open(VaultKeys::open(&folder.join("keys.db")).await.unwrap(), root, None).await.unwrap()
}

fn subject(name: &str) -> DataSubject {
    DataSubject::try_from(name.to_owned()).unwrap()
}

/// What the killed process does until it is: each line that it prints is an acknowledgement.
#[tokio::test]
async fn the_process_that_is_killed() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let ring = keyring(Path::new(&folder)).await;
    let round = env::var(ROUND).unwrap();
    let say = |line: String| {
        println!("{line}");
        std::io::stdout().flush().unwrap();
    };
    say(String::new());
    for step in 0.. {
        let name = format!("{round}-{step}");
        let key = ring.subject(TENANT, &subject(&name)).await.unwrap();
        let sealed = key.seal(&PLACE, &Secret::from(name.clone())).unwrap();
        say(format!("ack sealed {name} {}", data_encoding::HEXLOWER.encode(sealed.as_bytes())));
        if step % 5 == 4 {
            let gone = format!("{round}-{}", step - 2);
            say(format!("ack shreds {gone}"));
            assert!(!ring.shred(TENANT, &subject(&gone), 1).await.unwrap().is_empty());
            say(format!("ack shredded {gone}"));
        }
        if step % 3 == 2 {
            ring.rotate_tenant(TENANT, &mut |_| ()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_holds_wherever_the_process_is_killed() {
    if env::var_os(FOLDER).is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // By name: the sealed value, and whether its key is destroyed; nothing is known while it is being destroyed.
    let mut known: BTreeMap<String, (Sealed, Option<bool>)> = BTreeMap::new();
    for round in 0..rounds() {
        let mut killed = Command::new(env::current_exe().unwrap())
            .args(["--exact", "the_process_that_is_killed", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(killed.stdout.take().unwrap()).lines();
        // It has begun; the seed of the moment is the round, so that a failure can be repeated.
        let begun = lines.by_ref().map_while(Result::ok).find(String::is_empty);
        assert!(begun.is_some());
        // As many acknowledgements, however busy the machine is, and then somewhere before the next.
        let mut said: Vec<String> =
            lines.by_ref().map_while(Result::ok).take((round * 7 % 20) as usize).collect();
        thread::sleep(Duration::from_micros(round * 7_919 % 5_000));
        killed.kill().unwrap();
        killed.wait().unwrap();
        said.extend(lines.map_while(Result::ok));
        for line in said {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["ack", "sealed", name, hex] => {
                    let Ok(bytes) = data_encoding::HEXLOWER.decode(hex.as_bytes()) else { continue };
                    known.insert(name.to_owned(), (Sealed::from(bytes), Some(false)));
                }
                ["ack", "shreds", name] => drop(known.get_mut(name).map(|known| known.1 = None)),
                ["ack", "shredded", name] => drop(known.get_mut(name).map(|known| known.1 = Some(true))),
                _ => {}
            }
        }
        let ring = keyring(folder.path()).await;
        for (name, (sealed, shredded)) in &known {
            match (ring.of_sealed(sealed).await, shredded) {
                (Ok(key), None | Some(false)) => {
                    assert_eq!(key.open(&PLACE, sealed).unwrap().expose(), name.as_bytes());
                }
                (Err(VaultError::Shredded), None | Some(true)) => {}
                (Ok(_), Some(true)) => panic!("{name} came back in round {round}"),
                (Err(error), _) => panic!("{name} in round {round}: {error}"),
            }
        }
        if round % 10 == 9 {
            ring.rotate_tenant(TENANT, &mut |_| ()).await.unwrap();
            assert_eq!(ring.counts().await.unwrap().behind, 0, "a rotation that was broken off is finished");
        }
    }
    assert!(known.values().filter(|(_, shredded)| *shredded == Some(true)).count() as u64 > rounds() / 10);
}
