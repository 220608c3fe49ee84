//! Programs of others at cgroups that do not go together with ours.
//!
//! | attached | without flags | with `BPF_F_ALLOW_OVERRIDE` |
//! |---|---|---|
//! | above ours | ours cannot be attached | it no longer runs where ours do |
//! | where ours are to be | ours cannot be attached | ours cannot be attached |
//!
//! Programs that are attached by links or with `BPF_F_ALLOW_MULTI` run beside ours, and ours run
//! whatever is attached below them (linux/bpf.h, above `BPF_F_ALLOW_OVERRIDE`).

use std::{
    fmt,
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::{Path, PathBuf},
};

use aya::programs::loaded_programs;

use super::mounts::escaped;

/// Programs of one hook at one cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignPrograms {
    /// Where they are attached.
    pub cgroup: PathBuf,
    /// The hook, as `bpftool` calls it.
    pub hook: &'static str,
    /// What the kernel calls them, for `bpftool prog show id`.
    pub ids: Vec<u32>,
    /// What their owners call them, as far as the kernel tells that (it wants CAP_SYS_ADMIN).
    pub names: Vec<Option<String>>,
    /// The flags they were attached with: `none`, `BPF_F_ALLOW_OVERRIDE`.
    pub flags: &'static str,
    /// What that means for ours.
    pub effect: ForeignEffect,
}

/// What programs of others mean for ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignEffect {
    /// Ours cannot be attached.
    Blocks,
    /// They do not run any more where ours are attached.
    Silenced,
}

impl fmt::Display for ForeignPrograms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names.iter().chain(std::iter::repeat(&None));
        let named = self.ids.iter().zip(names).map(|(id, name)| match name {
            Some(name) => format!("{id} ({})", name.escape_default()),
            None => id.to_string(),
        });
        let programs = named.collect::<Vec<_>>().join(", ");
        let (hook, cgroup, flags) = (self.hook, escaped(&self.cgroup), self.flags);
        write!(
            f,
            "programs {programs} of others at {hook} of {cgroup}, attached with flags: {flags}, "
        )?;
        f.write_str(match self.effect {
            ForeignEffect::Blocks => "let no other be attached there or below",
            ForeignEffect::Silenced => "do not run where the agent is attached",
        })
    }
}

/// Programs that do not go together with ours at `cgroups`, which lie below `mount`. Needs
/// CAP_NET_ADMIN.
///
/// # Errors
/// What the kernel said. A cgroup that is gone is none.
pub(super) fn find(mount: &Path, cgroups: &[PathBuf]) -> io::Result<Vec<ForeignPrograms>> {
    let mut found = Vec::new();
    for cgroup in cgroups {
        look(cgroup, false, &mut found)?;
        for above in cgroup.ancestors().skip(1) {
            if !above.starts_with(mount) {
                break;
            }
            look(above, true, &mut found)?;
        }
    }
    Ok(found)
}

/// `above`: ours are to be attached somewhere below this cgroup, not at it.
fn look(cgroup: &Path, above: bool, found: &mut Vec<ForeignPrograms>) -> io::Result<()> {
    let directory = match File::open(cgroup) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for (hook, attach_type) in HOOKS {
        let attached = match query(directory.as_fd(), attach_type) {
            Ok(attached) => attached,
            // It was removed meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(effect) = attached.effect(above) else {
            continue;
        };
        let programs = ForeignPrograms {
            cgroup: cgroup.to_owned(),
            hook,
            names: attached.ids.iter().map(|id| name(*id)).collect(),
            flags: match attached.flags & BPF_F_ALLOW_OVERRIDE {
                0 => "none",
                _ => "BPF_F_ALLOW_OVERRIDE",
            },
            ids: attached.ids,
            effect,
        };
        if !found.contains(&programs) {
            found.push(programs);
        }
    }
    Ok(())
}

fn name(id: u32) -> Option<String> {
    let mut programs = loaded_programs().map_while(Result::ok);
    let program = programs.find(|program| program.id() == id)?;
    let name = program.name_as_str().filter(|name| !name.is_empty())?;
    Some(name.to_owned())
}

/// What is attached at one hook of one cgroup.
struct Attached {
    flags: u32,
    ids: Vec<u32>,
}

impl Attached {
    fn effect(&self, above: bool) -> Option<ForeignEffect> {
        if self.ids.is_empty() || self.flags & BPF_F_ALLOW_MULTI != 0 {
            return None;
        }
        Some(match above && self.flags & BPF_F_ALLOW_OVERRIDE != 0 {
            true => ForeignEffect::Silenced,
            false => ForeignEffect::Blocks,
        })
    }
}

fn query(cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<Attached> {
    let mut ids = [0_u32; MOST_PROGRAMS];
    let mut attributes = Query {
        target_fd: cgroup.as_raw_fd(),
        attach_type,
        ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(MOST_PROGRAMS).unwrap_or(u32::MAX),
        ..Query::default()
    };
    let size = size_of::<Query>();
    // SAFETY: the kernel reads and writes `attributes`, of the given size, and writes at most
    // `count` numbers to `ids`; both outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &mut attributes, size) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let count = usize::try_from(attributes.count).unwrap_or(usize::MAX);
    Ok(Attached {
        flags: attributes.attach_flags,
        ids: ids[..count.min(MOST_PROGRAMS)].to_vec(),
    })
}

/// `query` of `union bpf_attr` in linux/bpf.h. Whole up to `revision`: kernels that know that
/// field write it whatever size they are told.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: i32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    reserved: u32,
    attach_flags_of_each: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

const _: () = assert!(size_of::<Query>() == 64);

/// The numbers of linux/bpf.h, `enum bpf_cmd`.
const BPF_PROG_QUERY: i32 = 16;
const BPF_F_ALLOW_OVERRIDE: u32 = 1;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Those at which ours are attached, with their numbers in `enum bpf_attach_type`.
const HOOKS: [(&str, u32); 7] = [
    ("cgroup_inet_egress", 1),
    ("cgroup_sock_ops", 3),
    ("cgroup_inet4_connect", 10),
    ("cgroup_inet6_connect", 11),
    ("cgroup_inet4_post_bind", 12),
    ("cgroup_inet6_post_bind", 13),
    ("cgroup_inet_sock_release", 34),
];

/// `BPF_CGROUP_MAX_PROGS` of the kernel: no cgroup has more at a hook.
const MOST_PROGRAMS: usize = 64;

#[cfg(test)]
mod tests {
    use super::{
        Attached, BPF_F_ALLOW_MULTI, BPF_F_ALLOW_OVERRIDE,
        ForeignEffect::{Blocks, Silenced},
    };

    #[test]
    fn only_programs_that_do_not_share_matter() {
        for (flags, at, above) in [
            (0, Some(Blocks), Some(Blocks)),
            (BPF_F_ALLOW_OVERRIDE, Some(Blocks), Some(Silenced)),
            (BPF_F_ALLOW_MULTI, None, None),
        ] {
            let ids = vec![7];
            let attached = Attached { flags, ids };
            assert_eq!(attached.effect(false), at, "{flags}");
            assert_eq!(attached.effect(true), above, "{flags}");
        }
        let nothing = Attached {
            flags: 0,
            ids: Vec::new(),
        };
        assert_eq!(nothing.effect(false), None);
    }
}
