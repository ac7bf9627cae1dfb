use proptest::prelude::*;

use super::{Scope, ScopeError, ScopeSet};

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

fn set(text: &str) -> ScopeSet {
    text.parse().unwrap()
}

#[test]
fn the_examples_of_the_grammar_are_scopes() {
    for text in [
        "read:tenants",
        "write:users",
        "read:tenants/acme",
        "write:deployments/prod/*",
        "*:licenses",
        "read",
        "admin",
        "*",
        "create:invoices",
        "ingest:events/eu-1/**",
        "read:*/acme",
        "read:oauth2.clients_v1/A~b.c-d_e",
    ] {
        assert_eq!(scope(text).to_string(), text);
    }
    assert_eq!(scope("read:*").to_string(), "read");
    assert_eq!(scope("*:*").to_string(), "*");
}

#[test]
fn everything_else_is_refused_by_part() {
    let error = |text: &str| text.parse::<Scope>().unwrap_err();
    for text in ["", ":tenants", "Read:tenants", "1read", "**", "re ad", "a,b", "é"] {
        assert!(matches!(error(text), ScopeError::InvalidAction(_)), "{text}");
    }
    for text in ["read:", "read:Tenants", "read:/acme", "read:**", "read:a:b", "read:-a"] {
        assert!(matches!(error(text), ScopeError::InvalidResource(_)), "{text}");
    }
    for text in [
        "read:tenants/",
        "read:tenants//a",
        "read:tenants/a/",
        "read:tenants/**/a",
        "read:tenants/a*",
        "read:tenants/***",
        "read:tenants/a:b",
        "read:tenants/ü",
        "read:tenants/a\nb",
    ] {
        assert!(matches!(error(text), ScopeError::InvalidFilter(_)), "{text}");
    }
    assert!(scope(&format!("read:{}", "a".repeat(195))).as_str().len() == 200);
    assert!(matches!(error(&format!("read:{}", "a".repeat(196))), ScopeError::TooLong(_)));
}

#[test]
fn the_parts_of_a_scope_can_be_read() {
    let filtered = scope("read:tenants/acme/*");
    assert_eq!(
        (filtered.action(), filtered.resource(), filtered.filter()),
        ("read", Some("tenants"), Some("acme/*"))
    );
    assert_eq!(filtered.without_filter(), scope("read:tenants"));
    assert_eq!(scope("read:*/acme").resource(), None);
    assert_eq!(scope("read:*/acme").without_filter(), scope("read"));
    for text in ["*", "*:tenants", "read", "read:*/acme", "admin"] {
        assert!(scope(text).is_wildcard(), "{text}");
    }
    assert!(!scope("admin:tenants").is_wildcard());
}

#[test]
fn a_grant_covers_what_the_rule_says() {
    for (granted, required) in [
        ("admin", "*"),
        ("*", "admin"),
        ("admin", "create:invoices/acme"),
        ("*:tenants", "admin:tenants"),
        ("admin:tenants", "*:tenants/a"),
        ("write:tenants", "read:tenants"),
        ("write", "read:tenants/a/b"),
        ("read", "read:tenants"),
        ("read:tenants", "read:tenants/**"),
        ("read:tenants/*", "read:tenants/acme"),
        ("read:tenants/*", "read:tenants/*"),
        ("read:tenants/**", "read:tenants/*"),
        ("read:tenants/**", "read:tenants/acme/x"),
        ("read:tenants/**", "read:tenants/acme/**"),
        ("read:tenants/*/**", "read:tenants/acme/**"),
        ("read:*/acme", "read:tenants/acme"),
    ] {
        assert!(scope(granted).covers(&scope(required)), "{granted} covers {required}");
    }
    for (granted, required) in [
        ("read:tenants", "write:tenants"),
        ("read:tenants", "read:users"),
        ("read:tenants", "read"),
        ("write:invoices", "create:invoices"),
        ("create:invoices", "read:invoices"),
        ("write:tenants", "admin:tenants"),
        ("write:tenants", "*:tenants"),
        ("read:tenants/acme", "read:tenants"),
        ("read:tenants/**", "read:tenants"),
        ("read:tenants/*", "read:tenants/acme/x"),
        ("read:tenants/*", "read:tenants/**"),
        ("read:tenants/acme/**", "read:tenants/acme"),
        ("read:tenants/acme/**", "read:tenants/**"),
        ("read:tenants/acme", "read:tenants/*"),
        ("read:tenants/acme/x", "read:tenants/acme"),
    ] {
        assert!(!scope(granted).covers(&scope(required)), "{granted} does not cover {required}");
    }
}

