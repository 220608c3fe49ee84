//! The files of mutual TLS: there, readable, and valid now.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use x509_parser::pem::Pem;

use super::Item;
use crate::{config::Sink, timestamp::Timestamp};

/// The longest file: a bundle of all public authorities is 300 KiB.
const MOST_BYTES: u64 = 1 << 20;

const DAY: i64 = 24 * 60 * 60;

/// Less than this many days before its end, a certificate should have been renewed.
const RENEWAL_DAYS: i64 = 7;

/// The three files of a sink.
pub(super) fn of_sink(sink: &Sink, now: Timestamp) -> Vec<Item> {
    let name = |file: &str| format!("{} {file}", sink.endpoint);
    vec![
        certificates(name("tls.ca"), &sink.tls.ca, Need::One, now),
        certificates(name("tls.cert"), &sink.tls.cert, Need::First, now),
        private_key(name("tls.key"), &sink.tls.key),
    ]
}

/// Which certificates of a file must be valid.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Any one of a bundle.
    One,
    /// The first, which is the agent's own.
    First,
}

fn certificates(name: String, path: &Path, need: Need, now: Timestamp) -> Item {
    const MEND: &str = "issue a new certificate, or correct the path and the file's owner";
    let fail =
        |message: String| Item::failure(&name, format!("{}: {message}", path.display()), MEND);
    let pems = match pems(path) {
        Ok(pems) => pems,
        Err(error) => return fail(error.to_string()),
    };
    let ends: Result<Vec<_>, _> = pems
        .iter()
        .filter(|pem| pem.label == "CERTIFICATE")
        .map(|pem| validity(pem, now))
        .collect();
    let ends = match ends {
        Ok(ends) if ends.is_empty() => return fail("expected a PEM certificate, got none".into()),
        Ok(ends) => ends,
        Err(error) => return fail(error),
    };
    let (Some(first), Some(best)) = (ends.first(), ends.iter().max_by_key(|end| end.days)) else {
        return fail("expected a PEM certificate, got none".into());
    };
    let decisive = match need {
        Need::One => best,
        Need::First => first,
    };
    let message = format!("{}: {}", path.display(), decisive.message);
    match decisive.days {
        None => Item::failure(name, message, MEND),
        Some(days) if days < RENEWAL_DAYS => Item::warning(
            name,
            message,
            "renew it; SIGHUP makes the agent read it again",
        ),
        Some(_) => Item::ok(name, message),
    }
}

/// How long a certificate is still good.
struct Validity {
    /// None: it is not valid now.
    days: Option<i64>,
    message: String,
}

fn validity(pem: &Pem, now: Timestamp) -> Result<Validity, String> {
    let certificate = pem
        .parse_x509()
        .map_err(|error| format!("expected an X.509 certificate: {error}"))?;
    let validity = certificate.validity();
    let seconds = i64::try_from(now.0 / 1_000_000_000).unwrap_or(i64::MAX);
    let left = validity.not_after.timestamp() - seconds;
    let subject = certificate.subject();
    Ok(if seconds < validity.not_before.timestamp() {
        Validity {
            days: None,
            message: format!("`{subject}` is not valid before {}", validity.not_before),
        }
    } else if left < 0 {
        Validity {
            days: None,
            message: format!("`{subject}` expired at {}", validity.not_after),
        }
    } else {
        Validity {
            days: Some(left / DAY),
            message: format!("`{subject}`, valid for {} days", left / DAY),
        }
    })
}

fn private_key(name: String, path: &Path) -> Item {
    const MEND: &str = "correct the path, and let the agent's user alone read the file";
    let shown = path.display();
    let pems = match pems(path) {
        Ok(pems) => pems,
        Err(error) => return Item::failure(name, format!("{shown}: {error}"), MEND),
    };
    if !pems.iter().any(|pem| pem.label.ends_with("PRIVATE KEY")) {
        let message = format!("{shown}: expected a PEM private key, got none");
        return Item::failure(name, message, MEND);
    }
    // Others; a group may be how a volume is shared with the agent's user.
    let is_open = fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o007 != 0);
    match is_open {
        true => Item::warning(name, format!("{shown}: every user may read it"), MEND),
        false => Item::ok(name, shown.to_string()),
    }
}

