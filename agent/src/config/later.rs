//! Keys of parts that this version does not build.
//!
//! A later part's key is accepted at its default and refused otherwise, so that nobody believes a
//! protection to be on which is not there.

use super::{
    document::{Node, Value},
    fault::Fault,
};

/// Where such a key can stand, and its default. `[]` stands for each item of a list.
const LATER: [(&[&str], &str); 5] = [
    // Whose HTTP is read: that of pods without a sidecar, `all`, later.
    (&["capture", "scope"], "meshed"),
    // Merkle evidence over the records.
    (&["evidence"], "none"),
    // How traffic comes to the sidecar: `tproxy` later.
    (&["mesh", "interception"], "redirect"),
    // Who writes the log files: `docker` (json-file) later.
    (&["logs", "driver"], "cri"),
    // Where what waits for a collector is kept: on disk, encrypted, later.
    (&["forward", "[]", "spool"], "memory"),
];

/// Removes the later keys that stand at their defaults.
pub(super) fn refuse_later_keys(root: &mut Node) -> Result<(), Fault> {
    LATER
        .iter()
        .try_for_each(|(path, default)| refuse(root, path, default))
}

fn refuse(node: &mut Node, path: &[&str], default: &str) -> Result<(), Fault> {
    match (path, &mut node.value) {
        (["[]", below @ ..], Value::Sequence(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                refuse(item, below, default)
                    .map_err(|fault| fault.beneath(format!("[{index}]")))?;
            }
        }
        ([key], Value::Mapping(entries)) => {
            let is_later = |name: &str| name == *key;
            for (key, node) in entries.iter().filter(|(key, _)| is_later(&key.name)) {
                let is_default = match &node.value {
                    Value::Plain(text) | Value::Text { text, .. } => text == default,
                    Value::Null => true,
                    Value::Sequence(_) | Value::Mapping(_) => false,
                };
                if !is_default {
                    let message =
                        format!("not in this version: leave the key out or write `{default}`");
                    return Err(Fault::at(node.line, message).beneath(&key.name));
                }
            }
            entries.retain(|(key, _)| !is_later(&key.name));
        }
        ([key, below @ ..], Value::Mapping(entries)) => {
            for (name, node) in entries.iter_mut().filter(|(name, _)| name.name == *key) {
                refuse(node, below, default).map_err(|fault| fault.beneath(&name.name))?;
            }
        }
        _ => {}
    }
    Ok(())
}
