//! Refreshing is one compare-and-swap on the grant's generation.
//!
//! The same token again within the client's retry window gets the very same answer, access token included: a lost
//! response or two racing tabs cost nobody their session. The answer waits in the grant's row, sealed under a key
//! that only the presented token yields. Once the successor was used, or the window is over, the token is a replay
//! and the whole grant ends (RFC 9700 §4.14.2).

use entity::{GrantId, Timestamp};
use portcullis_verifier::ScopeSet;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Authority, RefreshToken, RefreshTokens, TokenSettings, issue};
use crate::clients::Client;
use crate::grants::{Grant, Grants, Refresh, Standing, Step};
use crate::platform::db::Db;
use crate::platform::master_key::SealingKey;
use crate::resource_servers::{ResourceServer, ResourceServers};
use crate::signing::Signer;
use crate::status_lists::StatusLists;

const RETRY_LABEL: &str = "refresh-retry";

/// What came of a refresh.
pub enum Refreshed {
    /// The body to answer with: new, or the very same as a moment ago.
    Answer(SecretString),
    /// Unknown, expired, ended, or another client's: nothing happens to the grant.
    Refused(&'static str),
    /// The token was used before: the grant must end.
    Replayed(GrantId),
    /// The `scope` asks for more than the grant has (RFC 6749 §6).
    Widened,
    /// The `resource` is not the grant's (RFC 8707 §2.2).
    WrongTarget,
}

/// What a refresh request asks for beside the token itself.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// May narrow the access token.
    pub scope: Option<&'a str>,
    /// May repeat the audience.
    pub resource: Option<&'a str>,
}

/// Everything that refreshing looks at.
pub struct Mint<'a> {
    pub db: &'a Db,
    pub grants: &'a Grants,
    pub signer: &'a Signer,
    pub refresh_tokens: &'a RefreshTokens,
    pub resource_servers: &'a ResourceServers,
    pub status_lists: &'a StatusLists,
    pub settings: &'a TokenSettings,
    pub issuer: &'a str,
    pub now: Timestamp,
}

/// Trades a refresh token for the next one and an access token.
///
/// # Errors
/// When the database fails or there is no key to sign with; then nothing was spent.
pub async fn refresh(
    mint: &Mint<'_>,
    client: &Client,
    presented: &SecretString,
    asked: Asked<'_>,
) -> anyhow::Result<Refreshed> {
    let Some(token) = mint.refresh_tokens.decode(presented.expose_secret()) else {
        return Ok(Refreshed::Refused("the refresh token is unknown"));
    };
    // A lost race is told by the second look at the row.
    for _ in 0..2 {
        let Some(standing) = mint.grants.find(token.grant).await? else {
            return Ok(Refreshed::Refused("the refresh token is unknown"));
        };
        let grant = &standing.of;
        if grant.client != client.id {
            return Ok(Refreshed::Refused("the refresh token was issued to another client"));
        }
        let Some(state) = grant.refresh.as_ref().filter(|_| grant.ended_at.is_none()) else {
            return Ok(Refreshed::Refused("the grant has ended"));
        };
        if token.generation > state.generation {
            // Only a database restored from a backup has forgotten a generation; that is no sign of theft.
            return Ok(Refreshed::Refused("the refresh token is unknown"));
        }
        if token.generation < state.generation {
            return Ok(again(mint.now, client, presented, token, grant, state, asked));
        }
        if state.expires_at <= mint.now {
            return Ok(Refreshed::Refused("the refresh token has expired"));
        }
        match advance(mint, client, &standing, state, presented, asked).await? {
            Advanced::Answer(answer) => return Ok(Refreshed::Answer(answer)),
            Advanced::Refused(refused) => return Ok(refused),
            Advanced::LostRace => {}
        }
    }
    Ok(Refreshed::Refused("the refresh token is being used too often at once"))
}

