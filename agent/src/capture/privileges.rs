//! Giving up privileges once the programs are attached.

use std::io;

use rustix::{
    io::Errno,
    process::{DumpableBehavior, set_dumpable_behavior},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
};

/// What loading and attaching need.
const NEEDED: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
];

/// Gives up all capabilities of the calling thread for good, sets no_new_privs, and makes the
/// process not dumpable. Draining goes on without.
///
/// Threads have capabilities of their own, and new ones inherit them: call this before any other
/// thread is started.
///
/// # Errors
/// What the kernel said. The privileges may then be partly there; do not go on.
pub fn drop_privileges() -> io::Result<()> {
    clear_ambient_capability_set()?;
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // EINVAL: newer than the kernel. EPERM: that takes CAP_SETPCAP, without which the
            // bounding set is of no use to us either, since no_new_privs is set below.
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    set_no_new_privs(true)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// The needed capabilities that the calling thread lacks.
pub(super) fn missing() -> Vec<&'static str> {
    let effective = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    // Before 5.8 both were part of it.
    if effective.contains(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN) {
        return Vec::new();
    }
    let lacking = NEEDED
        .iter()
        .filter(|(capability, _)| !effective.contains(*capability));
    lacking.map(|(_, name)| *name).collect()
}

/// What to check when the kernel said EPERM.
pub(super) fn hint() -> String {
    let lack = lack();
    if lack.is_empty() {
        return ": the capabilities are there, so a security module forbids it, or, before Linux 5.11, \
                the limit on locked memory (RLIMIT_MEMLOCK)"
            .to_owned();
    }
    lack
}

/// What is missing, if anything is.
pub(super) fn lack() -> String {
    let missing = missing();
    if missing.is_empty() {
        return String::new();
    }
    format!(": the agent lacks {}", missing.join(", "))
}
