//! Where cgroup v2 is mounted.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStringExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// The inode of the root of every cgroup2 hierarchy. A mount that shows a part of it (a container
/// with its own cgroup namespace) has another at its top.
const ROOT_INODE: u64 = 1;

/// Why a cgroup2 directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The list of mounts cannot be read.
    #[error("cannot read /proc/self/mountinfo: {0}")]
    Unreadable(io::Error),
    /// Cgroup v2 is mounted nowhere.
    #[error(
        "expected a cgroup2 mount, got none: this node has cgroup v1 only, which is not covered, or the host's /sys/fs/cgroup is not mounted here"
    )]
    NotMounted,
    /// Only parts of the hierarchy are mounted.
    #[error(
        "expected a mount of the whole cgroup2 hierarchy, got only parts of it ({0:?}): mount the host's /sys/fs/cgroup here and name it in `capture.cgroup`"
    )]
    OnlyParts(Vec<PathBuf>),
    /// The configured path is no cgroup2 directory.
    #[error("expected a cgroup2 mount at {path:?}, got {got}: correct `capture.cgroup`")]
    NotCgroup2 {
        /// The path.
        path: PathBuf,
        /// What is there.
        got: String,
    },
}

/// Finds the cgroup2 mount that shows the real root.
///
/// # Errors
///
/// If there is none.
pub fn find_cgroup_mount() -> Result<PathBuf, MountError> {
    let mounts = fs::read("/proc/self/mountinfo").map_err(MountError::Unreadable)?;
    let mounts = cgroup2_mounts(&mounts);
    if mounts.is_empty() {
        return Err(MountError::NotMounted);
    }
    match mounts.iter().find(|mount| is_real_root(mount)) {
        Some(mount) => Ok(mount.clone()),
        None => Err(MountError::OnlyParts(mounts)),
    }
}

/// Confirms that cgroup v2 is mounted at a path; whether it is the real root is told.
///
/// # Errors
///
/// If the path is no cgroup2 directory.
pub fn confirm_cgroup_mount(path: &Path) -> Result<bool, MountError> {
    /// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
    const CGROUP2: i128 = 0x6367_7270;

    let not_cgroup2 = |got| MountError::NotCgroup2 {
        path: path.to_owned(),
        got,
    };
    match rustix::fs::statfs(path) {
        Ok(system) if i128::from(system.f_type) == CGROUP2 => Ok(is_real_root(path)),
        Ok(_) => Err(not_cgroup2("another file system".to_owned())),
        Err(error) => Err(not_cgroup2(error.to_string())),
    }
}

fn is_real_root(mount: &Path) -> bool {
    fs::metadata(mount).is_ok_and(|metadata| metadata.ino() == ROOT_INODE)
}

/// The mount points of cgroup2 in the text of mountinfo (proc_pid_mountinfo(5)):
/// `36 35 98:0 / /mount/point options optional… - type source options`.
fn cgroup2_mounts(mountinfo: &[u8]) -> Vec<PathBuf> {
    let mount_point = |line: &[u8]| {
        let mut fields = line.split(|&byte| byte == b' ');
        let point = fields.nth(4)?.to_owned();
        fields.find(|&field| field == b"-")?;
        (fields.next()? == b"cgroup2").then(|| OsString::from_vec(unescape(&point)).into())
    };
    mountinfo
        .split(|&byte| byte == b'\n')
        .filter_map(mount_point)
        .collect()
}

/// Space, tab, line end and backslash stand there as three octal digits behind a backslash.
fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    while let Some((&byte, rest)) = text.split_first() {
        let escaped = match (byte, rest) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..]) => {
                Some(((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), rest))
            }
            _ => None,
        };
        let (byte, rest) = escaped.unwrap_or((byte, rest));
        plain.push(byte);
        text = rest;
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{MountError, cgroup2_mounts, confirm_cgroup_mount, find_cgroup_mount};

    #[test]
    fn mount_points() {
        let mountinfo = b"25 30 0:23 / /sys rw - sysfs sysfs rw\n\
            36 25 0:30 / /sys/fs/cgroup/unified rw,relatime shared:9 master:1 - cgroup2 cgroup2 rw\n\
            37 25 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            38 25 0:30 /a /mnt/with\\040space\\134 rw - cgroup2 none rw\n\
            39 25 0:30 / /cgroup2 rw shared:1\n\
            broken\n";
        assert_eq!(
            cgroup2_mounts(mountinfo),
            ["/sys/fs/cgroup/unified", "/mnt/with space\\"].map(PathBuf::from)
        );
        assert!(cgroup2_mounts(b"").is_empty());
    }

    #[test]
    fn the_mount_of_this_machine() {
        match find_cgroup_mount() {
            Ok(mount) => assert!(confirm_cgroup_mount(&mount).unwrap()),
            Err(error) => assert!(
                matches!(error, MountError::NotMounted | MountError::OnlyParts(_)),
                "{error}"
            ),
        }
        for path in ["/proc", "/nowhere"] {
            let error = confirm_cgroup_mount(Path::new(path)).unwrap_err();
            assert!(error.to_string().contains("capture.cgroup"), "{error}");
        }
    }
}
