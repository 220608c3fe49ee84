//! The trial that `check` makes.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
};

use meshwitness::capture::{
    FeatureStanding, ForeignEffect, LoadError, cgroup2_root, drop_privileges, probe,
};

use crate::scene::Scene;

#[test]
fn a_trial_finds_this_kernel_in_order_beside_an_agent() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 16);
    let root = cgroup2_root().unwrap();
    let found = probe(&root, &[scene.root().to_owned()]);
    assert!(found.missing_capabilities.is_empty());
    assert_eq!(found.features.len(), 11);
    for feature in &found.features {
        assert_eq!(feature.standing, FeatureStanding::Present, "{feature:?}");
    }
    found.programs.unwrap();
    assert_eq!(found.foreign.unwrap(), []);
    let [(cgroup, attached)] = &found.attachments[..] else {
        panic!("{:?}", found.attachments);
    };
    assert_eq!(cgroup, scene.root());
    assert!(attached.is_ok(), "{attached:?}");
    // The agent's own capture goes on.
    watched.all();
}

#[test]
fn a_program_that_lets_no_other_in_is_named() {
    let scene = Scene::new();
    let [client, server] = ["client", "server"].map(|part| scene.root().join(part));
    for part in [&client, &server] {
        fs::create_dir(part).unwrap();
    }
    let blocked = |cgroups: &[PathBuf]| {
        let found = probe(&cgroup2_root().unwrap(), cgroups);
        let foreign = found.foreign.unwrap();
        assert_eq!(foreign.len(), 1, "{foreign:?}");
        assert_eq!(foreign[0].hook, "cgroup_inet_egress");
        assert_eq!(foreign[0].ids.len(), 1);
        assert_eq!(foreign[0].names, [Some("exclusive".to_owned())]);
        let blocked: Vec<_> = found
            .attachments
            .iter()
            .map(|(_, result)| match result {
                Ok(()) => false,
                Err(error @ LoadError::Attach { .. }) => {
                    let text = error.to_string();
                    assert!(text.contains("without BPF_F_ALLOW_MULTI"), "{text}");
                    true
                }
                Err(error) => panic!("{error}"),
            })
            .collect();
        (foreign[0].cgroup.clone(), foreign[0].effect, blocked)
    };

    let program = Exclusive::attach(&client, NO_FLAGS).unwrap();
    assert_eq!(
        blocked(&[client.clone(), server]),
        (client.clone(), ForeignEffect::Blocks, vec![true, false])
    );
    drop(program);

    let root = scene.root().to_owned();
    let program = Exclusive::attach(&root, NO_FLAGS).unwrap();
    assert_eq!(
        blocked(&[root.clone(), client.clone()]),
        (root.clone(), ForeignEffect::Blocks, vec![true, true])
    );
    drop(program);

    let _program = Exclusive::attach(&root, BPF_F_ALLOW_OVERRIDE).unwrap();
    assert_eq!(
        blocked(&[client]),
        (root, ForeignEffect::Silenced, vec![false])
    );
}

#[test]
fn missing_capabilities_are_named() {
    let scene = Scene::new();
    let cgroups = [scene.root().to_owned()];
    // Capabilities belong to threads.
    let unprivileged = thread::spawn(move || {
        drop_privileges().unwrap();
        probe(&cgroup2_root().unwrap(), &cgroups)
    });
    let found = unprivileged.join().unwrap();
    assert_eq!(
        found.missing_capabilities,
        ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]
    );
    assert!(found.features.is_empty() && found.attachments.is_empty());
    let error = found.programs.unwrap_err().to_string();
    assert!(
        error.contains("lacks CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN"),
        "{error}"
    );
    assert_eq!(found.foreign.unwrap_err().raw_os_error(), Some(libc::EPERM));
}

/// A program of somebody else's, attached as one does who wants the cgroup for himself.
struct Exclusive {
    program: OwnedFd,
    cgroup: File,
}

impl Exclusive {
    fn attach(cgroup: &Path, flags: u32) -> io::Result<Self> {
        // r0 = 1; exit
        const LET_PASS: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];
        let mut load = Load {
            program_type: BPF_PROG_TYPE_CGROUP_SKB,
            instruction_count: 2,
            instructions: LET_PASS.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            unused: [0; 6],
            name: *b"exclusive\0\0\0\0\0\0\0",
            further: [0; 2],
        };
        let number = bpf(BPF_PROG_LOAD, &mut load)?;
        // SAFETY: the kernel has just opened it, for nobody else.
        let program = unsafe { OwnedFd::from_raw_fd(number) };
        let program = Self {
            program,
            cgroup: File::open(cgroup)?,
        };
        bpf(BPF_PROG_ATTACH, &mut program.attachment(flags))?;
        Ok(program)
    }

    fn attachment(&self, flags: u32) -> Attachment {
        Attachment {
            cgroup: self.cgroup.as_raw_fd(),
            program: self.program.as_raw_fd(),
            attach_type: BPF_CGROUP_INET_EGRESS,
            flags,
        }
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        let _ = bpf(BPF_PROG_DETACH, &mut self.attachment(NO_FLAGS));
    }
}

fn bpf<T: Attributes>(command: i32, attributes: &mut T) -> io::Result<i32> {
    let size = size_of::<T>();
    // SAFETY: the kernel reads that many bytes there, and what they point to, which outlives the
    // call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) };
    match i32::try_from(result) {
        Ok(number) if number >= 0 => Ok(number),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A part of `union bpf_attr` (linux/bpf.h).
trait Attributes {}

#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    unused: [u32; 6],
    name: [u8; 16],
    further: [u32; 2],
}

#[repr(C)]
struct Attachment {
    cgroup: i32,
    program: i32,
    attach_type: u32,
    flags: u32,
}

impl Attributes for Load {}
impl Attributes for Attachment {}

/// The numbers of linux/bpf.h.
const BPF_PROG_LOAD: i32 = 5;
const BPF_PROG_ATTACH: i32 = 8;
const BPF_PROG_DETACH: i32 = 9;
const BPF_PROG_TYPE_CGROUP_SKB: u32 = 8;
const BPF_CGROUP_INET_EGRESS: u32 = 1;
const NO_FLAGS: u32 = 0;
const BPF_F_ALLOW_OVERRIDE: u32 = 1;