/// The token is of an earlier generation: a retry, or a replay.
fn again(
    now: Timestamp,
    client: &Client,
    presented: &SecretString,
    token: RefreshToken,
    grant: &Grant,
    state: &Refresh,
    asked: Asked<'_>,
) -> Refreshed {
    let is_retry = token.generation + 1 == state.generation
        && !client.refresh_retry.is_zero()
        && now.since(state.rotated_at) <= client.refresh_retry;
    let Some(sealed) = state.retry_answer.as_ref().filter(|_| is_retry) else {
        return Refreshed::Replayed(grant.id);
    };
    let opened = retry_key(presented).open(sealed, asked.scope.unwrap_or_default().as_bytes()).ok();
    match opened.and_then(|answer| String::from_utf8(answer).ok()) {
        Some(answer) => Refreshed::Answer(answer.into()),
        None => Refreshed::Refused("the refresh token was just used with another scope"),
    }
}

enum Advanced {
    Answer(SecretString),
    Refused(Refreshed),
    LostRace,
}

async fn advance(
    mint: &Mint<'_>,
    client: &Client,
    standing: &Standing<Grant>,
    state: &Refresh,
    presented: &SecretString,
    asked: Asked<'_>,
) -> anyhow::Result<Advanced> {
    let grant = &standing.of;
    let scopes = match narrowed(&grant.scopes, asked.scope) {
        Some(scopes) => scopes,
        None => return Ok(Advanced::Refused(Refreshed::Widened)),
    };
    let Some(resource_server) = mint.resource_servers.find(mint.db, grant.resource_server).await?
    else {
        return Ok(Advanced::Refused(Refreshed::Refused("the resource server is gone")));
    };
    let Some(scopes) = allowed_now(client, grant, standing, &resource_server, &scopes) else {
        let description = "the client or the user may no longer do any of this";
        return Ok(Advanced::Refused(Refreshed::Refused(description)));
    };
    if asked.resource.is_some_and(|resource| resource != resource_server.audience) {
        return Ok(Advanced::Refused(Refreshed::WrongTarget));
    }
    let place = mint.status_lists.reserve(mint.db, mint.now, &resource_server).await?;
    let authority = Authority::of(grant, &resource_server, scopes, place);
    let successor = mint
        .refresh_tokens
        .encode(RefreshToken { grant: grant.id, generation: state.generation + 1 });
    let minted =
        issue(mint.signer, mint.issuer, mint.settings, mint.now, &authority, Some(successor))?;
    let (response, entry) = minted.into_parts();
    let answer = response.to_json();
    let retry_answer = retry_key(presented)
        .seal(answer.expose_secret().as_bytes(), asked.scope.unwrap_or_default().as_bytes())?;
    // The token's place and the step belong together; whoever loses the race leaves neither behind.
    let step = Step {
        grant: grant.id,
        from_generation: state.generation,
        now: mint.now,
        expires_at: mint.settings.refresh_expiry(mint.now, state.absolute_expires_at),
        retry_answer,
        entry,
    };
    if !mint.grants.take(step).await? {
        return Ok(Advanced::LostRace);
    }
    Ok(Advanced::Answer(answer))
}

/// What is asked for, where the grant covers it all.
fn narrowed(granted: &ScopeSet, scope: Option<&str>) -> Option<ScopeSet> {
    match scope {
        None => Some(granted.clone()),
        Some(text) => text
            .parse()
            .ok()
            .filter(|asked: &ScopeSet| !asked.is_empty() && granted.covers_all(asked)),
    }
}

/// What of a grant's scopes is still to be had: offered by the resource server, allowed to the client, and within the
/// user's role. None where nothing is left, the user is no member any more, or the project is gone.
pub(crate) fn allowed_now<T>(
    client: &Client,
    grant: &Grant,
    standing: &Standing<T>,
    resource_server: &ResourceServer,
    scopes: &ScopeSet,
) -> Option<ScopeSet> {
    if !resource_server.is_offered_to(grant.organization)
        || !resource_server.is_offered_to(client.organization)
        || !standing.has_its_project
    {
        return None;
    }
    let audience = client.audience(resource_server.id)?;
    let catalog = &resource_server.catalog;
    let mut left = catalog.relevant(&scopes.intersection(&audience.allowed));
    if grant.user.is_some() {
        left = catalog.within(&left, standing.reach.as_ref()?);
    }
    Some(left).filter(|left| !left.is_empty())
}

fn retry_key(presented: &SecretString) -> SealingKey {
    SealingKey::from_secret(presented.expose_secret().as_bytes(), RETRY_LABEL)
}
