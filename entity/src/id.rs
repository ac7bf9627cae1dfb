//! Typed ids: UUIDv7 in the database, prefixed sortable text outside (`key_01j9z…`, as TypeID has it).

use std::fmt;
use std::str::FromStr;

use sea_orm::{DbErr, DeriveValueType, TryFromU64};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::{ULID_LEN, Ulid};
use uuid::Uuid;

/// A text that is not an id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidId {
    /// The prefix that was expected, such as `key`.
    pub expected: &'static str,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected an id that starts with `{}_`", self.expected)
    }
}

impl std::error::Error for InvalidId {}

/// Room for the text of an id.
type Buffer = [u8; 32];
const LONGEST_PREFIX: usize = size_of::<Buffer>() - 1 - ULID_LEN;

/// Writes the text without asking for memory: an answer may hold hundreds of ids.
fn text<'a>(prefix: &str, uuid: Uuid, buffer: &'a mut Buffer) -> &'a str {
    let mut suffix = [0; ULID_LEN];
    Ulid::from_bytes(*uuid.as_bytes()).array_to_str(&mut suffix).make_ascii_lowercase();
    let (start, end) = (prefix.len() + 1, prefix.len() + 1 + ULID_LEN);
    buffer[..start - 1].copy_from_slice(prefix.as_bytes());
    buffer[start - 1] = b'_';
    buffer[start..end].copy_from_slice(&suffix);
    // All of it is ASCII.
    std::str::from_utf8(&buffer[..end]).unwrap_or_default()
}

fn parse(text: &str, prefix: &'static str) -> Result<Uuid, InvalidId> {
    let invalid = InvalidId { expected: prefix };
    let Some(body) = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) else {
        return Err(invalid);
    };
    let Ok(parsed) = Ulid::from_string(body) else {
        return Err(invalid);
    };
    let uuid = Uuid::from_bytes(parsed.to_bytes());
    // One id has one spelling: no upper case, no look-alike letters, no overflow.
    if self::text(prefix, uuid, &mut Buffer::default()) == text { Ok(uuid) } else { Err(invalid) }
}

/// How the API document describes such an id.
fn id_schema(prefix: &str) -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .pattern(Some(format!("^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$")))
        .examples([format!("{prefix}_01h455vb4pex5vsknk084sn02q")])
        .into()
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, DeriveValueType)]
        pub struct $name(pub Uuid);

        const _: () = assert!($prefix.len() <= LONGEST_PREFIX);

        impl $name {
            /// What its text starts with, without the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id made of the time (milliseconds since the epoch) and 74 random bits.
            #[must_use]
            pub fn new(at: crate::Timestamp) -> Self {
                let (seconds, nanos) = at.split();
                let timestamp = uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos);
                Self(Uuid::new_v7(timestamp))
            }

            /// What stands before every id that was made at this time or later, and after every earlier one: a range
            /// of times is a range of ids.
            #[must_use]
            pub fn first_at(at: crate::Timestamp) -> Self {
                // 48 bits of milliseconds, then what an id made by `new` has at random.
                let millis = u128::from(u64::try_from(at.0).unwrap_or(0).min((1 << 48) - 1));
                Self(Uuid::from_u128(millis << 80))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(text($prefix, self.0, &mut Buffer::default()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text, $prefix).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(text($prefix, self.0, &mut Buffer::default()))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                id_schema($prefix)
            }
        }

        impl utoipa::ToSchema for $name {}

        // SeaORM asks this of every primary key; ours are never made by the database.
        impl TryFromU64 for $name {
            fn try_from_u64(_: u64) -> Result<Self, DbErr> {
                Err(DbErr::ConvertFromU64(stringify!($name)))
            }
        }
    )*};
}

ids! {
    /// An organization: the tenant boundary.
    OrganizationId = "org";
    /// A person's account.
    UserId = "usr";
    /// A project: a subdivision of an organization.
    ProjectId = "prj";
    /// A role that an organization has made for itself.
    RoleId = "rol";
    /// An invitation into an organization.
    InvitationId = "inv";
    /// A browser session of a user.
    SessionId = "ses";
    /// A resource server: an API that accepts our credentials.
    ResourceServerId = "api";
    /// An OAuth client.
    ClientId = "app";
    /// A secret of a client or of an API key (never the secret itself).
    SecretId = "sec";
    /// What a user, or a client for itself, has allowed.
    GrantId = "gnt";
    /// An API key.
    ApiKeyId = "key";
    /// A signing key.
    SigningKeyId = "sig";
    /// An audit event.
    AuditEventId = "evt";
    /// An alert on its way to somebody.
    AlertId = "alt";
    /// A report of credentials that somebody found.
    ReportId = "rpt";
    /// An access token: its `jti`.
    TokenId = "tok";
    /// A list in which access tokens have their status.
    StatusListId = "lst";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_the_type_id_specification() {
        // The specification's own example: prefix_01h455vb4pex5vsknk084sn02q.
        let uuid: Uuid = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap_or_default();
        assert_eq!(UserId(uuid).to_string(), "usr_01h455vb4pex5vsknk084sn02q");
        assert_eq!("usr_01h455vb4pex5vsknk084sn02q".parse(), Ok(UserId(uuid)));
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "usr_",
            "key_01h455vb4pex5vsknk084sn02q",
            "usr_01H455VB4PEX5VSKNK084SN02Q",
            "usr_01h455vb4pex5vsknk084sn02",
            "usr_01h455vb4pex5vsknk084sn02qq",
            "usr_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "usr_o1h455vb4pex5vsknk084sn02q",
            "usr_01h455vb4pex5vsknk084sn02é",
        ] {
            assert!(text.parse::<UserId>().is_err(), "{text}");
        }
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let earlier = GrantId::new(crate::Timestamp(1_000));
        let later = GrantId::new(crate::Timestamp(2_000));
        assert!(earlier.to_string() < later.to_string());
    }

    #[test]
    fn a_range_of_times_is_a_range_of_ids() {
        let at = crate::Timestamp(1_700_000_000_500);
        let next = crate::Timestamp(at.0 + 1);
        let id = AuditEventId::new(at);
        assert!(AuditEventId::first_at(at) <= id && id < AuditEventId::first_at(next));
        assert_eq!(AuditEventId::first_at(crate::Timestamp(-1)).0, Uuid::nil());
        assert!(AuditEventId::first_at(crate::Timestamp(i64::MAX)) > id);
    }
}
