//! A form that makes something does it once, however often it is sent.
//!
//! The answer to such a form may show a secret, and a browser that reloads the page sends the form again. The second
//! time nothing is made and no secret is shown: the answer says what was made the first time. It is the same guarantee
//! as that of an `Idempotency-Key`, with a number that the form bears.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use entity::Timestamp;
use sea_orm::{DatabaseTransaction, DbErr};

use crate::http::Parameters;
use crate::idempotency::{self, Claim, KeyedRequest};
use crate::platform::Refused;
use crate::platform::db::Db;

/// The status under which the idempotency room keeps the answer.
const CREATED: u16 = 201;

/// A form that does its work now, in this transaction.
pub struct Once {
    tx: DatabaseTransaction,
    request: KeyedRequest,
}

/// Whether a form was sent before.
pub enum Sent {
    First(Once),
    /// It was, and made what has this id.
    Before(String),
}

impl Once {
    /// Begins what the form is for. `whose` tells one person's forms from another's.
    ///
    /// # Errors
    /// `Conflict` when the form bears no number, or was sent before with other values; when the database fails.
    pub async fn begin(
        db: &Db,
        now: Timestamp,
        whose: &str,
        form: &Parameters,
    ) -> Result<Sent, Refused> {
        let id = form.first("form");
        if id.is_empty() || id.len() > 100 {
            let why = "The form can't be used. Go back, reload the page, and fill it in again.";
            return Err(Refused::Conflict(why.to_owned()));
        }
        let request = KeyedRequest {
            digest: sha256(["form", whose, id].into_iter()),
            // The password is neither a wish nor to be kept, even as a digest.
            fingerprint: sha256(
                form.pairs().filter(|(name, _)| *name != "password").flat_map(|(a, b)| [a, b]),
            ),
            at: now,
        };
        let tx = db.begin().await?;
        match idempotency::claim(&tx, &request).await? {
            Claim::First => Ok(Sent::First(Self { tx, request })),
            Claim::Answered { body, .. } => Ok(Sent::Before(body)),
            Claim::OfAnotherRequest => Err(Refused::Conflict(
                "This form was sent before, with other values. Open the page anew to make something else.".to_owned(),
            )),
        }
    }

    #[must_use]
    pub fn tx(&self) -> &DatabaseTransaction {
        &self.tx
    }

    /// Commits. `id` is what was made; it is told to whoever sends the form again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn made(self, id: impl fmt::Display) -> Result<(), DbErr> {
        idempotency::settle(&self.tx, &self.request, CREATED, &id.to_string()).await?;
        self.tx.commit().await
    }
}

/// Of several texts, in which none can pass for a part of its neighbour.
fn sha256<'a>(texts: impl Iterator<Item = &'a str>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for text in texts {
        context.update(&text.len().to_be_bytes());
        context.update(text.as_bytes());
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
