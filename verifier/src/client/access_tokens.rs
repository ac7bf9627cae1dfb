//! Access tokens: checked by signature once, remembered by their digest until they expire or die.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;

use super::Moment;
use super::feed::Feed;
use super::introspection::Introspection;
use super::remembered::{Digest, Remembered};
use super::signing_keys::{Keys, SigningKeys};
use crate::claims::AccessTokenClaims;
use crate::network::{Network, may_be_used_from};
use crate::principal::Principal;
use crate::rejection::{InvalidToken, Rejection, Unavailability};
use crate::revocation::{Descent, RevocationSet};
use crate::token::{Expected, TokenError, verify_access_token};

const NOT_ACCEPTED: Rejection = Rejection::InvalidToken(InvalidToken::NotAccepted);
/// For how long the server's word that a token lives is passed on to others who ask.
const LIVE_ANSWER_FOR: Duration = Duration::from_secs(1);
const MAX_LIVE_ANSWERS: u64 = 100_000;
/// No moment of a log, which begins with 0 and would have to grow for ever.
const NEVER: u64 = u64::MAX;

pub(super) struct AccessTokens {
    issuer: String,
    audience: String,
    leeway_seconds: u64,
    signing_keys: Arc<SigningKeys>,
    feed: Arc<Feed>,
    introspection: Arc<Introspection>,
    remembered: Remembered<Known>,
    /// Only what the server said a moment ago, and what it is being asked now.
    live_answers: Cache<Digest, bool>,
}

/// A token whose signature, issuer and audience have been found good.
struct Known {
    principal: Principal,
    /// Both with the leeway in it.
    accepted_from: i64,
    accepted_until: i64,
    allowed_networks: Option<Box<[Network]>>,
    /// Apart from the rest, which is looked at more often.
    descent: Box<Descent>,
    /// Of the keys that it was verified with.
    generation: u64,
    /// How much of the log was known when the token was last looked for in it. While there is no more, it lives.
    alive_at: AtomicU64,
}

impl AccessTokens {
    pub(super) fn new(
        issuer: String,
        audience: String,
        leeway_seconds: u64,
        signing_keys: Arc<SigningKeys>,
        feed: Arc<Feed>,
        introspection: Arc<Introspection>,
        most: usize,
    ) -> AccessTokens {
        let live_answers =
            Cache::builder().max_capacity(MAX_LIVE_ANSWERS).time_to_live(LIVE_ANSWER_FOR).build();
        AccessTokens {
            issuer,
            audience,
            leeway_seconds,
            signing_keys,
            feed,
            introspection,
            remembered: Remembered::new(most),
            live_answers,
        }
    }

    /// What is to be said of a token that is remembered: without a signature check, without waiting, and without
    /// allocating anything.
    pub(super) fn recall(
        &self,
        digest: &Digest,
        at: &Moment,
    ) -> Option<Result<Principal, Rejection>> {
        let (generation, revocations) = (self.signing_keys.generation(), &self.feed.revocations);
        let (standing, answer) = self.remembered.with(digest, |known| {
            match known.standing(generation, revocations, at.unix) {
                Standing::Good => (Standing::Good, Some(known.answer(at))),
                bad => (bad, None),
            }
        })?;
        if answer.is_none() {
            self.remembered.forget_if(digest, |known| {
                known.standing(generation, revocations, at.unix) == standing
            });
        }
        answer.or_else(|| Some(Err(standing.rejection()?)))
    }

    /// Checks a token from its signature on, and remembers it.
    pub(super) async fn verify(
        &self,
        token: &str,
        digest: Digest,
        at: &Moment,
    ) -> Result<Principal, Rejection> {
        let revocations = &self.feed.revocations;
        let (claims, generation) = self.check_signature(token, at).await.map_err(|refusal| {
            if let Refusal::Token(error) = &refusal {
                tracing::debug!(%error, "an access token was refused");
            }
            Rejection::from(refusal)
        })?;
        let known = Known::new(claims, self.leeway_seconds, generation);
        // It was verified by the keys of that generation, so nothing but the log can be against it now.
        if let Some(rejection) = known.standing(generation, revocations, at.unix).rejection() {
            return Err(rejection);
        }
        let answer = known.answer(at);
        self.remembered.insert(digest, known);
        answer
    }

