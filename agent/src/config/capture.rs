//! `capture`: what the kernel side watches.

use std::{path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error};

use super::text::{self, ShownSize};

/// What the kernel side watches, and how much of it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// Where cgroup v2 is mounted.
    #[serde(deserialize_with = "text::value")]
    pub cgroup: CgroupMount,
    /// The cgroups to attach to, relative to the mount: each that exists, the root if none does.
    #[serde(deserialize_with = "cgroups")]
    pub attach: Vec<String>,
    /// The kubelet's cgroups, relative to the mount.
    #[serde(deserialize_with = "cgroups")]
    pub kubelet: Vec<String>,
    /// The size of each ring buffer: a power of two, in bytes.
    #[serde(deserialize_with = "ring_bytes")]
    pub ring_bytes: u64,
    /// The request and response headers whose values are kept, in lower case.
    #[serde(deserialize_with = "headers")]
    pub headers: Vec<String>,
}

impl Default for Capture {
    fn default() -> Self {
        let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            cgroup: CgroupMount::Auto,
            // The kubelet's cgroup of all pods: of the systemd driver, of the cgroupfs driver,
            // and of kind, which puts it below a slice of its own.
            attach: own(&[
                "kubepods.slice",
                "kubepods",
                "kubelet.slice/kubelet-kubepods.slice",
            ]),
            // kubeadm and most distributions; kind; k3s, whose kubelet is a part of it.
            kubelet: own(&[
                "system.slice/kubelet.service",
                "kubelet.slice/kubelet.service",
                "system.slice/k3s.service",
            ]),
            // Heads of some 512 bytes: about 30,000 of them, a second of a node's full load
            // during which the agent may be held up.
            ring_bytes: 16 << 20,
            // What investigations ask for and what holds no secret.
            headers: own(&[
                "user-agent",
                "x-request-id",
                "traceparent",
                "content-type",
                "x-forwarded-for",
            ]),
        }
    }
}

/// Where cgroup v2 is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupMount {
    /// The cgroup2 mount whose root is the real root.
    Auto,
    /// An absolute path.
    Path(PathBuf),
}

impl FromStr for CgroupMount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            path if path.starts_with('/') => Ok(Self::Path(path.into())),
            _ => Err("expected `auto` or an absolute path such as `/sys/fs/cgroup`".to_owned()),
        }
    }
}

/// A ring buffer is a power of two of pages; 64 KiB is the largest page that Linux uses. Past
/// 1 GiB the locked memory of the rings would itself be the node's problem.
fn ring_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    const LEAST: u64 = 64 << 10;
    const MOST: u64 = 1 << 30;
    let bytes = text::bytes(deserializer)?;
    if bytes.is_power_of_two() && (LEAST..=MOST).contains(&bytes) {
        return Ok(bytes);
    }
    let nearest = bytes.clamp(LEAST, MOST).next_power_of_two();
    Err(D::Error::custom(format!(
        "expected a power of two from 64KiB to 1GiB, such as `{}`",
        ShownSize(nearest)
    )))
}

fn cgroups<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let paths = text::list::<_, CgroupPath>(deserializer)?;
    if paths.len() > 64 {
        return Err(D::Error::custom("expected at most 64 cgroups"));
    }
    Ok(paths.into_iter().map(|path| path.0).collect())
}

struct CgroupPath(String);

impl FromStr for CgroupPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.trim_matches('/');
        let is_plain = |component| !matches!(component, "" | "." | "..");
        match path.split('/').all(is_plain) && !path.contains('\0') {
            true => Ok(Self(path.to_owned())),
            false => Err(
                "expected a path relative to the cgroup mount, such as `kubepods.slice`".to_owned(),
            ),
        }
    }
}

fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let headers = text::list::<_, HeaderName>(deserializer)?;
    if headers.len() > 32 {
        return Err(D::Error::custom("expected at most 32 headers"));
    }
    let mut names: Vec<String> = Vec::with_capacity(headers.len());
    for HeaderName(name) in headers {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

struct HeaderName(String);

impl FromStr for HeaderName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.to_ascii_lowercase();
        if !text::is_token(&name) || name.len() > 64 {
            return Err("expected the name of a header, such as `user-agent`".to_owned());
        }
        let is_secret = matches!(
            name.as_str(),
            "authorization" | "proxy-authorization" | "cookie" | "set-cookie"
        );
        match is_secret {
            true => Err(
                "the values of this header are credentials, which are never kept; for claims of \
                 a bearer token use `redact.identity`"
                    .to_owned(),
            ),
            false => Ok(Self(name)),
        }
    }
}
