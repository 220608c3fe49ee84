//! Who calls: for hooks that run in the caller's context only.

use agent_common::process::Process;
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid};

/// The process that runs this program.
#[inline(always)]
pub(crate) fn current() -> Process {
    Process {
        thread_group: (bpf_get_current_pid_tgid() >> 32) as u32,
        user: bpf_get_current_uid_gid() as u32,
        command: bpf_get_current_comm().unwrap_or_default(),
    }
}
