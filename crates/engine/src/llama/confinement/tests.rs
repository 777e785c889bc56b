//! What a worker tries that was taken over. Each attempt is a system call of a process that has confined itself: this test
//! again, with the name of an attempt in its environment.
#![allow(clippy::expect_used)]

use std::{
    ffi::CStr,
    os::unix::process::ExitStatusExt,
    process::{Command, Output},
    ptr,
};

use rustix::thread::sched_getaffinity;

use super::*;
use crate::Purpose;

/// Which attempt a process of this test is for, or [`SURVIVED`].
const ATTEMPT: &str = "LLMOS_TEST_ATTEMPT";
/// All that do not end the process, one after the other.
const SURVIVED: &str = "those that it survives";
/// Number of a call of the x32 interface: of 64 bits, with addresses of 32.
const X32: libc::c_long = 0x4000_0000;
/// The same call `execve` there.
const X32_EXECVE: libc::c_long = X32 + 520;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    /// The process, by `SIGSYS`.
    Ends,
    /// With this error number.
    Fails(i32),
    Works,
}
use Answer::{Ends, Fails, Works};

struct Attempt {
    name: &'static str,
    call: libc::c_long,
    arguments: [usize; 4],
    answer: Answer,
}

fn text(text: &'static CStr) -> usize {
    text.as_ptr() as usize
}

/// `parent` is the process that stands for the server.
fn attempts(parent: usize) -> Vec<Attempt> {
    const HERE: usize = libc::AT_FDCWD as usize;
    let try_to = |name, call, arguments, answer| Attempt { name, call, arguments, answer };
    let refused = Fails(libc::EPERM);
    let limit = ptr::from_ref(&[0_u64; 2]) as usize;
    let exec = libc::PROT_EXEC as usize;
    let flags = |flags: i32| flags as usize;
    let mut attempts = vec![
        try_to("start a program", libc::SYS_execve, [text(c"/bin/sh"), 0, 0, 0], Ends),
        try_to("start a program by its file", libc::SYS_execveat, [HERE, text(c"/bin/sh"), 0, 0], Ends),
        try_to("fork", libc::SYS_clone, [flags(libc::SIGCHLD), 0, 0, 0], Ends),
        try_to("connect out", libc::SYS_socket, [flags(libc::AF_INET), flags(libc::SOCK_STREAM), 0, 0], Ends),
        try_to(
            "connect here",
            libc::SYS_socket,
            [flags(libc::AF_UNIX), flags(libc::SOCK_STREAM), 0, 0],
            Ends,
        ),
        try_to("connect what is open", libc::SYS_connect, [0, limit, 16, 0], Ends),
        try_to("listen", libc::SYS_listen, [0, 1, 0, 0], Ends),
        try_to("trace its parent", libc::SYS_ptrace, [16, parent, 0, 0], Ends),
        try_to("read its parent's memory", libc::SYS_process_vm_readv, [parent, 0, 0, 0], Ends),
        try_to("hold its parent", libc::SYS_pidfd_open, [parent, 0, 0, 0], Ends),
        try_to("end its parent", libc::SYS_kill, [parent, 0, 0, 0], Ends),
        try_to("end a thread of its parent", libc::SYS_tgkill, [parent, parent, 0, 0], Ends),
        try_to("raise its limits", libc::SYS_prlimit64, [0, libc::RLIMIT_DATA as usize, limit, 0], Ends),
        try_to("leave what it sees", libc::SYS_unshare, [flags(libc::CLONE_NEWUSER), 0, 0, 0], Ends),
        try_to("go round the filters", libc::SYS_io_uring_setup, [1, limit, 0, 0], Ends),
        try_to("load a program into the kernel", libc::SYS_bpf, [0, 0, 0, 0], Ends),
        try_to("mount", libc::SYS_mount, [0, text(c"/"), 0, 0], Ends),
        try_to("read keys of the kernel", libc::SYS_keyctl, [0, 0, 0, 0], Ends),
        try_to("fork out of sight", libc::SYS_clone3, [limit, 16, 0, 0], Fails(libc::ENOSYS)),
        try_to("write a file", libc::SYS_openat, [HERE, text(c"/dev/null"), flags(libc::O_RDWR), 0], refused),
        try_to("make a file", libc::SYS_openat, [HERE, text(c"x"), flags(libc::O_CREAT), 0], refused),
        try_to("delete a file", libc::SYS_unlinkat, [HERE, text(c"x"), 0, 0], refused),
        try_to("move a file", libc::SYS_renameat, [HERE, text(c"x"), HERE, text(c"y")], refused),
        try_to(
            "make code",
            libc::SYS_mmap,
            [0, 4096, exec, flags(libc::MAP_PRIVATE | libc::MAP_ANON)],
            refused,
        ),
        try_to("change code", libc::SYS_mprotect, [0, 0, exec, 0], refused),
        try_to("make a hidden file", libc::SYS_memfd_create, [text(c"x"), 0, 0, 0], refused),
        try_to("send signals by a file", libc::SYS_fcntl, [0, flags(libc::F_SETOWN), parent, 0], refused),
        try_to("type into a terminal", libc::SYS_ioctl, [2, libc::TIOCSTI as usize, text(c"x"), 0], refused),
        try_to("send files", libc::SYS_sendmsg, [0, limit, 0, 0], refused),
        try_to("leave its core", libc::SYS_sched_setaffinity, [0, 8, limit, 0], refused),
        try_to("leave its group", libc::SYS_setsid, [0, 0, 0, 0], refused),
        try_to("become another kind", libc::SYS_personality, [0x0040_0000, 0, 0, 0], refused),
        try_to("know who it is", libc::SYS_getpid, [0, 0, 0, 0], Works),
        try_to("read its limits", libc::SYS_prlimit64, [0, libc::RLIMIT_DATA as usize, 0, 0], Works),
        try_to("describe itself", libc::SYS_openat, [HERE, text(c"/proc/self/maps"), 0, 0], Works),
    ];
    #[cfg(target_arch = "x86_64")]
    attempts.extend([
        try_to("fork as of old", libc::SYS_fork, [0, 0, 0, 0], Ends),
        try_to("write a file as of old", libc::SYS_open, [text(c"/dev/null"), 2, 0, 0], refused),
        try_to("start a program by another interface", X32_EXECVE, [text(c"/bin/sh"), 0, 0, 0], refused),
    ]);
    attempts
}

