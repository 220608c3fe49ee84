//! Linker flags of the BPF programs.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_CFG_TARGET_ARCH").is_some_and(|arch| arch == "bpf") {
        // Without it every copy of a fixed size becomes a loop over single bytes.
        println!("cargo::rustc-link-arg-bins=--disable-expand-memcpy-in-order");
    }
}
