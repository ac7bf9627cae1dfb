//! Networks from which an API key may be used, in CIDR notation (RFC 4632, RFC 4291 §2.3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address range such as `192.0.2.0/24` or `2001:db8::/32`.
///
/// IPv4 and IPv6 are matched independently: `0.0.0.0/0` holds no IPv6 address. An IPv4-mapped IPv6 address counts as
/// the IPv4 address that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    /// With all bits beyond the prefix cleared.
    address: IpAddr,
    prefix_length: u8,
}

/// The text is no [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Neither an address nor an address with a prefix length that it can have.
    #[error("a network is an IP address, or one with a prefix length as in 192.0.2.0/24")]
    Malformed,
    /// A bit beyond the prefix is set, as in `192.0.2.7/24`; which of the two was meant can't be known.
    #[error("the address has bits set beyond the prefix length")]
    HostBits,
}

impl Network {
    /// Whether `address` is within.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4()
            && masked(address, self.prefix_length) == self.address
    }

    /// Whether every address of `other` is within.
    pub fn covers(&self, other: &Network) -> bool {
        self.prefix_length <= other.prefix_length && self.contains(other.address)
    }

    /// Whether some address is within both.
    pub fn overlaps(&self, other: &Network) -> bool {
        self.covers(other) || other.covers(self)
    }
}

/// Whether what is confined to these networks, if it is, may be used from `address`. An unknown address is no match.
pub(crate) fn may_be_used_from(networks: Option<&[Network]>, address: Option<IpAddr>) -> bool {
    match (networks, address) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(networks), Some(address)) => networks.iter().any(|network| network.contains(address)),
    }
}

fn masked(address: IpAddr, prefix_length: u8) -> IpAddr {
    // A shift by the full width leaves no bits: the mask of a prefix of length 0.
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix_length)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix_length)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// A bare address is a network of one. `::ffff:0:0/96` and longer prefixes become IPv4 networks.
    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let (address, prefix_length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Malformed)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_length = match prefix_length {
            None => bits,
            Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().map_err(|_| NetworkError::Malformed)?
            }
            Some(_) => return Err(NetworkError::Malformed),
        };
        if prefix_length > bits {
            return Err(NetworkError::Malformed);
        }
        if masked(address, prefix_length) != address {
            return Err(NetworkError::HostBits);
        }
        Ok(match address.to_canonical() {
            mapped @ IpAddr::V4(_) if address.is_ipv6() && prefix_length >= 96 => {
                Network { address: mapped, prefix_length: prefix_length - 96 }
            }
            _ => Network { address, prefix_length },
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Network, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_of_its_own_family() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.7/32", "::ffff:192.0.2.7", "::ffff:192.0.2.6"),
            ("0.0.0.0/0", "255.255.255.255", "2001:db8::1"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
            ("::/0", "::1", "::ffff:192.0.2.1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"),
            ("10.0.0.0/8", "10.1.2.3", "11.0.0.0"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{network} {outside}");
        }
    }

    #[test]
    fn of_two_networks_one_is_in_the_other_or_they_have_nothing_in_common() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        for (outer, inner) in [
            ("10.0.0.0/8", "10.1.0.0/16"),
            ("0.0.0.0/0", "192.0.2.7"),
            ("::/0", "2001:db8::/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
        ] {
            let (outer, inner) = (network(outer), network(inner));
            assert!(outer.covers(&inner) && outer.overlaps(&inner) && inner.overlaps(&outer));
            assert_eq!(inner.covers(&outer), inner == outer);
        }
        for (one, other) in
            [("10.0.0.0/16", "10.1.0.0/16"), ("0.0.0.0/0", "::/0"), ("::/0", "10.0.0.0/8")]
        {
            let (one, other) = (network(one), network(other));
            assert!(!one.covers(&other) && !one.overlaps(&other) && !other.overlaps(&one));
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in
            ["", "/", "a", "1.2.3", "1.2.3.4/", "1.2.3.4/33", "::/129", "1.2.3.4/+8", "::1/999"]
        {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Malformed), "{text}");
        }
        for text in ["192.0.2.7/24", "2001:db8::1/32", "1.0.0.0/0"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::HostBits), "{text}");
        }
    }

    #[test]
    fn a_network_has_one_text() {
        let text = |text: &str| text.parse::<Network>().unwrap().to_string();
        assert_eq!(text("192.0.2.7"), "192.0.2.7/32");
        assert_eq!(text("2001:DB8:0::/32"), "2001:db8::/32");
        assert_eq!(text("::ffff:192.0.2.0/120"), "192.0.2.0/24");
        assert_eq!(text("::/0"), "::/0");
    }
}
