//! Whose request this is: the peer's address, or the one that a trusted proxy names in `X-Forwarded-For`.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::network::Network;

/// The proxies whose `X-Forwarded-For` is believed. By default none, and the peer is the caller.
///
/// Anyone can send that header. So it is read from its right end, where each proxy has added the address that it was
/// called from, and only for as long as the address on the right is that of a proxy of yours: the first other one is
/// the caller's. List every proxy on the way, and nobody else.
///
/// ```
/// use portcullis_verifier::TrustedProxies;
///
/// let proxies: TrustedProxies = ["10.0.0.0/8".parse()?].into_iter().collect();
/// let forwarded = [b"198.51.100.9, 203.0.113.7".as_slice()];
/// let caller = proxies.client_address("10.0.0.2".parse()?, forwarded.into_iter());
/// assert_eq!(caller.to_string(), "203.0.113.7");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    /// Whether this is the address of a proxy that is believed.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The caller's address, from the peer's and the values of `X-Forwarded-For` in the order of the request's headers.
    ///
    /// What can't be read as an address ends the walk; the last proxy that was believed is the caller then.
    pub fn client_address<'a>(
        &self,
        peer: IpAddr,
        forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> IpAddr {
        let mut address = peer.to_canonical();
        for hop in forwarded_for.rev().flat_map(|value| value.rsplit(|byte| *byte == b',')) {
            if !self.contains(address) {
                break;
            }
            let Some(next) = parse(hop) else { break };
            address = next.to_canonical();
        }
        address
    }
}

/// An address, or one with the port that some proxies add to it.
fn parse(hop: &[u8]) -> Option<IpAddr> {
    let hop = str::from_utf8(hop).ok()?.trim();
    hop.parse().or_else(|_| hop.parse().map(|address: SocketAddr| address.ip())).ok()
}

impl FromIterator<Network> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> TrustedProxies {
        TrustedProxies(networks.into_iter().collect())
    }
}

impl From<Vec<Network>> for TrustedProxies {
    fn from(networks: Vec<Network>) -> TrustedProxies {
        TrustedProxies(networks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(peer: &str, forwarded: &[&[u8]], trusted: &[&str]) -> String {
        let trusted: TrustedProxies =
            trusted.iter().map(|network| network.parse::<Network>().unwrap()).collect();
        trusted.client_address(peer.parse().unwrap(), forwarded.iter().copied()).to_string()
    }

    #[test]
    fn a_stranger_can_not_forge_an_address() {
        assert_eq!(address("203.0.113.9", &[b"10.0.0.1"], &[]), "203.0.113.9");
        assert_eq!(address("203.0.113.9", &[b"10.0.0.1"], &["10.0.0.0/8"]), "203.0.113.9");
    }

    #[test]
    fn a_trusted_proxy_names_the_caller_and_what_stands_left_of_it_is_ignored() {
        let proxies = ["10.0.0.0/8"];
        for (peer, forwarded, caller) in [
            ("10.0.0.2", &[b"1.1.1.1, 198.51.100.7".as_slice()][..], "198.51.100.7"),
            ("10.0.0.2", &[b"198.51.100.7", b"10.0.0.3"], "198.51.100.7"),
            ("10.0.0.2", &[b"1.1.1.1", b"198.51.100.7", b"10.0.0.3,10.0.0.4"], "198.51.100.7"),
            ("10.0.0.2", &[b"nonsense"], "10.0.0.2"),
            ("10.0.0.2", &[b"nonsense, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.2", &[], "10.0.0.2"),
            ("::ffff:10.0.0.2", &[b"2001:db8::1"], "2001:db8::1"),
            ("10.0.0.2", &[b"::ffff:198.51.100.7"], "198.51.100.7"),
        ] {
            assert_eq!(address(peer, forwarded, &proxies), caller, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn what_a_stranger_adds_hides_nothing_that_a_proxy_says() {
        // The proxy has appended to a value that can't be read as a whole.
        let forwarded: [&[u8]; 1] = [b"\xff, 198.51.100.7"];
        assert_eq!(address("10.0.0.2", &forwarded, &["10.0.0.0/8"]), "198.51.100.7");
    }

    #[test]
    fn a_port_is_no_part_of_an_address() {
        for (hop, caller) in [
            (b"198.51.100.7:4711".as_slice(), "198.51.100.7"),
            (b"[2001:db8::1]:4711", "2001:db8::1"),
        ] {
            assert_eq!(address("10.0.0.2", &[hop], &["10.0.0.0/8"]), caller);
        }
    }
}
