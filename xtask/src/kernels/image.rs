//! From packages to what is booted: the kernel as an ELF file, and the module for cables.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};

use super::debian::remove;
use crate::build;

/// The kernel's name in the directory.
pub(super) const VMLINUX: &str = "vmlinux";
/// The module's.
pub(super) const VETH: &str = "veth.ko";

/// Makes a directory with the parts of a kernel in it.
pub(super) fn unpack(packages: &[PathBuf], directory: &Path) -> anyhow::Result<()> {
    let all = directory.join("all");
    remove(directory)?;
    fs::create_dir_all(&all)?;
    for package in packages {
        build::execute(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(package)
                .arg(&all),
        )?;
    }
    let image = find(&all, "vmlinuz").context("no file vmlinuz in the packages")?;
    let image = fs::read(&image).with_context(|| format!("reading {}", image.display()))?;
    let payload = payload(&image).context("the kernel is no bzImage")?;
    decompress(payload, &directory.join(VMLINUX))?;
    let module = find(&all, VETH).context("no module veth in the packages")?;
    let module = fs::read(&module).with_context(|| format!("reading {}", module.display()))?;
    decompress(&module, &directory.join(VETH))?;
    remove(&all)
}

/// A file whose name begins so.
fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let entries: Vec<_> = fs::read_dir(directory).ok()?.flatten().collect();
    entries.iter().find_map(|entry| {
        let path = entry.path();
        match entry.file_type().ok()? {
            kind if kind.is_dir() => find(&path, name),
            kind if kind.is_file() && entry.file_name().to_string_lossy().starts_with(name) => {
                Some(path)
            }
            _ => None,
        }
    })
}

/// The compressed kernel in an image that boots by itself. Booted as it is below, the virtual
/// machine need not unpack it, which takes an emulated one seconds.
///
/// (Linux, Documentation/arch/x86/boot.rst: `setup_sects`, `payload_offset`, `payload_length`.)
fn payload(image: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| -> Option<usize> {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let sectors = match image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(*sectors),
    };
    let begin = (sectors + 1) * 512 + number(0x248)?;
    image.get(begin..begin + number(0x24c)?)
}

/// Unpacks by the program that a file's first bytes ask for.
fn decompress(bytes: &[u8], to: &Path) -> anyhow::Result<()> {
    // The kernel's build appends the unpacked size to all but gzip, which has it already.
    let without_size = &bytes[..bytes.len().saturating_sub(4)];
    let (program, packed) = match bytes {
        [0x7f, b'E', b'L', b'F', ..] => return Ok(fs::write(to, bytes)?),
        [0x1f, 0x8b, ..] => ("gzip", bytes),
        [0xfd, b'7', b'z', b'X', ..] if bytes.ends_with(b"YZ") => ("xz", bytes),
        [0xfd, b'7', b'z', b'X', ..] => ("xz", without_size),
        [0x02, 0x21, 0x4c, 0x18, ..] => ("lz4", without_size),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd", without_size),
        _ => bail!("expected gzip, xz, lz4 or zstd for {}", to.display()),
    };
    let source = to.with_extension("packed");
    fs::write(&source, packed)?;
    let status = Command::new(program)
        .args(["--decompress", "--stdout"])
        .stdin(File::open(&source)?)
        .stdout(File::create(to)?)
        .stderr(Stdio::inherit())
        .status()
        .with_context(|| format!("starting {program}"))?;
    ensure!(
        status.success(),
        "{program} failed on {}: {status}",
        to.display()
    );
    Ok(fs::remove_file(source)?)
}
