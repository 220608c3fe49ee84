//! Network namespaces on one bridge, apart from the machine's own.

use std::{
    fs::{self, File},
    io::Write,
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail};

use crate::sweep;

/// What the names of a lab's namespaces begin with.
pub const PREFIX: &str = "mwlab-";

/// Where `ip netns` keeps its handles.
const HANDLES: &str = "/run/netns";

/// The address of the bridge, which is the pods' default gateway.
const GATEWAY: u8 = 1;

/// A host's two addresses in the lab's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// 10.77.0.n
    pub v4: Ipv4Addr,
    /// fd77::n, where the decimal digits of n are written as hexadecimal ones.
    pub v6: Ipv6Addr,
}

impl Addresses {
    /// Those of host `number`.
    #[must_use]
    pub fn of(number: u8) -> Self {
        let digits = u16::from(number / 100) << 8
            | u16::from(number / 10 % 10) << 4
            | u16::from(number % 10);
        Self {
            v4: Ipv4Addr::new(10, 77, 0, number),
            v6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, digits),
        }
    }
}

/// A network namespace. Dropped, it is deleted.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// The hub's namespace and the port of the bridge there.
    port: Option<(String, String)>,
}

impl Namespace {
    /// The namespace that holds the bridge. It is the node's as the pods see it.
    ///
    /// # Errors
    ///
    /// If `ip` fails; the message has what it said.
    pub fn hub() -> Result<Self> {
        let hub = Self::create("hub")?;
        let Addresses { v4, v6 } = Addresses::of(GATEWAY);
        hub.configure(&format!(
            "link set lo up\n\
             link add bridge type bridge forward_delay 0 mcast_snooping 0\n\
             addr add {v4}/24 dev bridge\n\
             addr add {v6}/64 dev bridge nodad\n\
             link set bridge up\n"
        ))?;
        Ok(hub)
    }

    /// A host named `name` on the bridge of `hub`.
    ///
    /// # Errors
    ///
    /// If `ip` fails; the message has what it said.
    pub fn host(hub: &Self, name: &str, addresses: Addresses) -> Result<Self> {
        let mut host = Self::create(name)?;
        let Addresses { v4, v6 } = addresses;
        let gateway = Addresses::of(GATEWAY);
        // Both ends are made inside namespaces: the machine's own never holds one.
        let port = next_port();
        // Who takes over an address takes over what the neighbours know of it.
        let [.., number] = v4.octets();
        hub.configure(&format!(
            "link add {port} type veth peer name eth0 address 02:77:00:00:00:{number:02x} netns {}\n\
             link set {port} master bridge up\n",
            host.name
        ))?;
        host.port = Some((hub.name.clone(), port));
        // ::6 is what ::6/128 of Istio's rules means; unlike 127.0.0.6 it is not there by itself.
        host.configure(&format!(
            "link set lo up\n\
             addr add ::6/128 dev lo nodad\n\
             addr add {v4}/24 dev eth0\n\
             addr add {v6}/64 dev eth0 nodad\n\
             link set eth0 up\n\
             route add default via {}\n\
             route add ::/0 via {}\n",
            gateway.v4, gateway.v6
        ))?;
        Ok(host)
    }

    /// Its name for `ip netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The handle that setns(2) takes.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn open(&self) -> Result<File> {
        let path = PathBuf::from(HANDLES).join(&self.name);
        File::open(&path).with_context(|| format!("opening {}", path.display()))
    }

    fn create(name: &str) -> Result<Self> {
        sweep::may_make()?;
        let name = format!("{PREFIX}{name}");
        feed(Command::new("ip").args(["netns", "add", &name]), "")?;
        Ok(Self { name, port: None })
    }

    /// Runs a batch of `ip` commands inside.
    fn configure(&self, batch: &str) -> Result<()> {
        feed(
            Command::new("ip").args(["-n", &self.name, "-batch", "-"]),
            batch,
        )
    }
}

/// A name for a port of the bridge; the pod's own may be too long for one.
fn next_port() -> String {
    static PORTS: AtomicU32 = AtomicU32::new(1);
    format!("port-{}", PORTS.fetch_add(1, Ordering::Relaxed))
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Some((hub, port)) = &self.port {
            let _ = Command::new("ip")
                .args(["-n", hub, "link", "delete", port])
                .stderr(Stdio::null())
                .status();
        }
        delete(&self.name);
    }
}

/// The names of the namespaces that labs made and that are still there.
#[must_use]
pub fn existing() -> Vec<String> {
    let Ok(entries) = fs::read_dir(HANDLES) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(PREFIX))
        .collect()
}

/// Deletes every namespace that a lab made.
pub(crate) fn sweep() {
    for name in existing() {
        delete(&name);
    }
}

fn delete(name: &str) {
    let _ = Command::new("ip")
        .args(["netns", "delete", name])
        .stderr(Stdio::null())
        .status();
}

/// Runs a command with `input` on its standard input; what it wrote to stderr is the error.
pub(crate) fn feed(command: &mut Command, input: &str) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that ends without reading says more by its status than by the broken pipe.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
