//! Embeds the BPF object, if there is one.
//!
//! `cargo xtask build` leaves it at `bpf/meshwitness.bpf.o` in the target directory;
//! `MESHWITNESS_BPF_OBJECT` names another. Without one the agent compiles all the same, for the
//! sake of its tests, and refuses to load.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

const OBJECT: &str = "meshwitness.bpf.o";

fn main() -> io::Result<()> {
    println!("cargo::rustc-check-cfg=cfg(embedded_bpf)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MESHWITNESS_BPF_OBJECT");
    let Some(out_dir) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        return Ok(());
    };
    let object = match env::var_os("MESHWITNESS_BPF_OBJECT") {
        Some(object) => {
            let object = PathBuf::from(object);
            println!("cargo::rerun-if-changed={}", object.display());
            object
        }
        None => known_place(&out_dir)?,
    };
    if object.exists() {
        fs::copy(object, out_dir.join(OBJECT))?;
        println!("cargo::rustc-cfg=embedded_bpf");
    }
    Ok(())
}

/// The object's place in the target directory, which is above `<profile>/build/<package>/out`.
fn known_place(out_dir: &Path) -> io::Result<PathBuf> {
    let profile = out_dir.ancestors().nth(3).unwrap_or(out_dir);
    let above = profile.parent().unwrap_or(profile);
    // With `--target` there is a directory of that target's name in between.
    let of_target = env::var_os("TARGET").is_some_and(|target| above.ends_with(target));
    let target_dir = above.parent().filter(|_| of_target).unwrap_or(above);
    // A directory that exists: a missing file would have cargo rebuild the agent each time.
    let directory = target_dir.join("bpf");
    fs::create_dir_all(&directory)?;
    println!("cargo::rerun-if-changed={}", directory.display());
    Ok(directory.join(OBJECT))
}
