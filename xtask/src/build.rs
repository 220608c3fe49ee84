//! `build`: the BPF programs for their own target, then the agent in release with them embedded.
//!
//! Two toolchains can compile for BPF, and whichever is there is taken:
//!
//! - one with a precompiled `core` for the BPF target, as Debian packages it;
//! - rustup's nightly with the `rust-src` component, which compiles `core` on the way.

mod cross;

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use clap::Args;

const TARGET: &str = "bpfel-unknown-none";
const PACKAGE: &str = "agent-ebpf";
const PROGRAM: &str = "meshwitness-ebpf";
/// The object's place under the target directory; the agent's build script looks there.
pub(crate) const OBJECT: &str = "bpf/meshwitness.bpf.o";
/// The crates that use unstable features on a stable compiler: inline assembly for BPF. A list,
/// never `1`: that would also switch build scripts over to compiling `core` from source.
const UNSTABLE_CRATES: &str = "aya_ebpf,meshwitness_ebpf";
const HELP: &str = "\
neither toolchain that can compile BPF programs is there; install one of them:
  Debian:  apt-get install rustc-web cargo-web libstd-rust-web-dev-bpf
  rustup:  rustup toolchain install nightly --component rust-src";

/// What `build` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Stop after the BPF programs
    #[arg(long)]
    pub(crate) bpf_only: bool,
    /// Build the agent for another kind of machine, such as aarch64-unknown-linux-gnu
    #[arg(long, value_name = "TRIPLE", conflicts_with = "bpf_only")]
    pub(crate) target: Option<String>,
}

impl Options {
    /// The BPF programs alone.
    pub(crate) const PROGRAMS: Self = Self {
        bpf_only: true,
        target: None,
    };
    /// Both halves, for this machine.
    pub(crate) const ALL: Self = Self {
        bpf_only: false,
        target: None,
    };
}

/// Builds both halves.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let target_dir = target_dir()?;
    let object = build_programs(&target_dir)?;
    if options.bpf_only {
        return Ok(());
    }
    match &options.target {
        Some(target) => cross::build_agent(&object, target),
        None => {
            execute(&mut agent()).with_context(|| format!("the agent around {}", object.display()))
        }
    }
}

/// Compiles the BPF programs and returns where the object is.
fn build_programs(target_dir: &Path) -> anyhow::Result<PathBuf> {
    ensure!(
        find_on_path("bpf-linker").is_some(),
        "bpf-linker is not on PATH; install it for the LLVM of your BPF toolchain, for example: \
         LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --no-default-features --features llvm-22"
    );
    // Not the common build directory: its lock and its fingerprints belong to another compiler.
    let build_dir = target_dir.join("bpf-build");
    let toolchain = Toolchain::find().context(HELP)?;
    let mut cargo = toolchain.cargo();
    cargo
        .args(["build", "--release", "--package", PACKAGE])
        .args(["--target", TARGET])
        .arg("--target-dir")
        .arg(&build_dir)
        .current_dir(workspace());
    execute(&mut cargo)?;

    let object = target_dir.join(OBJECT);
    let built = build_dir.join(TARGET).join("release").join(PROGRAM);
    install(&built, &object)?;
    Ok(object)
}

/// Copies the object, leaving an equal one as it is so that nothing is rebuilt for it.
fn install(built: &Path, object: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(built).with_context(|| format!("reading {}", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(directory) = object.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("creating {}", directory.display()))?;
    }
    fs::write(object, bytes).with_context(|| format!("writing {}", object.display()))
}

/// What builds the agent, once the BPF programs are there.
pub(crate) fn agent() -> Command {
    let mut cargo = cargo();
    cargo.args(["build", "--release", "--package", "meshwitness"]);
    cargo
}

/// The cargo that runs this program, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    cargo
}

/// Builds the lab's helper, which lies beside this program; only the library of that package is
/// there yet.
pub(crate) fn build_helper() -> anyhow::Result<()> {
    execute(
        cargo()
            // With this package, so that no dependency is compiled with other features again.
            .args(["build", "--quiet", "--package", "xtask"])
            .args(["--package", "lab", "--bins"]),
    )
}

pub(crate) enum Toolchain {
    /// A compiler with `core` for BPF beside it, and the cargo of the same directory.
    Packaged { rustc: PathBuf, cargo: PathBuf },
    /// rustup's nightly with the source of `core`.
    Nightly,
}

impl Toolchain {
    pub(crate) fn find() -> Option<Self> {
        Self::packaged().or_else(Self::nightly)
    }

    fn packaged() -> Option<Self> {
        let rustc = PathBuf::from("/usr/bin/rustc");
        let cargo = PathBuf::from("/usr/bin/cargo");
        let libraries = sysroot(&mut clean(&rustc))?
            .join("lib/rustlib")
            .join(TARGET)
            .join("lib");
        let core = fs::read_dir(libraries)
            .ok()?
            .flatten()
            .any(|file| file.file_name().to_string_lossy().starts_with("libcore-"));
        (core && cargo.exists()).then_some(Self::Packaged { rustc, cargo })
    }

    fn nightly() -> Option<Self> {
        let mut rustc = clean(Path::new("rustup"));
        rustc.args(["run", "nightly", "rustc"]);
        let source = sysroot(&mut rustc)?.join("lib/rustlib/src/rust/library/core");
        source.exists().then_some(Self::Nightly)
    }

    /// Cargo of this toolchain, set up for BPF code.
    fn cargo(&self) -> Command {
        let mut command = match self {
            Self::Packaged { rustc, cargo } => {
                let mut command = clean(cargo);
                command
                    .env("RUSTC", rustc)
                    .env("RUSTC_BOOTSTRAP", UNSTABLE_CRATES);
                command
            }
            Self::Nightly => {
                let mut command = clean(Path::new("rustup"));
                command.args(["run", "nightly", "cargo", "-Zbuild-std=core"]);
                command
            }
        };
        command
            .env(
                "CARGO_ENCODED_RUSTFLAGS",
                ["-Cdebuginfo=2", "-Clink-arg=--btf"].join("\u{1f}"),
            )
            // bpf-linker optimises over all crates by itself.
            .env("CARGO_PROFILE_RELEASE_LTO", "off");
        command
    }
}

/// A command without what the cargo above us has put into the environment.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in [
        "CARGO",
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTUP_TOOLCHAIN",
        "RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET",
        "RUSTC_BOOTSTRAP",
    ] {
        command.env_remove(name);
    }
    // Where the dynamic loader finds the outer toolchain's libraries, which another must not take.
    command.env_remove("LD_LIBRARY_PATH");
    command
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let output = rustc.args(["--print", "sysroot"]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}

/// Where cargo builds: `CARGO_TARGET_DIR`, else `target` in the workspace.
pub(crate) fn target_dir() -> anyhow::Result<PathBuf> {
    let directory = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| OsString::from("target"));
    let directory = workspace().join(directory);
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    Ok(directory)
}

pub(crate) fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

pub(crate) fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

pub(crate) fn execute(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}
