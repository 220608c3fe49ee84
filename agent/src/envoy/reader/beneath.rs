//! Opening beneath `logs.root`: never out of it, never through a symbolic link, never a file that
//! is not regular, never with a wait.

use std::{io, os::fd::OwnedFd, path::Path};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2, statat,
};

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    /// When its content last changed: of a directory, when a name in it did. Nanoseconds since
    /// the epoch, as exact as the kernel's tick.
    pub(super) modified: i128,
    /// When anything about it last changed, which nobody can set: alike.
    pub(super) changed: i128,
    pub(super) regular: bool,
}

/// Opens `logs.root` itself. It is the operator's choice, so links in it are followed.
pub(super) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// Opens a directory beneath another one.
pub(super) fn open_directory(parent: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat2(parent, path, flags, Mode::empty(), resolve())?)
}

/// Opens a regular file beneath a directory; none if it is not regular.
pub(super) fn open_file(parent: &OwnedFd, name: &str) -> io::Result<Option<OwnedFd>> {
    // Opening a device or a FIFO can have an effect of its own, so its type is asked for first;
    // and again afterwards, for it may have been replaced.
    if !status_at(parent, name)?.regular {
        return Ok(None);
    }
    let flags =
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat2(parent, name, flags, Mode::empty(), resolve())?;
    Ok(status(&file)?.regular.then_some(file))
}

/// What an entry of a directory is, a link itself and not what it points to.
pub(super) fn status_at(parent: &OwnedFd, name: &str) -> io::Result<Status> {
    Ok(from_stat(&statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?))
}

/// What an open file is.
pub(super) fn status(file: &OwnedFd) -> io::Result<Status> {
    Ok(from_stat(&fstat(file)?))
}

/// The names in a directory that are UTF-8, in no order, and whether there are more than `limit`.
pub(super) fn list(directory: &OwnedFd, limit: usize) -> io::Result<(Vec<String>, bool)> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if name == "." || name == ".." {
            continue;
        }
        if names.len() == limit {
            return Ok((names, true));
        }
        names.push(name.to_owned());
    }
    Ok((names, false))
}

fn resolve() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

fn from_stat(stat: &rustix::fs::Stat) -> Status {
    Status {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        modified: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
        changed: i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec),
        regular: FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::{list, open_directory, open_file, open_root};

    #[test]
    fn opens_regular_files_beneath_the_root_only() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        fs::create_dir(path.join("d")).unwrap();
        fs::write(path.join("d/file"), "x").unwrap();
        symlink(outside.path().join("secret"), path.join("d/link")).unwrap();
        symlink(outside.path(), path.join("linked")).unwrap();
        symlink("file", path.join("d/inner")).unwrap();
        mkfifoat(CWD, path.join("d/fifo"), Mode::RUSR | Mode::WUSR).unwrap();

        let root = open_root(path).unwrap();
        let directory = open_directory(&root, "d").unwrap();
        assert!(open_file(&directory, "file").unwrap().is_some());
        for name in ["link", "inner", "fifo"] {
            assert!(open_file(&directory, name).unwrap().is_none(), "{name}");
        }
        assert!(open_directory(&root, "linked").is_err());
        assert!(open_directory(&root, "..").is_err());
        assert!(open_directory(&root, "d/../../").is_err());
        let absolute = outside.path().to_str().unwrap();
        assert!(open_directory(&root, absolute).is_err());
        assert_eq!(list(&directory, 9).unwrap().0.len(), 4);
        assert!(list(&directory, 2).unwrap().1);
    }
}
