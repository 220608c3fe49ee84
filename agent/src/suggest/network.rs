//! Addresses into the fewest networks that are narrow.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Networks are at most so wide.
const WIDEST_V4: u32 = 24;
const WIDEST_V6: u32 = 64;

/// More networks than these are named by nobody.
const MOST: usize = 8;

/// The networks; none if there would be too many.
pub(super) fn networks(addresses: &BTreeSet<IpAddr>) -> Option<Vec<String>> {
    // Of each network the first and the last address.
    let mut spans: BTreeMap<(bool, u128), (u128, u128)> = BTreeMap::new();
    for address in addresses {
        let (is_v6, bits, width, widest) = match address.to_canonical() {
            IpAddr::V4(v4) => (false, u128::from(u32::from(v4)), 32, WIDEST_V4),
            IpAddr::V6(v6) => (true, u128::from(v6), 128, WIDEST_V6),
        };
        let network = bits >> (width - widest);
        let span = spans.entry((is_v6, network)).or_insert((bits, bits));
        *span = (span.0.min(bits), span.1.max(bits));
    }
    let name = |((is_v6, _), (first, last)): ((bool, u128), (u128, u128))| {
        let width = if is_v6 { 128 } else { 32 };
        // Bits in which they differ are left out.
        let open = 128 - (first ^ last).leading_zeros();
        let base = first >> open << open;
        let address = match is_v6 {
            true => IpAddr::from(base.to_be_bytes()),
            false => IpAddr::from(u32::try_from(base).unwrap_or(0).to_be_bytes()),
        };
        format!("{address}/{}", width - open)
    };
    ((1..=MOST).contains(&spans.len())).then(|| spans.into_iter().map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::networks;

    fn of(addresses: &[&str]) -> Option<Vec<String>> {
        networks(
            &addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect(),
        )
    }

    #[test]
    fn networks_are_as_narrow_as_they_can_be() {
        assert_eq!(of(&["10.0.0.9"]).unwrap(), ["10.0.0.9/32"]);
        assert_eq!(of(&["10.0.0.8", "10.0.0.11"]).unwrap(), ["10.0.0.8/30"]);
        let both = of(&["10.0.0.1", "10.0.1.1", "::ffff:10.0.0.1"]).unwrap();
        assert_eq!(both, ["10.0.0.1/32", "10.0.1.1/32"]);
        let v6 = of(&["fd00::1", "fd00::2", "fd00:1::1"]).unwrap();
        assert_eq!(v6, ["fd00::/126", "fd00:1::1/128"]);
        let many: Vec<String> = (0..9).map(|third| format!("10.0.{third}.1")).collect();
        assert_eq!(
            of(&many.iter().map(String::as_str).collect::<Vec<_>>()),
            None
        );
        assert_eq!(of(&[]), None);
    }
}