    async fn check_signature(
        &self,
        token: &str,
        at: &Moment,
    ) -> Result<(AccessTokenClaims, u64), Refusal> {
        let check = |keys: &Keys| {
            let expected = Expected {
                issuer: &self.issuer,
                audience: Some(&self.audience),
                leeway_seconds: self.leeway_seconds,
            };
            let claims = verify_access_token(token, &keys.set, &expected, at.unix)?;
            Ok((claims, keys.generation))
        };
        match check(&self.signing_keys.current()) {
            Err(TokenError::UnknownKey { kid }) => {
                let keys = self.signing_keys.current_with(&kid).await;
                Ok(check(&*keys.map_err(|_| Refusal::Unreachable)?)?)
            }
            decided => Ok(decided?),
        }
    }

    /// The same, and the server is asked whether the token still lives: for when the log can't be relied on.
    pub(super) async fn verify_live(
        &self,
        token: &str,
        digest: Digest,
        at: &Moment,
    ) -> Result<Principal, Rejection> {
        let principal = match self.recall(&digest, at) {
            Some(decided) => decided?,
            None => self.verify(token, digest, at).await?,
        };
        let jti = principal.token_id().unwrap_or_default();
        let question = self.introspection.accepts_token(token, jti);
        match self.live_answers.try_get_with(digest, question).await {
            Ok(true) => Ok(principal),
            Ok(false) => Err(NOT_ACCEPTED),
            Err(_) => Err(Rejection::Unavailable(Unavailability::AuthorizationServer)),
        }
    }

    pub(super) fn forget_expired(&self, at: &Moment) {
        let generation = self.signing_keys.generation();
        self.remembered
            .retain(|known| known.generation == generation && at.unix < known.accepted_until);
    }

    pub(super) fn remembered(&self) -> usize {
        self.remembered.len()
    }
}

/// Whether a token that was good still is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Good,
    /// One of the keys at that time is no longer published.
    Unverified,
    Revoked,
    Expired,
    NotYetValid,
}

impl Standing {
    fn rejection(self) -> Option<Rejection> {
        match self {
            Standing::Good | Standing::Unverified => None,
            Standing::Revoked => Some(NOT_ACCEPTED),
            Standing::Expired => Some(Rejection::InvalidToken(InvalidToken::Expired)),
            Standing::NotYetValid => Some(Rejection::InvalidToken(InvalidToken::NotYetValid)),
        }
    }
}

impl Known {
    fn new(claims: AccessTokenClaims, leeway_seconds: u64, generation: u64) -> Known {
        let leeway = i64::try_from(leeway_seconds).unwrap_or(i64::MAX);
        Known {
            accepted_from: claims.nbf.map_or(i64::MIN, |nbf| nbf.saturating_sub(leeway)),
            accepted_until: claims.exp.saturating_add(leeway),
            allowed_networks: claims.allowed_ips.as_deref().map(Box::from),
            descent: Box::new(Descent::of(&claims)),
            generation,
            alive_at: AtomicU64::new(NEVER),
            principal: Principal::from_claims(claims),
        }
    }

    fn standing(&self, generation: u64, revocations: &RevocationSet, now_unix: i64) -> Standing {
        if self.generation != generation {
            return Standing::Unverified;
        }
        // The moment before the look, so that what comes during it is looked for the next time.
        let now = revocations.mark().number();
        if self.alive_at.load(Ordering::Relaxed) != now {
            if revocations.ends(&self.descent) {
                return Standing::Revoked;
            }
            self.alive_at.store(now, Ordering::Relaxed);
        }
        if now_unix >= self.accepted_until {
            return Standing::Expired;
        }
        if now_unix < self.accepted_from {
            return Standing::NotYetValid;
        }
        Standing::Good
    }

    fn answer(&self, at: &Moment) -> Result<Principal, Rejection> {
        if may_be_used_from(self.allowed_networks.as_deref(), at.client_address) {
            Ok(self.principal.clone())
        } else {
            Err(NOT_ACCEPTED)
        }
    }
}

/// Why a token's signature isn't good, or can't be told to be.
enum Refusal {
    Token(TokenError),
    Unreachable,
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Refusal {
        Refusal::Token(error)
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Rejection {
        match refusal {
            Refusal::Token(error) => error.into(),
            Refusal::Unreachable => Rejection::Unavailable(Unavailability::AuthorizationServer),
        }
    }
}
