//! A host beside the mesh: no pod, no sidecar.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use anyhow::{Context, Result};

use crate::{
    cgroup::Cgroup,
    network::{Addresses, Namespace},
    nginx, pod,
    process::{Place, Process, User},
    requirements,
};

/// The ports on which the outside host serves HTTP/1.1.
pub const PORTS: [u16; 2] = [80, 9001];

/// A host outside the mesh with an nginx on [`PORTS`].
pub struct Outside {
    addresses: Addresses,
    directory: PathBuf,
    programs: Vec<Process>,
    cgroup: Cgroup,
    namespace: Namespace,
}

impl Outside {
    pub(crate) fn launch(
        mount: &Path,
        hub: &Namespace,
        addresses: Addresses,
        directory: &Path,
    ) -> Result<Self> {
        let shared = directory;
        let directory = directory.join("outside");
        fs::create_dir_all(&directory)?;
        chown(&directory, Some(User::APP.0), Some(User::APP.0))?;
        let mut outside = Self {
            namespace: Namespace::host(hub, "outside", addresses)?,
            cgroup: Cgroup::create(mount, Path::new("mwlab.slice/outside.scope"))?,
            programs: Vec::new(),
            addresses,
            directory,
        };
        outside.start(shared)?;
        Ok(outside)
    }

    /// Its addresses.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Where a process of this host runs.
    #[must_use]
    pub fn place(&self, user: User) -> Place<'_> {
        Place {
            cgroup: self.cgroup.path(),
            namespace: Some(&self.namespace),
            user,
            capabilities: None,
        }
    }

    /// Runs a command on this host to its end.
    ///
    /// # Errors
    ///
    /// If it cannot be started. A failed command is no error here.
    pub fn run<I, S>(&self, words: I) -> Result<Output>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.place(User::APP).run(words)
    }

    /// What its nginx logged.
    ///
    /// # Errors
    ///
    /// If the log has an unexpected form.
    pub fn nginx_log(&self) -> Result<Vec<nginx::Exchange>> {
        nginx::read_log(&self.directory.join("access.log"))
    }

    pub(crate) fn wait_until_ready(&self) -> Result<()> {
        let nginx = self.programs.last().context("no nginx outside")?;
        PORTS
            .iter()
            .try_for_each(|port| pod::wait_for_listener(nginx.id(), *port))
    }

    fn start(&mut self, shared: &Path) -> Result<()> {
        let socket = self.directory.join("helper.socket");
        nginx::prepare(&self.directory, &PORTS.map(nginx::Port::Http1), &socket)?;
        let helper = requirements::helper("lab-helper")?;
        let helper = requirements::executable_by_all(&helper, shared)?;
        // Ports below 1024 are root's; workers of a root master would be nobody's.
        let mut app = self.place(User::APP).command([helper.as_os_str()])?;
        app.arg("app").arg(&socket).stdin(Stdio::null());
        let mut nginx =
            self.place(User::ROOT)
                .command(["nginx", "-e", "stderr", "-g", "user root;", "-p"])?;
        nginx
            .arg(&self.directory)
            .arg("-c")
            .arg(self.directory.join("nginx.conf"))
            .stdin(Stdio::null());
        self.programs.push(Process::start(&mut app)?);
        self.programs.push(Process::start(&mut nginx)?);
        Ok(())
    }
}
