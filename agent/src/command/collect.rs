//! `collect`: the reference collector.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::{CommandError, usage};
use crate::{
    collect::{self, CollectSettings, Notice, ServerTls},
    config::CollectConfig,
};

/// Runs the collector until SIGTERM or SIGINT. SIGHUP is no end: changed certificates are used in any
/// case.
///
/// # Errors
/// If its configuration is wrong, or it cannot listen or store.
pub fn collect(config: &Path) -> Result<(), CommandError> {
    let config = CollectConfig::load(config).map_err(usage)?;
    let settings = CollectSettings {
        listen: config.listen.to_string(),
        tls: ServerTls {
            cert: config.tls.cert,
            key: config.tls.key,
            client_ca: config.tls.client_ca,
        },
        allow: config.allow,
        dir: config.dir,
        rotate_bytes: config.rotate_bytes,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                info!("certificates that have changed are used from the next connection on; other settings from the next start on");
            }
        });
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        info!("collecting on {}", settings.listen);
        let report = Arc::new(|notice: &Notice| warn!("{notice}"));
        collect::run(settings, report, stop)
            .await
            .context("the collector")
    })?;
    Ok(())
}
