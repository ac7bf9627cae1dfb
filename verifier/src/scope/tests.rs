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

/// A scope and one that is narrower or the same: a verb further down the ladder or of its own, a resource of many, a
/// part of what the filter leaves open.
fn narrowed() -> impl Strategy<Value = (Scope, Scope)> {
    let names = || prop::sample::select(vec!["a", "b", "*"]);
    let choices =
        (any::<prop::sample::Index>(), any::<bool>(), prop::collection::vec(names(), 1..4));
    (any_scope(), choices).prop_map(|(scope, (verb, has_rest, mut segments))| {
        let verbs = match scope.action() {
            "*" | "admin" => &["*", "admin", "write", "read", "create"][..],
            "write" => &["write", "read"],
            other => &[other],
        };
        let resource = scope.resource().unwrap_or("tenants").to_owned();
        let filter = match scope.filter() {
            // All of it, or any part.
            None if segments.len() == 3 => None,
            None => {
                segments.extend(has_rest.then_some("**"));
                Some(segments.join("/"))
            }
            Some(filter) => {
                let (fixed, rest) = match filter.strip_suffix("**") {
                    Some(fixed) => (fixed.trim_end_matches('/'), true),
                    None => (filter, false),
                };
                let mut narrower: Vec<&str> = Vec::new();
                for (at, segment) in fixed.split('/').filter(|it| !it.is_empty()).enumerate() {
                    let choice = segments[at % segments.len()];
                    narrower.push(if segment == "*" { choice } else { segment });
                }
                if rest {
                    narrower.extend(&segments);
                    narrower.extend(has_rest.then_some("**"));
                }
                Some(narrower.join("/"))
            }
        };
        let verb = verbs[verb.index(verbs.len())];
        let filter = filter.map_or(String::new(), |filter| format!("/{filter}"));
        let narrower = self::scope(&format!("{verb}:{resource}{filter}"));
        (scope, narrower)
    })
}

/// What the words of a scope mean, said without the code under test: whether it allows this verb on this part of this
/// resource. No path stands for all of the resource.
fn allows(scope: &Scope, verb: &str, resource: &str, path: Option<&[&str]>) -> bool {
    let text = scope.as_str();
    let (action, about) = text.split_once(':').unwrap_or((text, "*"));
    let (about, filter) = match about.split_once('/') {
        Some((about, filter)) => (about, Some(filter)),
        None => (about, None),
    };
    let verbs: &[&str] = match action {
        "*" | "admin" => &VERBS,
        "write" => &["write", "read"],
        other => &[other],
    };
    fn matches(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern, path) {
            ([], []) => true,
            (["**"], path) => !path.is_empty(),
            ([first, pattern @ ..], [segment, path @ ..]) => {
                (*first == "*" || first == segment) && matches(pattern, path)
            }
            _ => false,
        }
    }
    let is_within = match (filter, path) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(filter), Some(path)) => matches(&filter.split('/').collect::<Vec<_>>(), path),
    };
    verbs.contains(&verb) && (about == "*" || about == resource) && is_within
}

/// `admin` is a power of its own, and `other` stands for every verb that no scope here names.
const VERBS: [&str; 6] = ["admin", "write", "read", "create", "ingest", "other"];

