//! The random names that Kubernetes and containerd give.

use std::{fs::File, io::Read};

use anyhow::{Context, Result};

/// A pod's uid: a version 4 UUID.
///
/// # Errors
///
/// If the system's random numbers cannot be read.
pub fn pod_uid() -> Result<String> {
    let mut bytes = random::<16>()?;
    // RFC 9562, sections 4.1 and 5.4: variant and version.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hexadecimal(&bytes);
    Ok([
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..],
    ]
    .join("-"))
}

/// A container's id: 64 hexadecimal digits.
///
/// # Errors
///
/// If the system's random numbers cannot be read.
pub fn container_id() -> Result<String> {
    Ok(hexadecimal(&random::<32>()?))
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    Ok(bytes)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