/// Files that are none of its business, which only Landlock keeps from it.
fn files_of_others(parent: usize) -> [String; 4] {
    let parents = |file: &str| format!("/proc/{parent}/{file}");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").to_owned();
    ["/etc/passwd".to_owned(), source, parents("environ"), parents("maps")]
}

#[allow(unsafe_code)]
fn make(attempt: &Attempt) -> Answer {
    let [a, b, c, d] = attempt.arguments;
    // SAFETY: pointers among the arguments are those of texts and numbers that live as long as the program; every call fails,
    // or gives a number that is not used.
    let result = unsafe { libc::syscall(attempt.call, a, b, c, d, -1_isize, 0_usize) };
    let error = std::io::Error::last_os_error().raw_os_error().unwrap_or_default();
    if result < 0 { Fails(error) } else { Works }
}

/// Not a test by itself: the process that confines itself.
#[test]
fn attempt() {
    let Ok(name) = std::env::var(ATTEMPT) else { return };
    let parent = rustix::process::getppid().expect("it has one").as_raw_pid() as usize;
    let cores = sched_getaffinity(None).expect("it has cores");
    let first = (0..CpuSet::MAX_CPU).find(|&core| cores.is_set(core)).expect("one at least");
    let order = WorkerOrder {
        path: std::env::current_exe().expect("it has a file"),
        purpose: Purpose::Generate,
        context: 1,
        step: 1,
        running_max: 1,
        cores: vec![first],
        memory_max: 1 << 30,
        gpu_layers: 0,
    };
    println!("{}", confine(&order).expect("it can be confined"));
    if name != SURVIVED {
        let attempts = attempts(parent);
        let attempt = attempts.iter().find(|attempt| attempt.name == name).expect("a name of the table");
        println!("survived: {:?}", make(attempt));
        // In both, if there are two of them now.
        std::process::exit(0);
    }
    for attempt in attempts(parent).iter().filter(|attempt| attempt.answer != Ends) {
        println!("{}: {:?}", attempt.name, make(attempt));
    }
    for file in files_of_others(parent) {
        println!("{file}: {:?}", std::fs::File::open(&file).err().map(|error| error.kind()));
    }
    assert!(std::fs::read(&order.path).is_ok(), "the model is read");
    let sum = std::thread::spawn(|| vec![1_u8; 4 << 20].into_iter().map(u64::from).sum::<u64>());
    assert_eq!(sum.join().expect("threads are made"), 4 << 20);
}

fn confined(name: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("it has a file"));
    command.args(["--exact", "--nocapture", "llama::confinement::tests::attempt"]);
    command.env_clear().env(ATTEMPT, name).output().expect("it can be started")
}

#[test]
fn a73_a_worker_that_was_taken_over_gets_nowhere() {
    let own = std::process::id() as usize;
    for attempt in attempts(own).iter().filter(|attempt| attempt.answer == Ends) {
        let output = confined(attempt.name);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("system calls restricted"), "{}: {said}", attempt.name);
        assert!(
            output.status.signal() == Some(libc::SIGSYS) && !said.contains("survived"),
            "{}: {} {said}",
            attempt.name,
            output.status
        );
    }
    let output = confined(SURVIVED);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{} {said} {}", output.status, String::from_utf8_lossy(&output.stderr));
    for attempt in attempts(own).iter().filter(|attempt| attempt.answer != Ends) {
        let line = format!("{}: {:?}", attempt.name, attempt.answer);
        assert!(said.lines().any(|said| said == line), "not `{line}` in {said}");
    }
    if !said.contains("files restricted (Landlock)") {
        eprintln!("NOT TRIED: reading files of others, since this kernel has no whole Landlock: {said}");
        return;
    }
    for file in files_of_others(own) {
        assert!(std::fs::File::open(&file).is_ok(), "{file} is there");
        assert!(said.contains(&format!("{file}: Some(PermissionDenied)")), "{file}: {said}");
    }
}
