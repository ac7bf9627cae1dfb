//! A secret that was just made, on a page of its own: the one time that it is shown.

use askama::Template;

/// How long the secret before may go on working, in seconds and in words.
pub const GRACES: [(u64, &str); 5] = [
    (0, "At once"),
    (3600, "After an hour"),
    (86_400, "After a day"),
    (604_800, "After 7 days"),
    (2_592_000, "After 30 days"),
];

/// The direct answer to the form that made the secret. It has no navigation: the way on is to say that it is stored.
#[derive(Template)]
#[template(path = "console/secret.html")]
pub struct SecretPage<'a> {
    /// The path of the issuer, without a slash at its end.
    pub base: &'a str,
    pub title: &'a str,
    /// Whose secret it is, as people call them.
    pub owner: &'a str,
    /// What to do with it.
    pub advice: &'a str,
    pub secret: &'a str,
    /// Where to go on, and the word about what was done that the page there shows.
    pub next: &'a str,
    pub done: &'a str,
}
