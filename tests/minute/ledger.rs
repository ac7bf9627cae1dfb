//! What has been made and revoked, and whether each answer was right.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::{WITHIN, random};

/// For how long a dead credential is tried again.
const REMEMBERED: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    ApiKey,
    AccessToken,
}

#[derive(Clone, Copy)]
pub enum State {
    Live,
    /// Somebody has asked for its end and has no answer yet: both answers are right.
    Ending,
    /// Since the answer.
    Ended(Instant),
}

/// One revocation ends all of it.
pub struct Family {
    pub kind: Kind,
    /// What is to be revoked: the id of a key, or the token itself.
    pub id: String,
    state: Mutex<State>,
    /// The last acceptance after the end.
    accepted_until: Mutex<Duration>,
}

pub struct Credential {
    pub text: String,
    /// Where alone it is good; none where it is good everywhere.
    audience: Option<&'static str>,
    pub family: Arc<Family>,
}

impl Credential {
    pub fn is_for(&self, audience: &str) -> bool {
        self.audience.is_none_or(|own| own == audience)
    }

    pub fn state(&self) -> State {
        *self.family.state.lock().unwrap()
    }
}

#[derive(Default)]
pub struct Ledger {
    credentials: Mutex<Vec<Arc<Credential>>>,
    ended: Mutex<VecDeque<Arc<Family>>>,
    made: AtomicUsize,
    wrongs: Mutex<Vec<String>>,
}

pub struct Report {
    pub made: usize,
    pub revoked: usize,
    pub delays: String,
    pub wrongs: Vec<String>,
}

impl Ledger {
    pub fn enters(
        &self,
        kind: Kind,
        text: String,
        id: String,
        audience: Option<&'static str>,
    ) -> Arc<Family> {
        let (state, accepted_until) = (Mutex::new(State::Live), Mutex::default());
        let family = Arc::new(Family { kind, id, state, accepted_until });
        self.descends(&family, text, audience);
        family
    }

    /// Another credential that dies with the family.
    pub fn descends(&self, family: &Arc<Family>, text: String, audience: Option<&'static str>) {
        let credential = Credential { text, audience, family: family.clone() };
        self.credentials.lock().unwrap().push(Arc::new(credential));
        self.made.fetch_add(1, Ordering::Relaxed);
    }

    pub fn alive(&self) -> usize {
        let credentials = self.credentials.lock().unwrap();
        credentials.iter().filter(|it| matches!(it.state(), State::Live)).count()
    }

    pub fn any(&self) -> Option<Arc<Credential>> {
        let credentials = self.credentials.lock().unwrap();
        (!credentials.is_empty()).then(|| credentials[random(credentials.len())].clone())
    }

    pub fn revoked_lately(&self) -> Vec<Arc<Credential>> {
        let lately = |it: &&Arc<Credential>| match it.state() {
            State::Ended(at) => at.elapsed() < 2 * WITHIN,
            State::Live | State::Ending => false,
        };
        self.credentials.lock().unwrap().iter().filter(lately).cloned().collect()
    }

    /// Somebody begins to revoke one that lives.
    pub fn begins_to_end(&self) -> Option<Arc<Family>> {
        let family = self.any()?.family.clone();
        let mut state = family.state.lock().unwrap();
        if !matches!(*state, State::Live) {
            return None;
        }
        *state = State::Ending;
        drop(state);
        Some(family)
    }

    /// The revocation was answered.
    pub fn has_ended(&self, family: &Arc<Family>) {
        *family.state.lock().unwrap() = State::Ended(Instant::now());
        self.ended.lock().unwrap().push_back(family.clone());
        self.credentials.lock().unwrap().retain(|it| match it.state() {
            State::Ended(at) => at.elapsed() < REMEMBERED,
            State::Live | State::Ending => true,
        });
    }

    /// Holds an answer against what was known when it was asked for at `began`, and what is known now.
    pub fn judges(
        &self,
        at: &str,
        credential: &Credential,
        before: State,
        began: Instant,
        answer: &Result<(), String>,
    ) {
        match (before, answer) {
            (State::Ended(end), Ok(())) => {
                let late = began.saturating_duration_since(end);
                let mut until = credential.family.accepted_until.lock().unwrap();
                *until = late.max(*until);
                if late > WITHIN {
                    self.wrong(credential, format!("accepted at {at} {late:?} after its end"));
                }
            }
            (State::Live, Err(refusal)) if matches!(credential.state(), State::Live) => {
                self.wrong(credential, format!("refused at {at} while it is good: {refusal}"));
            }
            _ => {}
        }
    }

    fn wrong(&self, credential: &Credential, what: String) {
        let id = match credential.family.kind {
            Kind::ApiKey => &*credential.family.id,
            Kind::AccessToken => "a token",
        };
        let kind = if credential.text.contains('.') { "token" } else { "key" };
        self.wrongs.lock().unwrap().push(format!("{kind} of {id}: {what}"));
    }

    pub fn report(&self) -> Report {
        let ended = self.ended.lock().unwrap();
        let mut delays: Vec<Duration> =
            ended.iter().map(|family| *family.accepted_until.lock().unwrap()).collect();
        delays.sort();
        let at = |share: f64| {
            let place = (delays.len() as f64 * share) as usize;
            delays.get(place.min(delays.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        Report {
            made: self.made.load(Ordering::Relaxed),
            revoked: delays.len(),
            delays: format!("median {:?}, p99 {:?}, most {:?}", at(0.5), at(0.99), at(1.0)),
            wrongs: self.wrongs.lock().unwrap().clone(),
        }
    }
}
