//! Where the cgroup v2 hierarchy is mounted.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use thiserror::Error;

/// The inode of the hierarchy's real root, in every kernel.
const ROOT_INODE: u64 = 1;
const MOUNTS: &str = "/proc/self/mountinfo";

/// Why the root of the hierarchy is not known.
#[derive(Debug, Error)]
pub enum MountError {
    /// The mounts could not be read.
    #[error("{MOUNTS} could not be read")]
    Unreadable(#[source] io::Error),
    /// No cgroup v2 is mounted.
    #[error(
        "no cgroup v2 hierarchy is mounted: this node runs with cgroup v1 only, or it was not \
         mounted into this container; boot with systemd.unified_cgroup_hierarchy=1, or mount the \
         host's /sys/fs/cgroup"
    )]
    None,
    /// Cgroup v2 is mounted, but only parts of it.
    #[error(
        "none of the cgroup v2 mounts shows the root of the hierarchy (expected inode \
         {ROOT_INODE}): {}; run in the host's cgroup namespace, or mount the host's \
         /sys/fs/cgroup and name it in `capture.cgroup`",
        list(paths)
    )]
    NotTheRoot {
        /// The mounts that there are.
        paths: Vec<PathBuf>,
    },
    /// The configured path is no cgroup2 directory.
    #[error(
        "expected a cgroup v2 mount at {}, got {got}; correct `capture.cgroup`",
        escaped(path)
    )]
    NotCgroup2 {
        /// The path.
        path: PathBuf,
        /// What is there.
        got: String,
    },
}

/// The directory of the cgroup v2 hierarchy's real root.
///
/// # Errors
/// Nothing is mounted, or only a part of the hierarchy as a container sees it.
pub fn cgroup2_root() -> Result<PathBuf, MountError> {
    let mounts = fs::read(MOUNTS).map_err(MountError::Unreadable)?;
    choose(cgroup2_mounts(&mounts), inode)
}

/// Confirms that cgroup v2 is mounted at a path. False: it shows only a part of the hierarchy.
///
/// # Errors
/// The path is no cgroup2 directory.
pub fn is_cgroup2_root(path: &Path) -> Result<bool, MountError> {
    /// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
    const CGROUP2: i128 = 0x6367_7270;

    let not_cgroup2 = |got| MountError::NotCgroup2 {
        path: path.to_owned(),
        got,
    };
    match rustix::fs::statfs(path) {
        Ok(system) if i128::from(system.f_type) == CGROUP2 => Ok(inode(path) == Some(ROOT_INODE)),
        Ok(_) => Err(not_cgroup2("another file system".to_owned())),
        Err(error) => Err(not_cgroup2(error.to_string())),
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|directory| directory.ino())
}

fn choose(
    paths: Vec<PathBuf>,
    inode: impl Fn(&Path) -> Option<u64>,
) -> Result<PathBuf, MountError> {
    if paths.is_empty() {
        return Err(MountError::None);
    }
    match paths.iter().find(|path| inode(path) == Some(ROOT_INODE)) {
        Some(path) => Ok(path.clone()),
        None => Err(MountError::NotTheRoot { paths }),
    }
}

/// The mount points of type cgroup2 (proc(5): the mount point is the fifth field, the type the
/// first behind the lone hyphen).
fn cgroup2_mounts(mounts: &[u8]) -> Vec<PathBuf> {
    mounts
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ');
            let path = fields.nth(4)?;
            fields.find(|field| *field == b"-")?;
            (fields.next()? == b"cgroup2").then(|| unescape(path))
        })
        .collect()
}

/// Space, tab, newline and backslash stand as three octal digits behind a backslash.
fn unescape(mut path: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(path.len());
    while let Some((&byte, rest)) = path.split_first() {
        let (byte, rest) = match (byte, rest) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..]) => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), rest)
            }
            plain => plain,
        };
        plain.push(byte);
        path = rest;
    }
    PathBuf::from(OsString::from_vec(plain))
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| escaped(path)).collect();
    paths.join(", ")
}

pub(super) fn escaped(path: &Path) -> String {
    path.as_os_str().as_bytes().escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{MountError, cgroup2_mounts, cgroup2_root, choose, is_cgroup2_root};

    const MOUNTINFO: &[u8] = b"\
22 1 0:20 / /proc rw,nosuid - proc proc rw
30 25 0:26 /kubepods /run/part\\040of\\134 rw shared:5 - cgroup2 cgroup rw
31 25 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:6 master:1 - cgroup2 cgroup2 rw,nsdelegate
32 25 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
39 25 0:30 / /cgroup2 rw shared:1
short line
";

    #[test]
    fn takes_the_mount_whose_root_is_the_real_one() {
        let mounts = cgroup2_mounts(MOUNTINFO);
        let unified = PathBuf::from("/sys/fs/cgroup/unified");
        assert_eq!(mounts, [PathBuf::from("/run/part of\\"), unified.clone()]);
        let inode = |path: &Path| Some(if path == unified { 1 } else { 77 });
        assert_eq!(choose(mounts.clone(), inode).unwrap(), unified);
        let error = choose(mounts, |_| Some(77)).unwrap_err();
        assert!(matches!(&error, MountError::NotTheRoot { paths } if paths.len() == 2));
        assert!(error.to_string().contains("/run/part of"));
        assert!(matches!(
            choose(Vec::new(), |_| Some(1)),
            Err(MountError::None)
        ));
    }

    #[test]
    fn agrees_with_this_system() {
        match cgroup2_root() {
            Ok(path) => assert!(is_cgroup2_root(&path).unwrap()),
            Err(error) => assert!(matches!(
                error,
                MountError::None | MountError::NotTheRoot { .. }
            )),
        }
        for path in ["/proc", "/nowhere"] {
            let error = is_cgroup2_root(Path::new(path)).unwrap_err();
            assert!(error.to_string().contains("capture.cgroup"), "{error}");
        }
    }
}
