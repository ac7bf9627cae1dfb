//! Redirect URIs: what may be registered, and what matches what is registered.

use url::{Host, Url};

const MAX_LENGTH: usize = 2000;

/// Whether the URI of a request is the registered one: the same text, but that a loopback IP may come with any port
/// (RFC 8252 §7.3, RFC 9700 §2.1).
#[must_use]
pub fn matches_redirect_uri(registered: &str, requested: &str) -> bool {
    registered == requested
        || without_loopback_port(registered)
            .is_some_and(|it| Some(it) == without_loopback_port(requested))
}

/// The parts of `http://127.0.0.1:4567/cb` before and after the port; none for other hosts.
fn without_loopback_port(uri: &str) -> Option<(&'static str, &str)> {
    ["http://127.0.0.1", "http://[::1]"].into_iter().find_map(|origin| {
        let rest = uri.strip_prefix(origin)?;
        let rest = match rest.strip_prefix(':') {
            Some(with_port) => {
                let digits = with_port.bytes().take_while(u8::is_ascii_digit).count();
                with_port.get(..digits)?.parse::<u16>().ok()?;
                with_port.get(digits..)?
            }
            None => rest,
        };
        (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((origin, rest))
    })
}

/// Whether the URI may be registered.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_redirect_uri(uri: &str) -> Result<(), &'static str> {
    if uri.len() > MAX_LENGTH {
        return Err("must have at most 2000 characters");
    }
    if !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be ASCII without spaces");
    }
    if uri.contains('*') {
        return Err("must not hold a wildcard");
    }
    let url = Url::parse(uri).map_err(|_| "must be an absolute URI")?;
    if url.fragment().is_some() {
        return Err("must not have a fragment");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password");
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(&url) => Ok(()),
        "http" => Err("must use https, unless it is on a loopback address"),
        scheme if scheme.contains('.') => Ok(()),
        _ => Err(
            "must use https, http on a loopback address, or a private-use scheme with a dot in it",
        ),
    }
}

/// Whether the URI may be shown to people as a link or a picture of the client's.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_web_uri(uri: &str) -> Result<(), &'static str> {
    check_redirect_uri(uri)?;
    match web_origin(uri) {
        Some(_) => Ok(()),
        None => Err("must use https, or http on a loopback address"),
    }
}

/// Whether a URL points to this machine itself.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The origin that a browser app at this redirect URI sends, if it has one.
#[must_use]
pub fn web_origin(uri: &str) -> Option<String> {
    let url = Url::parse(uri).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching_is_exact() {
        let registered = "https://app.example/cb?x=1";
        assert!(matches_redirect_uri(registered, registered));
        for other in [
            "https://app.example/cb",
            "https://app.example/cb?x=1&y=2",
            "https://app.example/cb?x=1#f",
            "https://app.example/CB?x=1",
            "https://app.example:443/cb?x=1",
            "https://app.example/cb/../cb?x=1",
            "https://app.example.evil.example/cb?x=1",
            "http://app.example/cb?x=1",
        ] {
            assert!(!matches_redirect_uri(registered, other), "{other}");
        }
    }

    #[test]
    fn a_loopback_ip_may_come_with_any_port() {
        for registered in ["http://127.0.0.1/cb", "http://127.0.0.1:8000/cb"] {
            assert!(matches_redirect_uri(registered, "http://127.0.0.1:51004/cb"));
            assert!(matches_redirect_uri(registered, "http://127.0.0.1/cb"));
        }
        assert!(matches_redirect_uri("http://[::1]/cb", "http://[::1]:51004/cb"));
        for other in [
            "http://127.0.0.1:51004/other",
            "http://127.0.0.1:51004/cb/",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.1:80@evil.example/cb",
            "http://127.0.0.1:/cb",
            "http://127.0.0.1:99999/cb",
            "https://127.0.0.1:51004/cb",
            "http://127.0.0.2:51004/cb",
            "http://[::1]:51004/cb",
        ] {
            assert!(!matches_redirect_uri("http://127.0.0.1/cb", other), "{other}");
        }
        // RFC 8252 §8.3 discourages `localhost`; it gets no such favour.
        assert!(!matches_redirect_uri("http://localhost/cb", "http://localhost:51004/cb"));
    }

    #[test]
    fn only_safe_uris_can_be_registered() {
        for good in [
            "https://app.example/cb",
            "http://127.0.0.1/cb",
            "http://[::1]:8000/cb",
            "http://localhost:3000/cb",
            "com.example.app:/cb",
        ] {
            assert_eq!(check_redirect_uri(good), Ok(()), "{good}");
        }
        for bad in [
            "http://app.example/cb",
            "https://app.example/cb#f",
            "https://app.example/cb#",
            "https://*.example/cb",
            "https://user@app.example/cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "myapp:/cb",
            "/cb",
            "https://app.example/c b",
            "https://app.exämple/cb",
            "",
        ] {
            assert!(check_redirect_uri(bad).is_err(), "{bad}");
        }
    }
}
