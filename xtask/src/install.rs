//! `install`: what a machine needs to build, to test and to run the demo. The one list of it.
//!
//! What is there is left alone; when everything is there, nothing is started and nothing printed.

use std::{
    env,
    ffi::OsString,
    io::{self, BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use lab::requirements;

use crate::build::{self, Toolchain};

/// A compiler with a precompiled `core` for BPF, as Debian packages it. Not needed where rustup's
/// nightly has `rust-src`.
const BPF_TOOLCHAIN: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
/// The release of those packages that is known to work, where Debian has it.
const BPF_TOOLCHAIN_VERSION: &str = "1.96";
/// The LLVM of that compiler, which bpf-linker links.
const LLVM_PACKAGE: &str = "llvm-22-dev";
const LLVM: &str = "/usr/lib/llvm-22";
const LLVM_FEATURE: &str = "llvm-22";
const LINKER: &str = "bpf-linker";
const LINKER_VERSION: &str = "0.13.0";
/// What boots kernels: Debian's packages, each with a program that shows whether it is there.
const MACHINE: [(&str, &str); 5] = [
    ("qemu-system-x86", "qemu-system-x86_64"),
    ("busybox-static", "busybox"),
    ("lz4", "lz4"),
    ("xz-utils", "xz"),
    ("zstd", "zstd"),
];
/// What libFuzzer is compiled with.
const FUZZING: [(&str, &str); 1] = [("g++", "c++")];

/// What `install` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Do not ask before installing
    #[arg(long, short)]
    yes: bool,
}

/// Installs what is missing and says what that was.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if !ensure_all(options.yes)? {
        println!("Everything is there.");
    }
    Ok(())
}

/// Installs what is missing; whether anything was. Says first what that is and asks on a terminal,
/// unless `yes`.
pub(crate) fn ensure_all(yes: bool) -> anyhow::Result<bool> {
    ensure_found(Missing::find(&[&MACHINE[..], &FUZZING].concat()), yes)
}

/// The same without what boots kernels.
pub(crate) fn ensure_lab(yes: bool) -> anyhow::Result<bool> {
    ensure_found(Missing::find(&[]), yes)
}

/// The same, with what compiles libFuzzer.
pub(crate) fn ensure_fuzzing(yes: bool) -> anyhow::Result<bool> {
    ensure_found(Missing::find(&FUZZING), yes)
}

fn ensure_found(missing: Missing, yes: bool) -> anyhow::Result<bool> {
    if missing.is_nothing() {
        return Ok(false);
    }
    missing.tell();
    confirm(yes)?;
    missing.install()?;
    Ok(true)
}

/// What is not there.
struct Missing {
    /// Packages of the BPF toolchain, which want a certain release.
    toolchain: Vec<&'static str>,
    /// Other packages of Debian.
    packages: Vec<&'static str>,
    linker: bool,
    wheels: bool,
}

impl Missing {
    /// Of what builds and what the lab runs, and of these packages.
    fn find(also: &[(&'static str, &'static str)]) -> Self {
        let toolchain = match Toolchain::find() {
            Some(_) => Vec::new(),
            None => BPF_TOOLCHAIN.to_vec(),
        };
        let linker = build::find_on_path(LINKER).is_none();
        let mut packages = Vec::new();
        if linker && !Path::new(LLVM).join("bin/llvm-config").exists() {
            packages.push(LLVM_PACKAGE);
        }
        let others = requirements::PACKAGES.iter().chain(also);
        packages.extend(others.filter_map(|(package, program)| {
            let is_there = match *package {
                // Debian's python3 runs without this package, but makes no environment.
                "python3-venv" => can_make_environments(),
                // The package without -static has a program of the same name.
                "busybox-static" => is_static(program),
                _ => is_program(program),
            };
            (!is_there).then_some(*package)
        }));
        Self {
            toolchain,
            packages,
            linker,
            wheels: requirements::wheels().is_err(),
        }
    }

    fn is_nothing(&self) -> bool {
        let Self {
            toolchain,
            packages,
            linker,
            wheels,
        } = self;
        toolchain.is_empty() && packages.is_empty() && !linker && !wheels
    }