/// Every call that can make a difference between the scopes of `any_scope`: one segment more than they have, and of
/// verbs, resources and names one that they don't name.
fn calls() -> Vec<(&'static str, &'static str, Option<Vec<&'static str>>)> {
    let mut paths: Vec<Vec<&str>> = vec![Vec::new()];
    for at in 0.. {
        match paths.get(at) {
            Some(path) if path.len() < 4 => {
                let longer = ["a", "b", "c"].map(|name| [&path[..], &[name]].concat());
                paths.extend(longer);
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut calls = Vec::new();
    for verb in VERBS {
        for resource in ["tenants", "users", "others"] {
            calls.push((verb, resource, None));
            let parts = paths.iter().filter(|path| !path.is_empty());
            calls.extend(parts.map(|path| (verb, resource, Some(path.clone()))));
        }
    }
    calls
}

fn may(set: &ScopeSet, call: &(&'static str, &'static str, Option<Vec<&'static str>>)) -> bool {
    set.iter().any(|scope| allows(scope, call.0, call.1, call.2.as_deref()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_scope_covers_another_just_when_it_allows_all_that_the_other_does(
        pair in prop_oneof![(any_scope(), any_scope()), narrowed()],
    ) {
        let (a, b) = pair;
        let allowed = |scope: &Scope| {
            let scope = ScopeSet::from_iter([scope.clone()]);
            calls().iter().map(|call| may(&scope, call)).collect::<Vec<_>>()
        };
        let (by_a, by_b) = (allowed(&a), allowed(&b));
        prop_assert_eq!(a.covers(&b), by_b.iter().zip(&by_a).all(|(b, a)| !b || *a), "{} {}", a, b);
        prop_assert_eq!(b.covers(&a), by_a.iter().zip(&by_b).all(|(a, b)| !a || *b), "{} {}", b, a);
    }

    #[test]
    fn an_intersection_allows_the_calls_that_both_sets_allow(a in any_set(), b in any_set()) {
        let both = a.intersection(&b);
        for call in calls() {
            prop_assert_eq!(may(&both, &call), may(&a, &call) && may(&b, &call), "{:?}", call);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_narrower_is_covered_and_so_is_what_is_narrower_still((a, b) in narrowed(), (c, d) in narrowed()) {
        prop_assert!(a.covers(&b), "{} {}", a, b);
        prop_assert!(!b.covers(&c) || a.covers(&d), "{} {} {} {}", a, b, c, d);
        prop_assert_eq!(a.meet(&b).map(|meet| meet.covers(&b) && b.covers(&meet)), Some(true));
    }

    #[test]
    fn scopes_that_cover_each_other_differ_in_spelling_alone(a in any_scope(), b in any_scope()) {
        let spelled = |scope: &Scope| scope.as_str().replacen('*', "admin", usize::from(scope.action() == "*"));
        prop_assert_eq!(a.covers(&b) && b.covers(&a), spelled(&a) == spelled(&b));
    }

    #[test]
    fn sets_that_cover_each_other_have_the_same_text_but_for_that_spelling(
        a in any_set(),
        further in prop::collection::vec((any::<prop::sample::Index>(), narrowed()), 0..6),
    ) {
        // The same once more, with members that add nothing.
        let mut b: ScopeSet = a.iter().rev().cloned().collect();
        let members: Vec<Scope> = a.iter().cloned().collect();
        for (at, (wide, narrow)) in further {
            if !members.is_empty() {
                b.insert(members[at.index(members.len())].clone());
            }
            if a.covers(&wide) {
                b.extend([narrow, wide]);
            }
        }
        prop_assert!(a.covers_all(&b) && b.covers_all(&a));
        let spelled = |set: &ScopeSet| {
            let admin = |it: &Scope| it.as_str().replacen('*', "admin", usize::from(it.action() == "*"));
            let mut texts: Vec<String> = set.iter().map(admin).collect();
            texts.sort();
            texts
        };
        prop_assert_eq!(spelled(&a), spelled(&b));
    }

    #[test]
    fn an_intersection_never_widens(a in any_set(), b in any_set(), c in any_set()) {
        let both = a.intersection(&b);
        prop_assert!(a.covers_all(&both) && b.covers_all(&both));
        prop_assert_eq!(a.intersection(&a), a.clone());
        prop_assert_eq!(a.intersection(&ScopeSet::default()), ScopeSet::default());
        // What is added to one side takes nothing away, and the order of steps adds nothing.
        let more: ScopeSet = a.iter().chain(&c).cloned().collect();
        prop_assert!(more.intersection(&b).covers_all(&both));
        let (one, other) = (both.intersection(&c), a.intersection(&b.intersection(&c)));
        prop_assert!(one.covers_all(&other) && other.covers_all(&one));
    }

    #[test]
    fn what_is_written_is_read_back(scope in any_scope(), set in any_set()) {
        prop_assert_eq!(&scope.to_string().parse::<Scope>().unwrap(), &scope);
        let text = serde_json::to_string(&set).unwrap();
        prop_assert_eq!(&serde_json::from_str::<ScopeSet>(&text).unwrap(), &set);
        prop_assert_eq!(set.to_string().parse::<ScopeSet>().unwrap().to_string(), set.to_string());
    }

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
