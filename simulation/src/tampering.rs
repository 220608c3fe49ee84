//! What a dishonest party does to a proxy's log, and what must be found of it.

use meshwitness::{
    envoy::LogEntry,
    record::{Reason, Side, Verdict},
};

use crate::{random::Random, truth::Statement};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tampering {
    /// The line is not there.
    Removed,
    /// It says something else.
    Edited(Field),
    /// It is there once more.
    Repeated,
    /// Another line is there, of a request that never was.
    Invented,
}

/// What is edited in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Method,
    Path,
    Query,
    Authority,
    Status,
    RequestBytes,
    ResponseBytes,
    RequestId,
}

const OF_ANY_LINE: [Tampering; 3] = [Tampering::Removed, Tampering::Repeated, Tampering::Invented];

/// Of a line that says of all there is to compare.
const OF_A_PLAIN_LINE: [Tampering; 8] = [
    Tampering::Edited(Field::Method),
    Tampering::Edited(Field::Path),
    Tampering::Edited(Field::Query),
    Tampering::Edited(Field::Authority),
    Tampering::Edited(Field::Status),
    Tampering::Edited(Field::RequestBytes),
    Tampering::Edited(Field::ResponseBytes),
    Tampering::Edited(Field::RequestId),
];

impl Tampering {
    pub(crate) fn any(plain: bool, random: &mut Random) -> Self {
        match plain && random.chance(60) {
            true => *random.pick(&OF_A_PLAIN_LINE),
            false => *random.pick(&OF_ANY_LINE),
        }
    }
}

impl Field {
    /// Changes the field to what no exchange of the scene has.
    pub(crate) fn edit(self, entry: &mut LogEntry, random: &mut Random) {
        let tag = random.between(1_000, 9_999);
        let path = entry.path.clone().unwrap_or_default();
        match self {
            Self::Method => entry.method = Some("PURGE".into()),
            Self::Path => entry.path = Some(format!("/edited/{tag}")),
            Self::Query => entry.path = Some(format!("{path}?edited={tag}")),
            Self::Authority => entry.authority = Some(format!("edited-{tag}")),
            Self::Status => entry.response_code = Some(418),
            Self::RequestBytes => {
                entry.bytes_received = entry.bytes_received.map(|bytes| bytes + tag);
            }
            Self::ResponseBytes => entry.bytes_sent = entry.bytes_sent.map(|bytes| bytes + tag),
            Self::RequestId => entry.request_id = Some(format!("edited-{tag}")),
        }
    }

    /// What the record of the pair must say of it. `host_is_seen`: another pod of the node received
    /// the request with the host with which it was sent.
    pub(crate) fn judge(self, side: Side, host_is_seen: bool) -> Statement {
        // The server's kernel stands behind the proxy, which may rewrite what it passes on; a host
        // that is replaced on the way out is logged as the new one.
        let may_be_rewritten = match self {
            Self::Path | Self::Query | Self::ResponseBytes => side == Side::Server,
            Self::Authority => side == Side::Server || !host_is_seen,
            _ => false,
        };
        let verdict = match self {
            Self::RequestId => Verdict::Matched,
            _ if may_be_rewritten => {
                return Statement::new(Verdict::Matched, side)
                    .because(Reason::Rewritten)
                    .differing(self.name());
            }
            _ => Verdict::Mismatched,
        };
        match self {
            Self::RequestId => Statement::new(verdict, side),
            _ => Statement::new(verdict, side).differing(self.name()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Method => "http.request.method",
            Self::Path => "url.path",
            Self::Query => "url.query",
            Self::Authority => "http.request.header.host",
            Self::Status => "http.response.status_code",
            Self::RequestBytes => "http.request.body.size",
            Self::ResponseBytes => "http.response.body.size",
            Self::RequestId => "http.request.header.x-request-id",
        }
    }
}
