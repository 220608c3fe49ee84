//! The certificates between agents and collectors, right ones and wrong ones.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use anyhow::Result;

use crate::certificate::{Authority, Identity, Name, Validity};

/// The name of the collector in its certificate.
pub const COLLECTOR: &str = "collector.lab";
/// The name of the node, in records and in the agent's certificate.
pub const NODE: &str = "n1";

/// An authority for the delivery of records, and one that nobody trusts.
pub struct Certificates {
    /// Signs what is right.
    pub authority: Authority,
    /// Signs what is foreign.
    pub foreign: Authority,
    /// The collector's.
    pub collector: Identity,
    /// A collector's whose time is over.
    pub expired_collector: Identity,
    /// A collector's under another name.
    pub misnamed_collector: Identity,
    /// The agent's.
    pub agent: Identity,
    /// An agent's whose time is over.
    pub expired_agent: Identity,
    /// An agent's from the foreign authority.
    pub foreign_agent: Identity,
}

impl Certificates {
    /// All of them, in `directory`.
    ///
    /// # Errors
    ///
    /// If a key cannot be made or a file cannot be written.
    pub fn create(directory: &Path) -> Result<Self> {
        let authority = Authority::create(&directory.join("delivery"), "delivery")?;
        let foreign = Authority::create(&directory.join("foreign"), "foreign")?;
        let names = |name: &str| {
            [
                Name::Dns(name.to_owned()),
                Name::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            ]
        };
        let collector = names(COLLECTOR);
        let agent = [Name::Dns(NODE.to_owned())];
        Ok(Self {
            collector: authority.issue("collector", &collector, Validity::Current)?,
            expired_collector: authority.issue("expired", &collector, Validity::Expired)?,
            misnamed_collector: authority.issue(
                "misnamed",
                &[Name::Dns("elsewhere.lab".to_owned())],
                Validity::Current,
            )?,
            agent: authority.issue("agent", &agent, Validity::Current)?,
            expired_agent: authority.issue("expired-agent", &agent, Validity::Expired)?,
            foreign_agent: foreign.issue("agent", &agent, Validity::Current)?,
            authority,
            foreign,
        })
    }
}
