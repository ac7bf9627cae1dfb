//! Setup, login and logout: who gets a session, who doesn't, and what a flood of guesses does to the others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use portcullis::identity::{list_users, make_setup_link};
use portcullis::tenancy::Role;
use reqwest::StatusCode;
use rstest::rstest;
use secrecy::ExposeSecret as _;

use crate::harness::world::PASSWORD;
use crate::harness::{Answer, Database, Person, Redirected, Server, World};

const HOUR: Duration = Duration::from_secs(60 * 60);
/// Several times what may wait for a core.
const FLOOD: u32 = 300;

async fn setup_link(server: &Server) -> String {
    let link = make_setup_link(&server.app.db, server.app.clock.now()).await.unwrap();
    link.expose_secret().to_owned()
}

fn setup_form<'a>(token: &'a str, email: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("token", token),
        ("organization", "Example"),
        ("name", "Ada"),
        ("email", email),
        ("password", PASSWORD),
    ]
}

/// What a `Set-Cookie` header says: name, value, and the attributes after them.
fn cookie(answer: &Answer) -> (String, String, Vec<String>) {
    let mut parts = answer.header("set-cookie").split("; ");
    let (name, value) = parts.next().unwrap().split_once('=').unwrap();
    let mut attributes: Vec<String> = parts.map(str::to_owned).collect();
    attributes.sort_unstable();
    (name.to_owned(), value.to_owned(), attributes)
}

/// The account page as a browser with just this cookie sees it.
async fn account_page_with(server: &Server, cookie: &str) -> Answer {
    let request =
        crate::harness::actors::http().get(server.url("/account")).header("cookie", cookie);
    Answer::of(request.send().await.unwrap()).await
}

