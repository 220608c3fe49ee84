//! The forms of the names that Kubernetes gives. Names on disk are not trusted to have them.

/// Whether it is a DNS-1123 label, the form of namespaces and containers.
pub(super) fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_dns_label(name)
}

/// Whether it is a DNS-1123 subdomain, the form of a pod's name.
pub(super) fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_label)
}

/// Whether it is a pod's uid: an RFC 9562 UUID, or for static pods 32 digits of a hash.
pub(super) fn is_pod_uid(uid: &str) -> bool {
    let is_hash = uid.len() == 32 && is_hexadecimal(uid);
    let mut lengths = [8, 4, 4, 4, 12].into_iter();
    let is_uuid = uid.len() == 36
        && uid
            .split('-')
            .all(|group| lengths.next() == Some(group.len()) && is_hexadecimal(group));
    is_hash || is_uuid
}

/// Whether it can be a runtime's id of a container. All runtimes use 64 hexadecimal digits;
/// 12 are the short form that their tools accept.
pub(super) fn is_container_id(id: &str) -> bool {
    (12..=64).contains(&id.len()) && is_hexadecimal(id)
}

/// Whether it has only lower-case hexadecimal digits.
pub(super) fn is_hexadecimal(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_dns_label(label: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte == b'-' || is_alphanumeric(byte))
}

#[cfg(test)]
mod tests {
    use super::{is_container_id, is_label, is_pod_uid, is_subdomain};

    #[test]
    fn forms() {
        assert!(is_label("istio-proxy") && is_label("a") && is_label(&"a".repeat(63)));
        for label in ["", "-a", "a-", "A", "a.b", "a_b", "a\n", &"a".repeat(64)] {
            assert!(!is_label(label), "{label:?}");
        }
        assert!(is_subdomain("web-0.node-1.example") && is_subdomain(&"a".repeat(253)));
        for name in ["", ".", "a..b", "a.", "a/b", "..", &"a".repeat(254)] {
            assert!(!is_subdomain(name), "{name:?}");
        }
        assert!(is_pod_uid("0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"));
        assert!(is_pod_uid("1f0e2d3c4b5a69788796a5b4c3d2e1f0"));
        for uid in [
            "",
            "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f",
            "0a1b2c3d-4e5f6071-8293-a4b5c6d7e8f9-0",
            "0A1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
            "0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9",
        ] {
            assert!(!is_pod_uid(uid), "{uid}");
        }
        assert!(is_container_id(&"0".repeat(64)) && !is_container_id(&"0".repeat(65)));
    }
}
