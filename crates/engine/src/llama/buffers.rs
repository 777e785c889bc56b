//! What llama.cpp says of the memory that it reserves. It says so in its log only.

use std::{
    ffi::{CStr, c_char, c_void},
    io::{self, Write},
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

/// Between the name of a kind of memory and the size of the buffer for graphs there
/// (`llama_context::sched_reserve` of llama.cpp b10200).
const SAYS_SIZE: &str = " compute buffer size =";
/// Names of main memory: alone, or as a device sees it (`CUDA_Host`).
const HOST: &str = "CPU";
const HOST_OF_DEVICE: &str = "_Host";

/// Bytes; 0 until llama.cpp said it.
static GRAPH_RESERVED: AtomicU64 = AtomicU64::new(0);

/// Listens to llama.cpp's log from now on. Every line still goes to standard error.
#[allow(unsafe_code)]
pub(super) fn listen() {
    // SAFETY: `hear` may be called from any thread at any time, and the pointer that it is given is not used.
    unsafe { llama_cpp_sys_2::llama_log_set(Some(hear), ptr::null_mut()) };
}

/// Bytes that are reserved for graphs in main memory.
pub(super) fn graph_reserved() -> Option<u64> {
    Some(GRAPH_RESERVED.load(Ordering::Relaxed)).filter(|&bytes| bytes > 0)
}

// SAFETY: only llama.cpp calls it, with a NUL-terminated text.
#[allow(unsafe_code)]
unsafe extern "C" fn hear(_: llama_cpp_sys_2::ggml_log_level, text: *const c_char, _: *mut c_void) {
    // SAFETY: llama.cpp passes a NUL-terminated text, which lives as long as this call.
    let text = unsafe { CStr::from_ptr(text) };
    // Nobody reads a closed standard error, and that is no reason to stop.
    let _ = io::stderr().write_all(text.to_bytes());
    if let Some(bytes) = text.to_str().ok().and_then(on_host) {
        // Said again when the graph changes: the last size counts.
        GRAPH_RESERVED.store(bytes, Ordering::Relaxed);
    }
}

/// `sched_reserve:        CPU compute buffer size =    52.38 MiB`, in bytes.
fn on_host(line: &str) -> Option<u64> {
    let (before, size) = line.split_once(SAYS_SIZE)?;
    let name = before.rsplit(' ').next()?;
    if name != HOST && !name.ends_with(HOST_OF_DEVICE) {
        return None;
    }
    let mib: f64 = size.trim().strip_suffix("MiB")?.trim().parse().ok()?;
    (mib.is_finite() && mib > 0.0).then_some((mib * f64::from(1 << 20)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_the_hosts_buffer_is_heard() {
        for (line, bytes) in [
            ("sched_reserve:        CPU compute buffer size =    52.50 MiB\n", Some(55_050_240)),
            ("sched_reserve:  CUDA_Host compute buffer size =     1.00 MiB\n", Some(1 << 20)),
            ("sched_reserve:      CUDA0 compute buffer size =    52.50 MiB\n", None),
            ("llama_kv_cache:        CPU KV buffer size =    45.00 MiB\n", None),
            ("sched_reserve: CPU compute buffer size = much\n", None),
            ("sched_reserve: CPU compute buffer size = -1 MiB\n", None),
            ("", None),
        ] {
            assert_eq!(on_host(line), bytes, "{line}");
        }
    }
}