#[test]
fn a_meet_is_what_both_allow() {
    let meet = |a: &str, b: &str| {
        let meet = scope(a).meet(&scope(b));
        assert_eq!(meet, scope(b).meet(&scope(a)));
        meet.map(String::from)
    };
    assert_eq!(meet("write:tenants", "read").as_deref(), Some("read:tenants"));
    assert_eq!(meet("read:*/acme", "write:tenants").as_deref(), Some("read:tenants/acme"));
    assert_eq!(meet("read:t/*/b", "read:t/a/*").as_deref(), Some("read:t/a/b"));
    assert_eq!(meet("read:t/*/**", "read:t/**").as_deref(), Some("read:t/*/**"));
    assert_eq!(meet("read:t/a/**", "read:t/*/*/c").as_deref(), Some("read:t/a/*/c"));
    assert_eq!(meet("admin", "*:licenses").as_deref(), Some("*:licenses"));
    assert_eq!(meet("admin:t", "*:t").as_deref(), Some("admin:t"));
    assert_eq!(meet("read:t/*", "read:t/*/**"), None);
    assert_eq!(meet("create:t", "write:t"), None);
    assert_eq!(meet("read:t", "read:u"), None);
    let long = ["a".repeat(150), "b".repeat(150)];
    assert_eq!(meet(&format!("read:{}", long[0]), &format!("read:*/{}", long[1])), None);
}

#[test]
fn a_set_is_minimal_and_has_one_text() {
    assert_eq!(set("write:b read:a read:b write:b").to_string(), "read:a write:b");
    assert_eq!(set("read:a admin *:a").to_string(), "admin");
    assert_eq!(set("* admin"), set("admin *"));
    assert_eq!(set("admin *").to_string(), "admin");
    assert_eq!(set("*:licenses").to_string(), "*:licenses");
    assert_eq!(set(""), ScopeSet::default());
    assert!(set("").is_empty() && set("").to_string().is_empty());
    assert_eq!(set("read:a read:b").len(), 2);
    assert!(set("read:a write:b").covers_all(&set("read:b read:a/x")));
    assert!(!set("read:a write:b").covers_all(&set("read:b write:a")));
    assert_eq!(serde_json::to_string(&set("write:b read:a")).unwrap(), r#""read:a write:b""#);
    assert_eq!(serde_json::from_str::<ScopeSet>(r#""read:a""#).unwrap(), set("read:a"));
}

#[test]
fn the_text_of_a_set_is_strict_and_limited() {
    for text in [" ", "read:a ", " read:a", "read:a  read:b", "read:a\tread:b"] {
        assert!(text.parse::<ScopeSet>().is_err(), "{text:?}");
    }
    let many = |n: usize| vec!["read:a"; n].join(" ").parse::<ScopeSet>();
    assert!(many(100).is_ok());
    assert_eq!(many(101), Err(ScopeError::TooMany));
}

/// Few names, so that scopes meet and cover each other often.
fn any_scope() -> impl Strategy<Value = Scope> {
    let action = prop::sample::select(vec!["*", "admin", "write", "read", "create", "ingest"]);
    let resource = prop::sample::select(vec!["*", "tenants", "users"]);
    let segment = prop::sample::select(vec!["*", "a", "b"]);
    let filter =
        (prop::collection::vec(segment, 0..3), any::<bool>()).prop_map(|(mut segments, rest)| {
            segments.extend(rest.then_some("**"));
            segments.join("/")
        });
    (action, prop::option::of((resource, filter))).prop_map(|(action, rest)| match rest {
        None => scope(action),
        Some((resource, filter)) if filter.is_empty() => scope(&format!("{action}:{resource}")),
        Some((resource, filter)) => scope(&format!("{action}:{resource}/{filter}")),
    })
}

fn any_set() -> impl Strategy<Value = ScopeSet> {
    prop::collection::vec(any_scope(), 0..6).prop_map(|scopes| scopes.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn covering_is_reflexive_and_transitive(a in any_scope(), b in any_scope(), c in any_scope()) {
        prop_assert!(a.covers(&a));
        prop_assert!(!(a.covers(&b) && b.covers(&c)) || a.covers(&c));
    }

    #[test]
    fn a_meet_is_the_greatest_that_both_cover(a in any_scope(), b in any_scope(), x in any_scope()) {
        let both = a.covers(&x) && b.covers(&x);
        match a.meet(&b) {
            Some(meet) => {
                prop_assert!(a.covers(&meet) && b.covers(&meet));
                prop_assert_eq!(meet.covers(&x), both);
                prop_assert_eq!(meet.as_str().parse::<Scope>().unwrap(), meet);
            }
            None => prop_assert!(!both),
        }
        prop_assert_eq!(a.meet(&b), b.meet(&a));
    }

    #[test]
    fn an_intersection_covers_what_both_sets_cover(a in any_set(), b in any_set(), x in any_scope()) {
        prop_assert_eq!(a.intersection(&b).covers(&x), a.covers(&x) && b.covers(&x));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
    }

    #[test]
    fn a_set_is_minimal_and_forgets_nothing(scopes in prop::collection::vec(any_scope(), 0..6)) {
        let set: ScopeSet = scopes.iter().cloned().collect();
        let reversed: ScopeSet = scopes.iter().rev().cloned().collect();
        prop_assert_eq!(&set, &reversed);
        prop_assert_eq!(set.to_string().parse::<ScopeSet>().unwrap(), set.clone());
        prop_assert!(scopes.iter().all(|scope| set.covers(scope)));
        for (i, a) in set.iter().enumerate() {
            prop_assert!(set.iter().enumerate().all(|(j, b)| i == j || !b.covers(a)));
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in ".{0,220}") {
        let _ = text.parse::<Scope>();
        let _ = text.parse::<ScopeSet>();
    }
}
