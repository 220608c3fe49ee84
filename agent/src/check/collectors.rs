//! What became of the handshakes with collectors.

use super::Item;
use crate::forward::{ConnectionError, Probe, Receiver};

/// Of the collector at `endpoint`.
pub(super) fn handshake(endpoint: &str, probe: &Probe) -> Item {
    let name = format!("{endpoint} handshake");
    match probe {
        Probe::Accepted(Receiver::Acknowledging) => {
            Item::ok(name, "accepted us; it acknowledges what it stores")
        }
        Probe::Accepted(Receiver::Silent) => Item::ok(
            name,
            "accepted us; it does not acknowledge, the resend window protects",
        ),
        Probe::Unreachable(error) => Item::warning(
            name,
            format!("{error}; records wait for it within `queue`"),
            mend(error),
        ),
        Probe::Refused(error) => Item::failure(name, error.to_string(), mend(error)),
    }
}

fn mend(error: &ConnectionError) -> &'static str {
    match error {
        ConnectionError::Credentials(_) => {
            "put a valid chain, its key and the authorities where the agent can read them without \
             any capability"
        }
        ConnectionError::Resolve(_) => "correct `endpoint`, or mend the node's resolver",
        ConnectionError::Unreachable(_) | ConnectionError::TimedOut { .. } => {
            "start the collector, correct `endpoint`, or open the way to its port"
        }
        ConnectionError::Refused { .. } | ConnectionError::ClosedUnproven { .. } => {
            "put a certificate that is valid and that the collector trusts and allows into \
             `tls.cert`; the collector's log says what it does not like"
        }
        ConnectionError::Untrusted { .. } => {
            "put the authority of the collector's certificate into `tls.ca` and its name into \
             `tls.server_name`, or give the collector another certificate"
        }
        ConnectionError::NotTls13(_) | ConnectionError::Tls(_) => {
            "correct the port in `endpoint`, or have the collector speak TLS 1.3 there"
        }
        ConnectionError::Closed
        | ConnectionError::Lost(_)
        | ConnectionError::Answer(_)
        | ConnectionError::NotGiven(_) => "look into the collector's log",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustls::AlertDescription;

    use super::{super::State, ConnectionError, Probe, Receiver, handshake};

    #[test]
    fn only_what_does_not_pass_by_itself_is_a_failure() {
        let refused = ConnectionError::Refused {
            certificate: "agent.crt".into(),
            alert: AlertDescription::UnknownCA,
        };
        let absent = ConnectionError::Unreachable(io::ErrorKind::ConnectionRefused.into());
        for (probe, state, message) in [
            (
                Probe::Accepted(Receiver::Acknowledging),
                State::Ok,
                "acknowledges what it stores",
            ),
            (
                Probe::Accepted(Receiver::Silent),
                State::Ok,
                "does not acknowledge",
            ),
            (Probe::Unreachable(absent), State::Warning, "no TCP"),
            (Probe::Refused(refused), State::Failure, "(unknown_ca)"),
        ] {
            let item = handshake("c:1", &probe);
            assert_eq!((&item.name[..], item.state), ("c:1 handshake", state));
            assert!(item.message.contains(message), "{item:?}");
            assert_eq!(item.mend.is_none(), state == State::Ok);
        }
    }
}
