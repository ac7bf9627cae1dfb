//! From where a key may be used.

use std::net::IpAddr;

use portcullis_verifier::network::Network;
use serde::Serialize;
use utoipa::ToSchema;

use crate::platform::FieldError;

const MOST: usize = 50;

/// How much of a network is not allowed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// No address of it.
    All,
    /// Some of its addresses; whether they are those that were used is not known.
    Part,
}

/// The networks from which a key may be used; IPv4 and IPv6 are matched independently of one another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AllowedNetworks {
    #[default]
    Anywhere,
    Only(Vec<Network>),
}

impl AllowedNetworks {
    /// Whether somebody at this address may use the key. An address that is unknown is in no network.
    #[must_use]
    pub fn allow(&self, address: Option<IpAddr>) -> bool {
        match (self, address) {
            (Self::Anywhere, _) => true,
            (Self::Only(networks), Some(address)) => {
                networks.iter().any(|network| network.contains(address))
            }
            (Self::Only(_), None) => false,
        }
    }

    /// Whether these allow whatever `others` allow.
    #[must_use]
    pub(super) fn cover(&self, others: &Self) -> bool {
        match (self, others) {
            (Self::Anywhere, _) => true,
            (Self::Only(_), Self::Anywhere) => false,
            (Self::Only(own), Self::Only(others)) => {
                others.iter().all(|other| own.iter().any(|own| own.covers(other)))
            }
        }
    }

    /// What of a network that these allow `after` does not.
    #[must_use]
    pub(super) fn lost_of(&self, used: &Network, after: &Self) -> Option<Extent> {
        let Self::Only(allowed) = after else { return None };
        let had: Vec<&Network> = match self {
            Self::Anywhere => vec![used],
            // One of two networks that overlap is within the other.
            Self::Only(own) => {
                let own = own.iter().filter(|own| own.overlaps(used));
                own.map(|own| if own.covers(used) { used } else { own }).collect()
            }
        };
        if had.iter().all(|had| allowed.iter().any(|allowed| allowed.covers(had))) {
            return None;
        }
        let is_left = had.iter().any(|had| allowed.iter().any(|allowed| allowed.overlaps(had)));
        Some(if is_left { Extent::Part } else { Extent::All })
    }

    /// As people write them.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Anywhere => vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
            Self::Only(networks) => networks.iter().map(ToString::to_string).collect(),
        }
    }

    /// Reads what somebody wants; none is anywhere.
    pub(super) fn checked(wanted: Option<&[String]>, errors: &mut Vec<FieldError>) -> Self {
        let Some(wanted) = wanted else { return Self::Anywhere };
        if wanted.is_empty() || wanted.len() > MOST {
            errors.push(FieldError::new("allowed_ips", "must hold 1 to 50 networks"));
            return Self::Anywhere;
        }
        let mut networks: Vec<Network> = Vec::new();
        for (at, text) in wanted.iter().enumerate() {
            match text.parse() {
                Ok(network) if networks.contains(&network) => {}
                Ok(network) => networks.push(network),
                Err(error) => {
                    errors.push(FieldError::new(format!("allowed_ips[{at}]"), error.to_string()));
                }
            }
        }
        let holds = |text: &str| text.parse().is_ok_and(|all| networks.contains(&all));
        if holds("0.0.0.0/0") && holds("::/0") { Self::Anywhere } else { Self::Only(networks) }
    }

    /// What somebody should know who asked for these networks in so many words.
    #[must_use]
    pub fn warnings(wanted: Option<&[String]>) -> Vec<String> {
        let is_everything = |text: &&String| {
            text.parse::<Network>().is_ok_and(|network| network.to_string().ends_with("/0"))
        };
        let wide = wanted.into_iter().flatten().filter(is_everything);
        wide.map(|text| format!("{text} allows every address of its kind")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Result<AllowedNetworks, Vec<FieldError>> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let mut errors = Vec::new();
        let networks = AllowedNetworks::checked(Some(&texts), &mut errors);
        if errors.is_empty() { Ok(networks) } else { Err(errors) }
    }

    #[test]
    fn a_list_of_one_family_holds_none_of_the_other() {
        let only_v4 = networks(&["192.0.2.0/24"]).unwrap();
        assert!(
            only_v4.allow("192.0.2.7".parse().ok())
                && only_v4.allow("::ffff:192.0.2.7".parse().ok())
        );
        assert!(!only_v4.allow("2001:db8::1".parse().ok()) && !only_v4.allow(None));
        let all_v4 = networks(&["0.0.0.0/0"]).unwrap();
        assert!(all_v4.allow("203.0.113.1".parse().ok()) && !all_v4.allow("::1".parse().ok()));
        assert_eq!(networks(&["0.0.0.0/0", "::/0"]), Ok(AllowedNetworks::Anywhere));
        assert!(AllowedNetworks::Anywhere.allow(None));
    }

    #[test]
    fn what_an_edit_takes_away_of_a_network_is_all_or_a_part_or_nothing() {
        use Extent::{All, Part};
        for (before, used, after, lost) in [
            ("0.0.0.0/0 ::/0", "10.1.0.0/16", "10.0.0.0/8", None),
            ("0.0.0.0/0 ::/0", "10.1.0.0/16", "10.1.2.0/24", Some(Part)),
            ("0.0.0.0/0 ::/0", "10.1.0.0/16", "10.2.0.0/16", Some(All)),
            ("0.0.0.0/0 ::/0", "2001:db8::/32", "10.0.0.0/8", Some(All)),
            ("0.0.0.0/0 ::/0", "10.1.0.0/16", "0.0.0.0/0", None),
            ("10.1.2.0/24", "10.1.0.0/16", "10.1.2.0/24", None),
            ("10.1.2.0/24", "10.1.0.0/16", "10.1.2.0/25", Some(Part)),
            ("10.1.2.0/24", "10.1.0.0/16", "10.1.3.0/24", Some(All)),
            ("10.1.2.0/24", "10.1.0.0/16", "0.0.0.0/0 ::/0", None),
            // What was not allowed before is not lost now.
            ("10.2.0.0/16", "10.1.0.0/16", "10.3.0.0/16", None),
        ] {
            let read = |text: &str| networks(&text.split(' ').collect::<Vec<_>>()).unwrap();
            let found = read(before).lost_of(&used.parse().unwrap(), &read(after));
            assert_eq!(found, lost, "{used}, {before} to {after}");
        }
    }

    #[test]
    fn networks_cover_what_is_within_them() {
        let read = |text: &str| networks(&text.split(' ').collect::<Vec<_>>()).unwrap();
        let anywhere = AllowedNetworks::Anywhere;
        assert!(anywhere.cover(&read("10.0.0.0/8")) && !read("10.0.0.0/8").cover(&anywhere));
        assert!(read("10.0.0.0/8 ::/0").cover(&read("10.1.0.0/16 10.2.0.0/16 2001:db8::/32")));
        assert!(!read("10.0.0.0/8").cover(&read("10.1.0.0/16 11.0.0.0/16")));
    }

    #[test]
    fn each_wrong_network_is_named() {
        let errors = networks(&["192.0.2.0/24", "192.0.2.7/24", "nonsense"]).unwrap_err();
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["allowed_ips[1]", "allowed_ips[2]"]);
        assert!(networks(&[]).is_err());
    }

    #[test]
    fn who_opens_it_to_everybody_is_warned() {
        let wanted = ["0.0.0.0/0".to_owned(), "10.0.0.0/8".to_owned()];
        assert_eq!(AllowedNetworks::warnings(Some(&wanted)).len(), 1);
        assert!(AllowedNetworks::warnings(None).is_empty());
    }
}
