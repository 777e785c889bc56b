//! Which system calls a worker may still make once it is confined.
//!
//! Three filters lie over each other, and of their answers the strictest counts:
//!
//! 1. What only a worker that was taken over does (programs, processes, connections, other processes' memory) ends it at
//!    once, with the signal `SYS`, by which the kernel process knows what happened.
//! 2. `clone3` is as on a kernel that lacks it, since no filter can look at its arguments; the C library then makes its
//!    threads by `clone`, of which the filters let nothing but threads pass.
//! 3. What is not in [`NEEDED`] fails with EPERM: found by `strace -f` of workers that generate, embed and fail, and by what
//!    the C library does for the same calls elsewhere.
//!
//! A driver of a GPU makes calls of its own, connects to a service and tries to start a program. So a build that has such
//! drivers refuses the first list by EPERM and does without the third.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

/// System calls, each with the rules of which one must hold. Without rules it is meant whatever its arguments are.
type Calls = BTreeMap<libc::c_long, Vec<SeccompRule>>;

/// Only who was taken over makes them.
const HOSTILE: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_io_uring_setup,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
];

/// Whatever their arguments are, they change nothing outside of the process.
const NEEDED: &[libc::c_long] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Files and sockets that are open. `recvfrom` and `sendto` are how the standard library reads and writes sockets.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_fadvise64,
    // Files that Landlock lets be looked at.
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    // Threads of its own.
    libc::SYS_clone3, // decided by the second filter
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Signals to itself.
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    // Time, chance, and what machine this is.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_uname,
    libc::SYS_sysinfo,
];

/// Restricts all threads of this process for ever. `with_drivers`: of GPUs.
pub(super) fn restrict(with_drivers: bool) -> Result<(), String> {
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let hostile = if with_drivers { refused.clone() } else { SeccompAction::KillProcess };
    let mut calls = hostile_calls()?;
    if with_drivers {
        // All others are refused by the third filter.
        calls.insert(libc::SYS_sched_setaffinity, Vec::new());
    }
    apply(calls, hostile, SeccompAction::Allow)?;
    apply([(libc::SYS_clone3, Vec::new())].into(), absent, SeccompAction::Allow)?;
    if with_drivers { Ok(()) } else { apply(needed_calls()?, SeccompAction::Allow, refused) }
}

fn hostile_calls() -> Result<Calls, String> {
    let mut calls: Calls = HOSTILE.iter().map(|call| (*call, Vec::new())).collect();
    calls.insert(libc::SYS_clone, vec![argument(0, bits(libc::CLONE_THREAD), 0)?]);
    let itself = u64::from(std::process::id());
    calls.insert(libc::SYS_tgkill, vec![argument(0, SeccompCmpOp::Ne, itself)?]);
    calls.insert(libc::SYS_prlimit64, vec![pointer(2, SeccompCmpOp::Ne)?]);
    calls.insert(libc::SYS_setrlimit, Vec::new());
    Ok(calls)
}

fn needed_calls() -> Result<Calls, String> {
    let mut calls: Calls = NEEDED.iter().map(|call| (*call, Vec::new())).collect();
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    calls.insert(libc::SYS_clone, vec![argument(0, bits(libc::CLONE_THREAD), thread)?]);
    let itself = u64::from(std::process::id());
    calls.insert(libc::SYS_tgkill, vec![argument(0, SeccompCmpOp::Eq, itself)?]);
    // Limits are read, not set.
    calls.insert(libc::SYS_prlimit64, vec![pointer(2, SeccompCmpOp::Eq)?]);
    // Files are read, also where there is no Landlock.
    let writes = bits(libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC);
    calls.insert(libc::SYS_openat, vec![argument(2, writes.clone(), 0)?]);
    #[cfg(target_arch = "x86_64")]
    calls.insert(libc::SYS_open, vec![argument(1, writes, 0)?]);
    // No new code: all libraries are there.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        calls.insert(call, vec![argument(2, bits(libc::PROT_EXEC), 0)?]);
    }
    // Not whom a signal goes to when something arrives.
    let commands = [libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL];
    let command = |command: libc::c_int| argument(1, SeccompCmpOp::Eq, u64::from(command.cast_unsigned()));
    calls.insert(libc::SYS_fcntl, commands.into_iter().map(command).collect::<Result<_, _>>()?);
    Ok(calls)
}

/// Looks at these bits only.
fn bits(mask: libc::c_int) -> SeccompCmpOp {
    SeccompCmpOp::MaskedEq(mask.cast_unsigned().into())
}

/// Holds where an argument of 32 bits compares so with a value.
fn argument(index: u8, comparison: SeccompCmpOp, value: u64) -> Result<SeccompRule, String> {
    rule(index, SeccompCmpArgLen::Dword, comparison, value)
}

/// Holds where an argument that is an address compares so with none.
fn pointer(index: u8, comparison: SeccompCmpOp) -> Result<SeccompRule, String> {
    rule(index, SeccompCmpArgLen::Qword, comparison, 0)
}

fn rule(
    index: u8,
    length: SeccompCmpArgLen,
    comparison: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, String> {
    SeccompCondition::new(index, length, comparison, value)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(|error| format!("cannot make a seccomp rule: {error}"))
}

/// A kernel without seccomp is refused.
fn apply(calls: Calls, these: SeccompAction, others: SeccompAction) -> Result<(), String> {
    let target = std::env::consts::ARCH.try_into().map_err(|error| format!("no seccomp here: {error}"))?;
    let filter = SeccompFilter::new(calls, others, these, target)
        .and_then(BpfProgram::try_from)
        .map_err(|error| format!("cannot make the seccomp filter: {error}"))?;
    apply_filter_all_threads(&filter).map_err(|error| {
        format!("cannot forbid network and exec ({error}); run llmos where seccomp filters are allowed")
    })
}
