//! Two network namespaces, joined by a cable, each with a loopback of its own.

use std::{
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsFd,
    sync::mpsc,
    thread,
};

use anyhow::Context;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::machine::run;

/// A namespace for each of two pods.
pub(crate) struct Pair {
    pub(crate) near: Network,
    pub(crate) far: Network,
}

/// A network namespace, and its end of the cable.
pub(crate) struct Network {
    namespace: File,
    /// What the cgroups of the pod begin with.
    pub(crate) pod: &'static str,
    pub(crate) v4: IpAddr,
    pub(crate) v6: IpAddr,
}

impl Pair {
    /// Makes the namespaces and the cable.
    pub(crate) fn join() -> anyhow::Result<Self> {
        let pair = Self {
            near: Network::new("near", 1)?,
            far: Network::new("far", 2)?,
        };
        pair.near.enter()?;
        // Without a name for the other end the kernel gives it one.
        run("ip link add near type veth")?;
        pair.far
            .hold(|thread| run(&format!("ip link set veth0 netns {thread}")))?;
        pair.near.set_up("near")?;
        pair.far.enter()?;
        pair.far.set_up("veth0")?;
        Ok(pair)
    }
}

impl Network {
    fn new(pod: &'static str, number: u8) -> anyhow::Result<Self> {
        // SAFETY: this thread takes no descriptor or mount from the namespace before.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("making a network namespace")?;
        run("ip link set lo up")?;
        // An address can be used as soon as it is there.
        fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0")
            .context("switching off the detection of duplicate addresses")?;
        Ok(Self {
            namespace: File::open("/proc/thread-self/ns/net")?,
            pod,
            v4: IpAddr::from(Ipv4Addr::new(10, 77, 0, number)),
            v6: IpAddr::from(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number.into())),
        })
    }

    /// Moves the calling thread here: the sockets that it makes belong here.
    pub(crate) fn enter(&self) -> anyhow::Result<()> {
        move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("entering the network of {}", self.pod))
    }

    fn set_up(&self, device: &str) -> anyhow::Result<()> {
        run(&format!("ip address add {}/24 dev {device}", self.v4))?;
        run(&format!("ip address add {}/64 dev {device}", self.v6))?;
        run(&format!("ip link set {device} up"))
    }

    /// Runs something while a thread is here, which it is told.
    fn hold(&self, action: impl FnOnce(i32) -> anyhow::Result<()>) -> anyhow::Result<()> {
        thread::scope(|threads| {
            let (is_there, told) = mpsc::channel();
            let (done, is_done) = mpsc::channel::<()>();
            let holder = threads.spawn(move || {
                self.enter()?;
                is_there.send(rustix::thread::gettid().as_raw_nonzero().get())?;
                // An error is what the other end's drop looks like.
                let _ = is_done.recv();
                anyhow::Ok(())
            });
            let outcome = told.recv().context("the thread ended").and_then(action);
            drop(done);
            holder
                .join()
                .map_err(|_| anyhow::anyhow!("the thread panicked"))??;
            outcome
        })
    }
}