fn pems(path: &Path) -> io::Result<Vec<Pem>> {
    let mut text = Vec::new();
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("expected a regular file"));
    }
    file.take(MOST_BYTES).read_to_end(&mut text)?;
    Pem::iter_from_buffer(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| io::Error::other(format!("expected PEM: {error}")))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::{super::State, Item, of_sink};
    use crate::{config::Config, timestamp::Timestamp};

    /// 2026-11-22T00:00:00Z, in seconds.
    const NOW: u64 = 1_795_305_600;

    struct Files(tempfile::TempDir);

    impl Files {
        /// A certificate with its key, valid from 2026-01-01 to 2027-01-01.
        fn new() -> Self {
            let files = Self(tempfile::tempdir().unwrap());
            let mut params = CertificateParams::new(vec!["agent".to_owned()]).unwrap();
            params.not_before = date_time_ymd(2026, 1, 1);
            params.not_after = date_time_ymd(2027, 1, 1);
            let key = KeyPair::generate().unwrap();
            let pem = params.self_signed(&key).unwrap().pem();
            files.write("ca.pem", &pem);
            files.write("cert.pem", &pem);
            files.write("key.pem", &key.serialize_pem());
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(files.0.path().join("key.pem"), mode).unwrap();
            files
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.path().join(name), text).unwrap();
        }

        fn judge(&self, seconds: u64) -> Vec<Item> {
            let directory = self.0.path().display();
            let text = format!(
                "forward: [{{type: ndjson, endpoint: 'c:1', tls: {{ca: '{directory}/ca.pem', cert: '{directory}/cert.pem', key: '{directory}/key.pem'}}}}]"
            );
            let config = Config::parse(Path::new("mw.yaml"), &text, &|_| None).unwrap();
            of_sink(&config.forward[0], Timestamp(seconds * 1_000_000_000))
        }

        fn states(&self, seconds: u64) -> Vec<State> {
            self.judge(seconds).iter().map(|item| item.state).collect()
        }
    }

    #[test]
    fn certificates_are_judged_by_the_time() {
        let files = Files::new();
        let (ok, warning, failure) = (State::Ok, State::Warning, State::Failure);
        const DAY: u64 = 24 * 60 * 60;
        for (seconds, state) in [
            (NOW, ok),
            (NOW + 35 * DAY, warning),
            (NOW + 41 * DAY, failure),
            (NOW - 330 * DAY, failure),
        ] {
            assert_eq!(files.states(seconds), [state, state, ok], "{seconds}");
        }
        let items = files.judge(NOW);
        assert_eq!(items[1].name, "c:1 tls.cert");
        assert!(
            items[1].message.ends_with("valid for 40 days"),
            "{}",
            items[1].message
        );
    }

    #[test]
    fn files_that_are_none() {
        let files = Files::new();
        files.write("ca.pem", "nothing");
        files.write(
            "cert.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        );
        fs::remove_file(files.0.path().join("key.pem")).unwrap();
        assert_eq!(files.states(NOW), [State::Failure; 3]);
        fs::create_dir(files.0.path().join("key.pem")).unwrap();
        assert_eq!(files.states(NOW)[2], State::Failure);
    }

    #[test]
    fn a_key_that_everybody_reads_is_a_warning() {
        let files = Files::new();
        let mode = fs::Permissions::from_mode(0o644);
        fs::set_permissions(files.0.path().join("key.pem"), mode).unwrap();
        assert_eq!(files.states(NOW), [State::Ok, State::Ok, State::Warning]);
    }
}
