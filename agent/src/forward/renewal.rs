//! Renewed certificates: noticed without a signal, used only if they can be.

use tokio::{task::spawn_blocking, time::sleep};

use super::{Notice, connect::Credentials, settings::ClientTls, sink::Sink};
use crate::tls::FileStamp;

/// With what a connection was made: settings, and the state of their files.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Basis {
    tls: ClientTls,
    stamps: Option<[Option<FileStamp>; 3]>,
}

impl Basis {
    pub(super) async fn of(tls: ClientTls) -> Self {
        let files = tls.clone();
        let look = move || [&files.ca, &files.cert, &files.key].map(|file| FileStamp::of(file));
        // A file may lie on a volume that hangs; the other sinks go on.
        let stamps = spawn_blocking(look).await.ok();
        Self { tls, stamps }
    }
}

impl Sink {
    /// Looks at the files once in a while, and at once after a reload. What has changed and can be
    /// used leads to a new connection; what cannot is told once, and the connection that stands
    /// goes on.
    pub(super) async fn watch_files(&self) {
        let mut unusable = None;
        loop {
            tokio::select! {
                () = sleep(self.timing.look) => {}
                () = self.reloaded.notified() => unusable = None,
            }
            let tls = self.state().settings.tls.clone();
            let now = Some(Basis::of(tls.clone()).await);
            let used = self.state().basis.clone();
            if used.is_none() || now == used || now == unusable {
                continue;
            }
            match Credentials::read(tls).await {
                Ok(_) => drop(self.renewals.send_replace(now)),
                Err(error) => {
                    unusable = now;
                    (self.report)(&Notice::Unusable {
                        sink: self.name.clone(),
                        reason: error.to_string(),
                    });
                }
            }
        }
    }
}
