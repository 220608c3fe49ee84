//! The newest kernel of each series, from Debian's archive.
//!
//! By apt, with sources, lists and cache of its own in the target directory: it checks the
//! signature of the suite's index against Debian's keyring, and from there on every checksum. The
//! machine's own packages and lists are neither read nor changed; only the mirror's address is that
//! of its sources.
//!
//! Mirrors keep the newest version alone, and a suite may leave them one day. So what was unpacked
//! is kept until there is a newer one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

use super::image;
use crate::build;

/// The kernels that are promised, oldest first: the long-term ones of Debian's releases, and what
/// the next release will have.
pub(super) const SERIES: [Series; 4] = [
    Series {
        name: "5.10",
        suite: "bullseye-security",
        packages: &["linux-image-"],
        version: "5.10.0-",
    },
    Series {
        name: "6.1",
        suite: "bookworm-security",
        packages: &["linux-image-"],
        version: "6.1.0-",
    },
    Series {
        name: "6.12",
        suite: "trixie-security",
        packages: &["linux-image-"],
        version: "6.12.",
    },
    Series {
        name: "newest",
        suite: "sid",
        // There the image and its modules are two.
        packages: &["linux-binary-", "linux-modules-"],
        version: "",
    },
];

/// Debian's smallest kernels: what virtual machines need, and all that the programs do.
const FLAVOUR: &str = "-cloud-amd64";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Kernels of one suite.
#[derive(Clone, Copy)]
pub(super) struct Series {
    pub(super) name: &'static str,
    suite: &'static str,
    /// How the names of its packages begin; the version follows.
    packages: &'static [&'static str],
    /// How the versions begin.
    version: &'static str,
}

/// A kernel that can be booted.
pub(crate) struct Kernel {
    /// As in its package's name: `6.1.0-56`.
    pub(super) version: String,
    /// Its directory, with the parts as `image` leaves them.
    pub(super) directory: PathBuf,
}

/// The newest of a series, or, if the mirror does not answer, the one that is there.
pub(super) fn obtain(series: &Series) -> anyhow::Result<Kernel> {
    let home = build::target_dir()?.join("kernels").join(series.name);
    let error = match fetch(series, &home) {
        Ok(kernel) => return Ok(kernel),
        Err(error) => error,
    };
    let Some(kernel) = kept(&home)? else {
        return Err(error);
    };
    println!(
        "{} is there; whether there is a newer one is not known: {error:#}",
        kernel.version
    );
    Ok(kernel)
}

fn fetch(series: &Series, home: &Path) -> anyhow::Result<Kernel> {
    let apt = Apt::new(home.join("apt"), series.suite)?;
    let version = apt.newest(series.packages[0], series.version)?;
    let directory = home.join("unpacked").join(&version);
    if !directory.is_dir() {
        let names = series.packages.iter();
        let names: Vec<String> = names
            .map(|name| format!("{name}{version}{FLAVOUR}"))
            .collect();
        let packages = apt.download(&names)?;
        // A name that is there stands for a kernel that is whole.
        let unfinished = home.join("unfinished");
        image::unpack(&packages, &unfinished)?;
        let all = home.join("unpacked");
        remove(&all)?;
        fs::create_dir_all(&all)?;
        fs::rename(&unfinished, &directory)?;
        println!("{version} from {}", series.suite);
    }
    Ok(Kernel { version, directory })
}

fn kept(home: &Path) -> anyhow::Result<Option<Kernel>> {
    let Ok(mut entries) = fs::read_dir(home.join("unpacked")) else {
        return Ok(None);
    };
    let Some(entry) = entries.next() else {
        return Ok(None);
    };
    let directory = entry?.path();
    let version = directory.file_name().unwrap_or_default();
    Ok(Some(Kernel {
        version: version.to_string_lossy().into_owned(),
        directory,
    }))
}

/// Removes a directory that may not be there.
pub(super) fn remove(directory: &Path) -> anyhow::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("removing {}", directory.display()))?;
    }
    Ok(())
}

/// apt with one suite and nothing else.
struct Apt {
    root: PathBuf,
}