    fn tell(&self) {
        println!("This will be installed:");
        let packages: Vec<&str> = self
            .toolchain
            .iter()
            .chain(&self.packages)
            .copied()
            .collect();
        if !packages.is_empty() {
            println!("  by apt-get:    {}", packages.join(" "));
        }
        if self.linker {
            println!("  by cargo:      {LINKER} {LINKER_VERSION}, into cargo's own bin directory");
        }
        if self.wheels {
            println!(
                "  by pip:        Envoy and grpcio, into a virtual environment in the target directory"
            );
        }
    }

    fn install(&self) -> anyhow::Result<()> {
        if !self.toolchain.is_empty() || !self.packages.is_empty() {
            self.install_packages()?;
        }
        if self.linker {
            install_linker()?;
        }
        // Nothing is left for it to do but the wheels.
        requirements::install()?;
        ensure!(
            Toolchain::find().is_some(),
            "no toolchain for BPF after the installation of {}; instead of these packages, \
             rustup's nightly will do: rustup toolchain install nightly --component rust-src",
            BPF_TOOLCHAIN.join(", ")
        );
        Ok(())
    }

    fn install_packages(&self) -> anyhow::Result<()> {
        ensure!(
            is_program("apt-get"),
            "there is no apt-get here: install by other means what Debian has in {} {}",
            self.toolchain.join(" "),
            self.packages.join(" ")
        );
        crate::require_root("install")?;
        build::execute(Command::new("apt-get").args(["update", "--quiet"]))?;
        build::execute(
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(["install", "--yes", "--quiet", "--no-install-recommends"])
                .args(self.toolchain.iter().map(|package| pinned(package)))
                .args(&self.packages)
                .stdin(Stdio::null()),
        )
    }
}

/// `package=1.96*` where apt knows that release, else the name alone.
fn pinned(package: &str) -> String {
    let known = Command::new("apt-cache")
        .args(["madison", package])
        .output()
        .is_ok_and(|output| {
            String::from_utf8_lossy(&output.stdout).lines().any(|line| {
                let version = line.split('|').nth(1).unwrap_or_default().trim();
                version.starts_with(BPF_TOOLCHAIN_VERSION)
            })
        });
    if known {
        format!("{package}={BPF_TOOLCHAIN_VERSION}*")
    } else {
        package.to_owned()
    }
}

/// bpf-linker from its crate, against the LLVM of the packaged compiler.
fn install_linker() -> anyhow::Result<()> {
    let mut path = OsString::from(format!("{LLVM}/bin:"));
    path.push(env::var_os("PATH").unwrap_or_default());
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["install", LINKER, "--version", LINKER_VERSION])
        .args(["--no-default-features", "--features", LLVM_FEATURE])
        .env("LLVM_PREFIX", LLVM)
        .env("PATH", path)
        .env("RUSTFLAGS", format!("-L{LLVM}/lib"))
        .env_remove("CARGO_TARGET_DIR")
        .current_dir("/");
    build::execute(&mut command)?;
    ensure!(
        build::find_on_path(LINKER).is_some(),
        "{LINKER} was installed, but not into a directory on PATH: add cargo's bin directory to it"
    );
    Ok(())
}

/// Asks on a terminal; elsewhere nobody could answer, and the command itself was the order.
fn confirm(yes: bool) -> anyhow::Result<()> {
    let input = io::stdin();
    if yes || !input.is_terminal() || !io::stdout().is_terminal() {
        return Ok(());
    }
    print!("Go on? [Y/n] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    input
        .lock()
        .read_line(&mut answer)
        .context("reading the answer")?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "" | "y" | "yes" => Ok(()),
        _ => bail!("nothing was installed"),
    }
}

fn can_make_environments() -> bool {
    Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether a program is there that needs no libraries.
fn is_static(program: &str) -> bool {
    build::find_on_path(program).is_some_and(|program| {
        let interpreter = Command::new("ldd").arg(program).output();
        interpreter.is_ok_and(|output| !output.status.success())
    })
}

/// Whether a program is on PATH or among root's, which PATH may leave out.
fn is_program(name: &str) -> bool {
    build::find_on_path(name).is_some()
        || ["/usr/sbin", "/sbin"]
            .map(PathBuf::from)
            .iter()
            .any(|directory| directory.join(name).is_file())
}