async fn is_logged_in(person: &Person) -> bool {
    person.gets("/account").await.status == StatusCode::OK
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_setup_link_makes_one_owner_who_is_logged_in_then(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(server) = Server::start(database).await else { return };
    let ada = Person::new(&server, "ada@example.com", PASSWORD);
    let (link, other) = (setup_link(&server).await, setup_link(&server).await);
    let page = ada.gets(&format!("/setup?token={link}")).await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("referrer-policy"), "same-origin", "the link is a secret");
    for wrong in ["", "wrong", &link[1..], &format!("{link}x")] {
        let page = ada.gets(&format!("/setup?token={wrong}")).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{page:?}");
        let answer = ada.posts("/setup", &setup_form(wrong, "eve@example.com")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    }
    let cross_site = [("sec-fetch-site", "cross-site")];
    let forged = ada.posts_with("/setup", &setup_form(&link, "eve@example.com"), &cross_site).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);

    let answer = ada.posts("/setup", &setup_form(&link, " Ada@Example.com ")).await;
    assert_eq!(Redirected::of(&answer).location, "/");
    let page = ada.gets("/account").await;
    assert!(page.text.contains("ada@example.com") && page.text.contains(">Example</a>"));
    // Once there is an owner no link is good, not even one that was never used.
    for link in [&link, &other] {
        let page = ada.gets(&format!("/setup?token={link}")).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN);
        let answer = ada.posts("/setup", &setup_form(link, "eve@example.com")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(!answer.text.contains(link.as_str()) && !answer.text.contains(PASSWORD));
    }
    assert_eq!(list_users(server.app.db.reader()).await.unwrap().len(), 1);
    ada.posts("/logout", &[]).await;
    ada.logs_in().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_setup_link_is_good_for_an_hour(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(server) = Server::start(database).await else { return };
    let ada = Person::new(&server, "ada@example.com", PASSWORD);
    let link = setup_link(&server).await;
    let path = format!("/setup?token={link}");
    server.passes(HOUR - Duration::from_secs(1));
    assert_eq!(ada.gets(&path).await.status, StatusCode::OK);
    server.passes(Duration::from_secs(1));
    assert_eq!(ada.gets(&path).await.status, StatusCode::FORBIDDEN);
    let answer = ada.posts("/setup", &setup_form(&link, "ada@example.com")).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let link = setup_link(&server).await;
    let answer = ada.posts("/setup", &setup_form(&link, "ada@example.com")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_setup_page_says_what_is_wrong_with_each_field_and_keeps_the_rest(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(server) = Server::start(database).await else { return };
    let ada = Person::new(&server, "ada@example.com", PASSWORD);
    let link = setup_link(&server).await;
    let long = "n".repeat(101);
    let posts = async |changes: &[(&str, &str)]| {
        let mut form = setup_form(&link, "ada@example.com");
        for (field, value) in &mut form {
            if let Some((_, changed)) = changes.iter().find(|(name, _)| name == field) {
                *value = changed;
            }
        }
        let answer = ada.posts("/setup", &form).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
        answer.text
    };
    let page = posts(&[("password", "sesame open")]).await;
    assert!(page.contains("id=\"password-problem\">It must have at least 12 characters."));
    assert!(!page.contains("sesame"), "{page}");
    for kept in ["value=\"Example\"", "value=\"Ada\"", "value=\"ada@example.com\"", &link] {
        assert!(page.contains(kept), "{kept}: {page}");
    }
    let page = posts(&[("email", "ada\"><script>"), ("organization", " "), ("name", &long)]).await;
    assert!(page.contains("id=\"email-problem\">It must be an e-mail address."), "{page}");
    assert!(page.contains("id=\"organization-problem\">It must have 1 to 100 characters."));
    assert!(page.contains("id=\"name-problem\">It must have 1 to 100 characters."), "{page}");
    assert!(!page.contains("<script>") && !page.contains(PASSWORD), "{page}");
    assert!(!page.contains("password-problem"), "{page}");
    let page = posts(&[("email", ""), ("name", "")]).await;
    assert!(!page.contains("name-problem"), "the name may be left out: {page}");
    let page = posts(&[("organization", "a\0b"), ("password", &"p".repeat(257))]).await;
    assert!(page.contains("must not hold control characters"), "{page}");
    assert!(page.contains("must have at most 256 characters"), "{page}");

    // Nothing of this has used the link up.
    let answer = ada.posts("/setup", &setup_form(&link, "ada@example.com")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_many_setups_at_once_exactly_one_succeeds(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(server) = Server::start(database).await else { return };
    let (one, two) = (setup_link(&server).await, setup_link(&server).await);
    let emails: Vec<String> = (0..12).map(|n| format!("owner{n}@example.com")).collect();
    let attempts = emails.iter().enumerate().map(async |(n, email)| {
        let person = Person::new(&server, email, PASSWORD);
        let link = if n % 2 == 0 { &one } else { &two };
        (person.posts("/setup", &setup_form(link, email)).await.status, is_logged_in(&person).await)
    });
    let mut answers = join_all(attempts).await;
    answers.sort_by_key(|(status, _)| *status);
    assert_eq!(answers[0], (StatusCode::SEE_OTHER, true));
    assert!(answers[1..].iter().all(|it| *it == (StatusCode::FORBIDDEN, false)), "{answers:?}");
    assert_eq!(list_users(server.app.db.reader()).await.unwrap().len(), 1);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_account_look_the_same(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let ada = &world.owner;
    let mut seen = Vec::new();
    let long = format!("{}@example.com", "x".repeat(300));
    for (email, password) in [
        ("ada@example.com", "wrong password of ada"),
        ("ada@example.com", ""),
        ("nobody@example.com", "wrong password of ada"),
        ("nobody@example.com", PASSWORD),
        ("no address", PASSWORD),
        ("", ""),
        (long.as_str(), PASSWORD),
        ("ada@example.com\0", PASSWORD),
        ("' OR 1=1 --", "' OR 1=1 --"),
    ] {
        let answer = ada.posts("/login", &[("email", email), ("password", password)]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
        assert!(answer.headers.get("set-cookie").is_none(), "{answer:?}");
        assert!(
            answer.text.contains("role=\"alert\">The e-mail address or the password is wrong.")
        );
        assert!(password.is_empty() || !answer.text.contains(password) || email == password);
        if email.ends_with("@example.com") && email != long {
            let names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
            seen.push((answer.text.replace(email, "…"), names));
        }
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    assert!(!is_logged_in(ada).await);
    // Doubled and missing fields are no password either.
    let answer = ada.posts("/login", &[]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    ada.logs_in().await;
    assert!(is_logged_in(ada).await);
    let shouting = Person::new(&world.server, " ADA@Example.com ", PASSWORD);
    shouting.logs_in().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn too_many_attempts_close_an_account_for_a_while_and_no_other(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let bob = world.member("bob@example.com", Role::Member).await;
    let ada = &world.owner;
    // An account that does not exist is closed in the same way: the limit must not tell which exist.
    for email in ["ada@example.com", "nobody@example.com"] {
        let guesses = (0..20).map(|_| async {
            let form = [("email", email), ("password", "a wrong password")];
            ada.posts("/login", &form).await
        });
        let answers = join_all(guesses).await;
        let refused: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS)
            .collect();
        assert!((8..=10).contains(&refused.len()), "{} were refused", refused.len());
        for answer in refused {
            let seconds: u64 = answer.header("retry-after").parse().unwrap();
            assert!((1..=7).contains(&seconds), "{answer:?}");
            assert!(answer.text.contains("Too many attempts"), "{answer:?}");
            assert!(answer.text.contains(&format!("wait {seconds} second")), "{answer:?}");
        }
        let form = [("email", email), ("password", PASSWORD)];
        let answer = ada.posts("/login", &form).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "the right password too");
        assert!(answer.headers.get("set-cookie").is_none());
    }
    bob.logs_in().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_session_cookie_stays_out_of_reach_of_scripts_and_other_sites(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let ada = &world.owner;
    let form = [("email", ada.email.as_str()), ("password", &ada.password)];
    let (name, value, attributes) = cookie(&ada.posts("/login", &form).await);
    assert_eq!(name, "portcullis");
    assert_eq!(value.len(), 43, "256 random bits");
    assert_eq!(attributes, ["HttpOnly", "Max-Age=604800", "Path=/", "SameSite=Lax"]);
    let (name, value, attributes) = cookie(&ada.posts("/logout", &[]).await);
    assert_eq!((name.as_str(), value.as_str()), ("portcullis", ""));
    assert!(attributes.contains(&"Max-Age=0".to_owned()), "{attributes:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn under_an_https_issuer_the_cookie_is_bound_to_the_very_host(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let https = |settings: &mut portcullis::config::Settings| {
        settings.issuer = "https://auth.example.com/id".to_owned();
    };
    let Some(server) = Server::start_with(database, https).await else { return };
    let world = World::around(server).await;
    let ada = &world.owner;
    let form = [("email", ada.email.as_str()), ("password", &ada.password)];
    let answer = ada.posts("/login", &form).await;
    assert_eq!(Redirected::of(&answer).location, "/id/");
    let (name, value, attributes) = cookie(&answer);
    assert_eq!(name, "__Host-portcullis");
    assert_eq!(attributes, ["HttpOnly", "Max-Age=604800", "Path=/", "SameSite=Lax", "Secure"]);
    let page = account_page_with(&world.server, &format!("{name}={value}")).await;
    assert_eq!(page.status, StatusCode::OK);
    // A sub-domain can set a cookie without the prefix; it means nothing.
    let page = account_page_with(&world.server, &format!("portcullis={value}")).await;
    assert_eq!(Redirected::of(&page).location, "/id/login?next=%2Fid%2Faccount");
    // Pages of this issuer lie under its path.
    for next in ["/", "/elsewhere", "/id", "/id/../elsewhere", "/id/%2e%2e/elsewhere"] {
        let page = ada.gets(&format!("/login?next={next}")).await;
        assert!(page.text.contains("name=\"next\" value=\"/id/\""), "{next}: {page:?}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_the_logout_and_with_time(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let ada = &world.owner;
    let form = [("email", ada.email.as_str()), ("password", &ada.password)];
    let (name, value, _) = cookie(&ada.posts("/login", &form).await);
    let (first, phone) =
        (format!("{name}={value}"), Person::new(&world.server, &ada.email, PASSWORD));
    phone.logs_in().await;
    assert_eq!(account_page_with(&world.server, &first).await.status, StatusCode::OK);

    for headers in [[("sec-fetch-site", "cross-site")], [("origin", "https://evil.example")]] {
        let forged = ada.posts_with("/logout", &[], &headers).await;
        assert_eq!(forged.status, StatusCode::FORBIDDEN);
    }
    assert!(is_logged_in(ada).await, "nobody else logs her out");
    assert_eq!(Redirected::of(&ada.posts("/logout", &[]).await).location, "/login?done=logged_out");
    // The cookie is dead on the server too, and only this one.
    assert_eq!(account_page_with(&world.server, &first).await.status, StatusCode::SEE_OTHER);
    assert!(is_logged_in(&phone).await);
    assert_eq!(ada.posts("/logout", &[]).await.status, StatusCode::SEE_OTHER, "once more is fine");

    let week = 7 * 24 * HOUR;
    world.server.passes(week - Duration::from_secs(1));
    assert!(is_logged_in(&phone).await);
    world.server.passes(Duration::from_secs(1));
    assert!(!is_logged_in(&phone).await);
    let app = world.confidential_app().await;
    let login = Redirected::of(&phone.visits(&app.request("read:tenants")).await);
    assert!(login.location.starts_with("/login?next="), "{login:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_planted_cookie_does_not_survive_the_login(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let mallory = world.member("mallory@example.com", Role::Viewer).await;
    let form = [("email", mallory.email.as_str()), ("password", &mallory.password)];
    let (name, planted, _) = cookie(&mallory.posts("/login", &form).await);
    for planted in [format!("{name}={planted}"), format!("{name}=chosen-by-mallory")] {
        let form = [("email", "ada@example.com"), ("password", PASSWORD)];
        let victim = Person::new(&world.server, "ada@example.com", PASSWORD);
        let headers = [("cookie", planted.as_str())];
        let (_, fresh, _) = cookie(&victim.posts_with("/login", &form, &headers).await);
        assert!(!planted.ends_with(&fresh));
        let page = account_page_with(&world.server, &planted).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{page:?}");
        let page = account_page_with(&world.server, &format!("{name}={fresh}")).await;
        assert!(page.text.contains("ada@example.com"), "{page:?}");
    }
    // Nor can anyone be logged in from elsewhere, as somebody whom they take for themselves.
    for headers in [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("origin", "https://evil.example")],
        [("origin", "null")],
    ] {
        let forged = world.owner.posts_with("/login", &form, &headers).await;
        assert_eq!(forged.status, StatusCode::FORBIDDEN);
        assert!(forged.headers.get("set-cookie").is_none());
        assert!(forged.text.contains("role=\"alert\""), "{forged:?}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn after_the_login_the_browser_goes_on_to_pages_of_ours_only(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let foreign = [
        "",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "http:evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "evil",
        "?x",
        " //evil.example",
        "/\t/evil.example",
        "/\r\nSet-Cookie: a=b",
        "/\u{1}",
        "/\u{7f}",
        "/\0",
        "@evil.example",
        ".evil.example",
    ];
    // An account takes ten logins in a row.
    let people = [
        world.member("one@example.com", Role::Viewer).await,
        world.member("two@example.com", Role::Viewer).await,
        world.member("three@example.com", Role::Viewer).await,
    ];
    for (n, next) in foreign.into_iter().enumerate() {
        let person = &people[n % people.len()];
        let query =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
        let page = person.gets(&format!("/login?{query}")).await;
        assert!(page.text.contains("name=\"next\" value=\"/\""), "{next:?}: {page:?}");
        let form = [("email", person.email.as_str()), ("password", PASSWORD), ("next", next)];
        let redirected = Redirected::of(&person.posts("/login", &form).await);
        assert_eq!(redirected.location, "/", "{next:?}");
    }
    for next in ["/oauth/authorize?client_id=x&state=a%20b", "/x/%0d%0aSet-Cookie:a=b", "/é"] {
        let person = &people[0];
        let form = [("email", person.email.as_str()), ("password", PASSWORD), ("next", next)];
        let answer = person.posts("/login", &form).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
        let location = answer.headers.get("location").unwrap().as_bytes();
        let url = url::Url::parse(&world.server.issuer).unwrap();
        let expected = url.join(next).unwrap();
        assert_eq!(url.join(std::str::from_utf8(location).unwrap()).unwrap(), expected);
    }
    // The page's policy names no host but one that a redirect URI can have, whatever the link says.
    for uri in ["https://x;sandbox/", "https://x,sandbox/", "https://*/", "'unsafe-inline'"] {
        let next = format!("/oauth/authorize?redirect_uri={uri}");
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("next", &next)
            .finish();
        let page = people[0].gets(&format!("/login?{query}")).await;
        let policy = page.header("content-security-policy");
        assert!(policy.ends_with("form-action 'self'"), "{uri}: {policy}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_guesses_is_turned_away_and_the_rest_goes_on(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let behind_proxy = |settings: &mut portcullis::config::Settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()].into();
    };
    let Some(server) = Server::start_with(database, behind_proxy).await else { return };
    let world = World::around(server).await;
    let ada = &world.owner;
    // Each guess from an address and at an account of its own, so that only the hashing is short.
    let guesses = (0..FLOOD).map(|n| async move {
        let (email, address) =
            (format!("u{n}@example.com"), format!("10.0.{}.{}", n / 256, n % 256));
        let form = [("email", email.as_str()), ("password", "a wrong password")];
        ada.posts_with("/login", &form, &[("x-forwarded-for", &address)]).await
    });
    let is_over = AtomicBool::new(false);
    let flood = async {
        let answers = join_all(guesses).await;
        is_over.store(true, Ordering::SeqCst);
        answers
    };
    let others = async {
        let (mut asked, mut slowest) = (0, Duration::ZERO);
        while !is_over.load(Ordering::SeqCst) {
            let before = Instant::now();
            assert_eq!(ada.gets("/oauth/jwks").await.status, StatusCode::OK);
            (asked, slowest) = (asked + 1, slowest.max(before.elapsed()));
        }
        (asked, slowest)
    };
    let (answers, (asked, slowest)) = tokio::join!(flood, others);
    assert!(asked >= 5 && slowest < Duration::from_secs(2), "{asked} answers, {slowest:?}");
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    let (wrong, busy) = (count(StatusCode::UNAUTHORIZED), count(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(wrong + busy, answers.len());
    assert!(wrong > 0 && busy > 0, "{wrong} were answered, {busy} turned away");
    for answer in answers.iter().filter(|it| it.status == StatusCode::SERVICE_UNAVAILABLE) {
        assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
        assert!(answer.text.contains("Please wait"), "{answer:?}");
    }
    ada.logs_in().await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn one_address_does_not_get_to_guess_at_every_account(
    #[values(Database::Sqlite, Database::Postgres)] database: Database,
) {
    let Some(world) = World::on(database).await else { return };
    let ada = &world.owner;
    // From a peer that is no trusted proxy, the header is nothing but a claim.
    let guesses = (0..100_u32).map(|n| async move {
        let (email, address) = (format!("u{n}@example.com"), format!("10.0.0.{n}"));
        let form = [("email", email.as_str()), ("password", "a wrong password")];
        ada.posts_with("/login", &form, &[("x-forwarded-for", &address)]).await.status
    });
    let answers = join_all(guesses).await;
    let refused = answers.iter().filter(|status| **status == StatusCode::TOO_MANY_REQUESTS).count();
    assert!((30..=50).contains(&refused), "{refused} were refused");
}
