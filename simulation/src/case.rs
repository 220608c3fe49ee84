//! What else can become of a request than a plain answer (CONTRACT: the cases that must come out
//! right), each with what the kernel sees of it and what the proxy writes.

use std::time::Duration;

use meshwitness::record::{Reason, Side};

use crate::{random::Random, transaction::Transaction};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Plain,
    /// The proxy writes a path in its normal form.
    PathNormalized,
    /// The proxy writes the host with which it hands it on, which is another.
    HostReplaced,
    /// The proxy hands on another path than it writes.
    PathRewritten,
    /// The proxy compressed the answer behind the app.
    Compressed,
    /// The client left before the answer.
    ClientLeft,
    /// The app answered before it had the whole upload.
    EarlyAnswer,
    /// The proxy answered an app by itself.
    LocalReply,
    /// A head that the proxy takes for none.
    HeadRefused,
    /// The connection became a tunnel.
    Upgraded,
    /// The proxy gave up waiting for the app.
    TimedOut,
    /// The app reset the stream in the middle of its answer.
    UpstreamReset,
}

const AT_THE_CLIENT: [Case; 7] = [
    Case::PathNormalized,
    Case::HostReplaced,
    Case::ClientLeft,
    Case::EarlyAnswer,
    Case::LocalReply,
    Case::HeadRefused,
    Case::Upgraded,
];

const AT_THE_SERVER: [Case; 6] = [
    Case::PathRewritten,
    Case::Compressed,
    Case::ClientLeft,
    Case::EarlyAnswer,
    Case::Upgraded,
    Case::TimedOut,
];

impl Case {
    pub(crate) fn any(side: Side, random: &mut Random) -> Self {
        match (random.chance(75), side) {
            (true, _) => Self::Plain,
            (false, Side::Client) => *random.pick(&AT_THE_CLIENT),
            (false, _) => *random.pick(&AT_THE_SERVER),
        }
    }

    /// Makes of a plain transaction one of this kind.
    pub(crate) fn apply(self, side: Side, plain: &mut Transaction, random: &mut Random) {
        let logged = &mut plain.logged;
        match self {
            Self::Plain => {}
            Self::PathNormalized => {
                let Some(head) = &mut plain.head else { return };
                head.path = head.path.replacen("/item/", "/a/..//item/./", 1);
                plain.reasons.push(Reason::PathNormalized);
                plain.differences.push("url.path");
            }
            Self::HostReplaced => {
                let Some(head) = &mut plain.head else { return };
                head.authority = "public.example".into();
                plain.reasons.push(Reason::Rewritten);
                plain.differences.push("http.request.header.host");
            }
            Self::PathRewritten => {
                let Some(head) = &mut plain.head else { return };
                head.path = head.path.replacen("/item/", "/v2/item/", 1);
                plain.reasons.push(Reason::Rewritten);
                plain.differences.push("url.path");
            }
            Self::Compressed => {
                logged.response_bytes += random.between(1, 100);
                plain.reasons.push(Reason::Rewritten);
                plain.differences.push("http.response.body.size");
            }
            Self::ClientLeft => client_left(side, plain, random),
            Self::EarlyAnswer => early_answer(side, plain, random),
            Self::LocalReply => {
                (logged.flags, logged.details) = *random.pick(&[
                    (Some("NR"), "route_not_found"),
                    (Some("UF,URX"), "upstream_reset_before_response_started"),
                    (None, "direct_response"),
                ]);
                logged.upstream = false;
            }
            Self::HeadRefused => {
                plain.head = None;
                (plain.request_ended, plain.request_bytes) = (None, 0);
                (logged.method, logged.path, logged.authority) = (None, None, None);
                (logged.request_id, logged.forwarded_for) = (None, None);
                (logged.flags, logged.details) = (Some("DPE"), "http1.codec_error");
                (logged.upstream, logged.request_bytes) = (false, 0);
                let status = *random.pick(&[400, 431]);
                logged.status = status;
                plain
                    .reply
                    .iter_mut()
                    .for_each(|reply| reply.status = status);
                plain.is_last = true;
            }
            Self::Upgraded => {
                let Some(reply) = &mut plain.reply else {
                    return;
                };
                (reply.status, logged.status) = (101, 101);
                (reply.upgraded, reply.ended) = (true, None);
                plain.ended = plain.ended + random.millis(1, 3_000);
                logged.made = plain.ended;
                logged.flags = *random.pick(&[None, Some("UC")]);
                logged.request_bytes = random.between(0, 10_000);
                logged.response_bytes = random.between(0, 10_000);
                plain.is_last = true;
            }
            Self::UpstreamReset => plain.reset_by_upstream(random),
            Self::TimedOut => {
                (logged.status, logged.response_bytes) = (504, 24);
                (logged.flags, logged.details) = (Some("UT"), "response_timeout");
                // The app may answer all the same, when the line has long been made.
                let late = random.millis(0, 2_000);
                plain.ended = plain.ended + late;
                match &mut plain.reply {
                    Some(reply) if random.chance(50) => {
                        reply.answered = reply.answered + late;
                        reply.ended = Some(plain.ended);
                    }
                    reply => *reply = None,
                }
                plain.is_last = true;
            }
        }
    }
}

fn client_left(side: Side, plain: &mut Transaction, random: &mut Random) {
    let logged = &mut plain.logged;
    (logged.status, logged.flags) = (0, Some("DC"));
    (logged.details, logged.response_bytes) = ("downstream_remote_disconnect", 0);
    plain.reasons.push(Reason::Aborted);
    plain.is_last = true;
    // An app behind its proxy may have answered, as if nothing had happened.
    if side == Side::Client {
        plain.reply = None;
    } else if random.chance(50) {
        plain.reply = None;
        plain.ended = plain.ended + random.micros(0, 2_000);
    }
}

fn early_answer(side: Side, plain: &mut Transaction, random: &mut Random) {
    let (Some(head), Some(reply)) = (&mut plain.head, &plain.reply) else {
        return;
    };
    head.method = "POST";
    plain.logged.method = Some("POST");
    let (sent, read) = (
        random.between(100_000, 5_000_000),
        random.between(0, 100_000),
    );
    let uploaded = reply.answered + random.micros(1, 5_000);
    plain.request_ended = Some(uploaded);
    plain.ended = plain.ended.max(uploaded);
    plain.logged.made = plain
        .logged
        .made
        .max(plain.ended - Duration::from_micros(200));
    (plain.request_bytes, plain.logged.request_bytes) = match side {
        Side::Client => (sent, read),
        _ => (read, sent),
    };
}