impl Apt {
    /// Reads the suite's index.
    fn new(root: PathBuf, suite: &str) -> anyhow::Result<Self> {
        for directory in ["lists/partial", "archives/partial", "packages"] {
            let directory = root.join(directory);
            fs::create_dir_all(&directory)
                .with_context(|| format!("creating {}", directory.display()))?;
        }
        // Nothing is installed.
        fs::write(root.join("status"), "")?;
        // An old suite's index is not signed anew after its release's end, and goes out of date.
        let source = format!(
            "deb [arch=amd64 signed-by={KEYRING} check-valid-until=no] {} {suite} main\n",
            mirror(suite)?
        );
        fs::write(root.join("sources.list"), source)?;
        let apt = Self { root };
        apt.run("apt-get", &["update", "--quiet", "--error-on=any"])?;
        Ok(apt)
    }

    /// The newest version of a package of this flavour.
    fn newest(&self, package: &str, version: &str) -> anyhow::Result<String> {
        let begin = format!("{package}{version}");
        let names = self.run("apt-cache", &["pkgnames", &begin])?;
        let versions = names.lines().filter_map(|name| {
            let version = name.strip_prefix(package)?.strip_suffix(FLAVOUR)?;
            // A metapackage names no version.
            version
                .starts_with(|c: char| c.is_ascii_digit())
                .then_some(version)
        });
        let newest = versions.max_by_key(|version| numbers(version));
        newest
            .map(str::to_owned)
            .with_context(|| format!("the suite has no package {begin}…{FLAVOUR} any more"))
    }

    /// Downloads packages, and returns where they are.
    fn download(&self, names: &[String]) -> anyhow::Result<Vec<PathBuf>> {
        let directory = self.root.join("packages");
        remove(&directory)?;
        fs::create_dir_all(&directory)?;
        let mut arguments = vec!["download", "--quiet"];
        arguments.extend(names.iter().map(String::as_str));
        self.run("apt-get", &arguments)?;
        let files: Vec<PathBuf> = fs::read_dir(&directory)?
            .map(|entry| Ok(entry?.path()))
            .collect::<anyhow::Result<_>>()?;
        ensure!(
            files.len() == names.len(),
            "expected {names:?}, got {files:?}"
        );
        Ok(files)
    }

    /// Runs a program of apt's; what it printed.
    fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let root = self.root.display();
        let mut command = Command::new(program);
        command.current_dir(self.root.join("packages"));
        for option in [
            format!("Dir::State={root}"),
            format!("Dir::State::Lists={root}/lists"),
            format!("Dir::State::Status={root}/status"),
            format!("Dir::Cache={root}"),
            format!("Dir::Cache::Archives={root}/archives"),
            format!("Dir::Etc::SourceList={root}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::Etc::Preferences=/dev/null".to_owned(),
            "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // Its own user may not reach the target directory.
            "APT::Sandbox::User=".to_owned(),
        ] {
            command.args(["--option", &option]);
        }
        output(command.args(arguments))
    }
}

/// The address under which the machine's own sources have the archive that a suite is in.
fn mirror(suite: &str) -> anyhow::Result<String> {
    let sources = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE)",
        "Identifier: Packages",
    ]))?;
    let is_security = |suite: &str| suite.ends_with("-security");
    let found = sources.lines().find_map(|line| {
        let (address, of) = line.split_once(' ')?;
        (is_security(of) == is_security(suite)).then(|| address.to_owned())
    });
    found.with_context(|| format!("no source of this machine's apt is of the kind of {suite}"))
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let name = command.get_program().display().to_string();
        bail!("{name} failed ({}): {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The numbers in a version, which are what is greater or less in it.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let newest = |versions: &[&'static str]| {
            let newest = versions.iter().max_by_key(|version| numbers(version));
            *newest.unwrap()
        };
        assert_eq!(newest(&["5.10.0-46", "5.10.0-9"]), "5.10.0-46");
        assert_eq!(
            newest(&["90+deb13", "90+deb13.1", "117+deb13"]),
            "117+deb13"
        );
        assert_eq!(newest(&["90+deb13.1", "90+deb13"]), "90+deb13.1");
        assert_eq!(newest(&["7.2.13+deb14", "7.10.1+deb14"]), "7.10.1+deb14");
    }
}
