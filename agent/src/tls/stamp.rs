use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// By what a renewed file is known: written in place, replaced by rename, or behind a symlink that
/// was turned, as Kubernetes does with its `..data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// Of what the path leads to now; none if that is nothing.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::FileStamp;

    #[test]
    fn every_way_to_renew_a_file_shows() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        assert_eq!(FileStamp::of(&at("data/tls.crt")), None);
        for name in ["1", "2"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("tls.crt"), "same length").unwrap();
        }
        symlink("1", at("data")).unwrap();
        let path = at("data/tls.crt");
        let mut stamps = vec![FileStamp::of(&path)];
        assert_eq!(stamps, [FileStamp::of(&path)]);

        symlink("2", at("new")).unwrap();
        fs::rename(at("new"), at("data")).unwrap();
        stamps.push(FileStamp::of(&path));

        fs::write(at("renamed"), "same length").unwrap();
        fs::rename(at("renamed"), &path).unwrap();
        stamps.push(FileStamp::of(&path));

        fs::write(&path, "another length").unwrap();
        stamps.push(FileStamp::of(&path));
        for (index, stamp) in stamps.iter().enumerate() {
            assert!(stamp.is_some() && !stamps[..index].contains(stamp));
        }
    }
}
