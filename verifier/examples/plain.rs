//! Without any web framework: reads `Authorization` headers, one a line, and says what each allows.
//!
//! ```text
//! export PORTCULLIS_CREDENTIAL=…
//! echo "Bearer $KEY" | cargo run --example plain
//! ```
//!
//! It goes on until its input ends; so leave it open, revoke a credential, and send it again.
//!
//! Settings: `PORTCULLIS_ISSUER`, `PORTCULLIS_CREDENTIAL`, `PLAIN_AUDIENCE`, `PLAIN_SCOPE`.

use std::env;
use std::error::Error;
use std::process::ExitCode;

use portcullis_verifier::{Principal, Rejection, RequestContext, Verifier};

/// What a server does for each request; it takes the caller's address from its connection.
async fn decide(verifier: &Verifier, header: &str, scope: &str) -> Result<Principal, Rejection> {
    let caller = verifier.verify(Some(header), &RequestContext::default()).await?;
    caller.require(scope)?;
    Ok(caller)
}

async fn run() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let issuer = setting("PORTCULLIS_ISSUER", "http://127.0.0.1:8080");
    let audience = setting("PLAIN_AUDIENCE", "https://api.example.com");
    let scope = setting("PLAIN_SCOPE", "read:tenants");
    let credential =
        env::var("PORTCULLIS_CREDENTIAL").map_err(|_| "PORTCULLIS_CREDENTIAL is not set.")?;

    let verifier =
        Verifier::discover(&issuer).audience(&audience).credential(credential).build().await?;
    // Reading blocks this thread alone; what the verifier does in the background goes on in others.
    for header in std::io::stdin().lines() {
        match decide(&verifier, &header?, &scope).await {
            Ok(caller) => {
                let organization = caller.organization().unwrap_or("no organization");
                println!("200 {} of {organization} may {}", caller.subject(), caller.scopes());
            }
            Err(rejection) => {
                println!(
                    "{} WWW-Authenticate: {}",
                    rejection.status(),
                    verifier.challenge(&rejection)
                );
            }
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run().await else {
        return ExitCode::SUCCESS;
    };
    eprint!("Nothing can be checked: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::FAILURE
}
