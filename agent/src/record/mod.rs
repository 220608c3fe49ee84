//! The record: its names, its redaction, its encoding.

mod attributes;
mod envelope;
mod escape;
mod finding;
mod fingerprint;
mod identity;
mod model;
mod pattern;
mod printable;
mod redact;
mod shown;
mod tls;
mod verdict;

pub use attributes::{Attributes, Undecoded};
pub use envelope::{Envelope, Include, Kind};
pub use finding::{Finding, FindingBody, FindingKind, FindingState, SensitivePlace, Severity};
pub use fingerprint::{Fingerprint, Fingerprints};
pub use identity::IdentityRedaction;
pub use model::{
    AccountBody, Body, ConnectionBody, ConnectionState, Difference, EnvoyBody, LedgerBody,
    Lifecycle, LossCause, Record, Side, SinkGap, Traffic, Units, Workload, WorkloadAccount,
};
pub use pattern::{Cidr, Pattern, StatusPattern, WorkloadPattern};
pub use printable::Printable;
pub use redact::{QueryRedaction, REDACTED, Redaction};
pub use shown::Shown;
pub use tls::Tls;
pub use verdict::{Reason, Verdict};
