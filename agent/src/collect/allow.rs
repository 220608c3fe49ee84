//! Who may send, and for which node, by the names in the certificate.

use thiserror::Error;
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

/// The subject alternative names (RFC 5280 section 4.2.1.6) that may send.
///
/// An entry with `://` speaks of URI names, cut at `/`; another one of DNS names, cut at `.`. A
/// part is literal, or `*`, any one part, or `{node}`, the node for which the sender may speak: its
/// records must bear it in `node`. In a URI `{node}` is one part, in a DNS name one or more, since
/// node names may have dots. DNS names are compared without regard to case.
#[derive(Clone, Debug)]
pub(super) struct Allow {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    syntax: Syntax,
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    Dns,
    Uri,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Any,
    Node,
}

/// A sender that may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sender {
    /// The name by which it was let in.
    pub(super) name: String,
    /// The node for which alone it may speak, if its entry says so.
    pub(super) node: Option<String>,
}

impl Allow {
    pub(super) fn parse(entries: &[String]) -> Result<Self, AllowError> {
        if entries.is_empty() {
            return Err(AllowError::Empty);
        }
        let entries = entries
            .iter()
            .map(|entry| {
                parse_entry(entry).map_err(|reason| AllowError::Entry {
                    entry: entry.clone(),
                    reason,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// The first name of the certificate that an entry lets in.
    pub(super) fn sender(&self, certificate: &[u8]) -> Result<Sender, NotAllowed> {
        let mut names = Vec::new();
        if let Ok((_, certificate)) = parse_x509_certificate(certificate)
            && let Ok(Some(extension)) = certificate.subject_alternative_name()
        {
            for name in &extension.value.general_names {
                let (syntax, name) = match name {
                    GeneralName::DNSName(name) => (Syntax::Dns, name.to_ascii_lowercase()),
                    GeneralName::URI(name) => (Syntax::Uri, (*name).to_owned()),
                    _ => continue,
                };
                if let Some(sender) = self.match_name(syntax, &name) {
                    return Ok(sender);
                }
                names.push(name);
            }
        }
        names.truncate(MOST_NAMES_SHOWN);
        Err(NotAllowed { names })
    }

    fn match_name(&self, syntax: Syntax, name: &str) -> Option<Sender> {
        if !is_plain(syntax, name) || directory_name(name).len() > LONGEST_FILE_NAME {
            return None;
        }
        let parts: Vec<_> = name.split(syntax.separator()).collect();
        self.entries
            .iter()
            .filter(|entry| entry.syntax == syntax)
            .find_map(|entry| entry.match_parts(&parts))
            .map(|node| Sender {
                name: name.to_owned(),
                node,
            })
    }
}

impl Entry {
    /// Some: it fits, with the node if the entry names one.
    fn match_parts(&self, parts: &[&str]) -> Option<Option<String>> {
        let Some(at) = self.parts.iter().position(|part| *part == Part::Node) else {
            return fits(&self.parts, parts).then_some(None);
        };
        let after = self.parts.len() - at - 1;
        let end = parts.len().checked_sub(after)?;
        let node = parts.get(at..end)?;
        let length_fits = match self.syntax {
            Syntax::Dns => !node.is_empty(),
            Syntax::Uri => node.len() == 1 && node != [""],
        };
        let fits = length_fits
            && fits(&self.parts[..at], &parts[..at])
            && fits(&self.parts[at + 1..], &parts[end..]);
        fits.then(|| Some(node.join(".")))
    }
}

impl Sender {
    /// Whether a record of this node may come from here.
    pub(super) fn speaks_for(&self, node: &str) -> bool {
        self.node
            .as_ref()
            .is_none_or(|own| own.eq_ignore_ascii_case(node))
    }

    /// The name of its directory: one file name, another one for every other sender.
    pub(super) fn directory(&self) -> String {
        directory_name(&self.name)
    }
}

impl Syntax {
    fn separator(self) -> char {
        match self {
            Self::Dns => '.',
            Self::Uri => '/',
        }
    }
}

/// Why `allow` cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AllowError {
    /// Nobody could send.
    #[error("`allow` is empty, expected at least one name, as in `spiffe://mesh/node/{{node}}`")]
    Empty,
    /// An entry is malformed.
    #[error("`allow`: `{}`: {reason}", entry.escape_debug())]
    Entry {
        /// What was told.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A certificate of a trusted authority that no entry lets in.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("no entry of `allow` fits the certificate's names {names:?}")]
pub(super) struct NotAllowed {
    names: Vec<String>,
}

fn parse_entry(entry: &str) -> Result<Entry, &'static str> {
    let syntax = if entry.contains("://") {
        Syntax::Uri
    } else {
        Syntax::Dns
    };
    let mut parts = Vec::new();
    for part in entry.split(syntax.separator()) {
        parts.push(match part {
            "*" => Part::Any,
            "{node}" => Part::Node,
            part if part.contains(['*', '{', '}']) => {
                return Err("`*` and `{node}` stand for whole parts only");
            }
            "" if syntax == Syntax::Dns => return Err("a DNS name has an empty part"),
            part if syntax == Syntax::Dns => Part::Literal(part.to_ascii_lowercase()),
            part => Part::Literal(part.to_owned()),
        });
    }
    if parts.iter().filter(|part| **part == Part::Node).count() > 1 {
        return Err("`{node}` may occur once");
    }
    let literals = parts.iter().all(|part| match part {
        Part::Literal(literal) => literal.is_empty() || is_plain(syntax, literal),
        Part::Any | Part::Node => true,
    });
    if !literals {
        return Err("no DNS name or URI is written with these characters");
    }
    Ok(Entry { syntax, parts })
}

fn fits(pattern: &[Part], parts: &[&str]) -> bool {
    pattern.len() == parts.len()
        && pattern.iter().zip(parts).all(|(part, name)| match part {
            Part::Literal(literal) => literal == name,
            Part::Any => !name.is_empty(),
            Part::Node => false,
        })
}

/// Whether a name has nothing in it that a name of a machine never has: no wildcard, no space, no
/// control character.
fn is_plain(syntax: Syntax, name: &str) -> bool {
    match syntax {
        Syntax::Dns => name.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        }),
        Syntax::Uri => {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'*')
        }
    }
}

/// Letters, digits, `-`, `_` and inner dots stand for themselves, other bytes as `%` and two hex
/// digits.
fn directory_name(name: &str) -> String {
    let mut directory = String::with_capacity(name.len());
    for (index, byte) in name.bytes().enumerate() {
        match byte {
            b'.' if index > 0 => directory.push('.'),
            b'-' | b'_' => directory.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => directory.push(char::from(byte)),
            byte => {
                directory.push('%');
                directory.push_str(&format!("{byte:02X}"));
            }
        }
    }
    directory
}

/// NAME_MAX of every Linux file system.
const LONGEST_FILE_NAME: usize = 255;
/// What of a certificate goes into a message.
const MOST_NAMES_SHOWN: usize = 4;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::{Allow, AllowError, Sender, Syntax, directory_name};

    fn allow(entries: &[&str]) -> Allow {
        let entries: Vec<_> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        Allow::parse(&entries).unwrap()
    }

    fn node(entries: &[&str], name: &str) -> Option<Option<String>> {
        let syntax = if name.contains("://") {
            Syntax::Uri
        } else {
            Syntax::Dns
        };
        let sender = allow(entries).match_name(syntax, name)?;
        assert_eq!(sender.name, name);
        Some(sender.node)
    }

    #[test]
    fn lets_in_what_an_entry_says_and_nothing_else() {
        let uri = ["spiffe://mesh/node/{node}"];
        assert_eq!(
            node(&uri, "spiffe://mesh/node/ip-10-0-0-1.ec2"),
            Some(Some("ip-10-0-0-1.ec2".to_owned()))
        );
        for other in [
            "spiffe://mesh/node/",
            "spiffe://mesh/node/a/b",
            "spiffe://mesh2/node/a",
            "spiffe://mesh/node/*",
            "spiffe://mesh/node",
        ] {
            assert_eq!(node(&uri, other), None, "{other}");
        }
        assert_eq!(node(&["*.agents.mesh"], "n1.agents.mesh"), Some(None));
        assert_eq!(node(&["*.agents.mesh"], "a.n1.agents.mesh"), None);
        assert_eq!(node(&["*.agents.mesh"], "agents.mesh"), None);
        assert_eq!(
            node(&["{node}.agents.mesh"], "n1.eu.agents.mesh"),
            Some(Some("n1.eu".to_owned()))
        );
        assert_eq!(node(&["{node}.agents.mesh"], "agents.mesh"), None);
        assert_eq!(node(&["n1.mesh"], "n1.mesh"), Some(None));
        assert_eq!(node(&["n1.mesh"], "spiffe://n1.mesh"), None);
        assert_eq!(node(&["*"], "*"), None);
    }

    #[test]
    fn a_name_longer_than_a_file_name_is_not_let_in() {
        let name = format!("spiffe://mesh/{}", "a".repeat(255));
        assert_eq!(node(&["spiffe://mesh/*"], &name), None);
    }

    #[test]
    fn refuses_entries_that_do_not_mean_what_they_seem() {
        for entry in [
            "",
            "n*.mesh",
            "{node}-x.mesh",
            "{node}.{node}",
            "a..b",
            "a b",
        ] {
            let error = Allow::parse(&[entry.to_owned()]).unwrap_err();
            assert!(matches!(error, AllowError::Entry { .. }), "{entry}");
        }
        assert_eq!(Allow::parse(&[]).unwrap_err(), AllowError::Empty);
    }

    #[test]
    fn speaks_for_its_node_alone() {
        let mut sender = Sender {
            name: "n1.mesh".to_owned(),
            node: Some("n1".to_owned()),
        };
        assert!(sender.speaks_for("n1") && sender.speaks_for("N1"));
        assert!(!sender.speaks_for("n2") && !sender.speaks_for(""));
        sender.node = None;
        assert!(sender.speaks_for("n2"));
    }

    proptest! {
        #[test]
        fn a_directory_is_one_plain_file_name(name in "\\PC{1,80}") {
            let directory = directory_name(&name);
            prop_assert!(!directory.contains(['/', '\0']) && !directory.starts_with('.'));
        }

        #[test]
        fn directories_differ_as_names_do(names in proptest::collection::hash_set("[a%./:2F]{1,6}", 0..50)) {
            let directories: HashSet<_> = names.iter().map(|name| directory_name(name)).collect();
            prop_assert_eq!(directories.len(), names.len());
        }
    }
}
