use super::*;

fn entry(seq: i64, kind: EntryKind, subject: &str, expires_at: i64) -> Entry {
    Entry { seq, kind, subject: subject.to_owned(), expires_at, issued_before: None }
}

/// `subject` has changed at `issued_before`, and tokens from before then are out of date.
fn cutoff(seq: i64, subject: &str, issued_before: i64, expires_at: i64) -> Entry {
    let issued_before = Some(issued_before);
    Entry { issued_before, ..entry(seq, EntryKind::Changed, subject, expires_at) }
}

fn issued_at(iat: i64) -> AccessTokenClaims {
    AccessTokenClaims { iat, ..claims() }
}

fn claims() -> AccessTokenClaims {
    AccessTokenClaims {
        iss: "https://auth.example.com".to_owned(),
        sub: "usr_1".to_owned(),
        aud: "https://api.example.com".into(),
        exp: 600,
        iat: 0,
        nbf: None,
        jti: "tok_1".to_owned(),
        client_id: "app_1".to_owned(),
        scope: "read".parse().unwrap(),
        org: Some("org_1".to_owned()),
        project: Some("prj_1".to_owned()),
        grant: Some("gnt_1".to_owned()),
        api_key: None,
        api_key_secret: Some("sec_1".to_owned()),
        owner: Some("usr_8".to_owned()),
        allowed_ips: None,
        status: None,
    }
}

#[test]
fn an_entry_reads_as_json() {
    let json = r#"{"seq":7,"kind":"revoked","subject":"tok_1","expires_at":900}"#;
    let read: Entry = serde_json::from_str(json).unwrap();
    assert_eq!(read, entry(7, EntryKind::Revoked, "tok_1", 900));
    assert_eq!(serde_json::to_string(&read).unwrap(), json);

    let json =
        r#"{"seq":8,"kind":"changed","subject":"usr_1","expires_at":900,"issued_before":60}"#;
    let read: Entry = serde_json::from_str(json).unwrap();
    assert_eq!(read, cutoff(8, "usr_1", 60, 900));
    assert_eq!(serde_json::to_string(&read).unwrap(), json);
    assert!(serde_json::from_str::<Entry>(&json.replace("60", "\"noon\"")).is_err());
}

#[test]
fn whatever_a_token_descends_from_can_revoke_it() {
    for subject in ["tok_1", "gnt_1", "app_1", "usr_1", "org_1", "prj_1", "sec_1", "usr_8"] {
        let set = RevocationSet::new();
        assert!(!set.is_revoked(&claims()));
        set.apply(&entry(1, EntryKind::Revoked, subject, 900));
        assert!(set.is_revoked(&claims()), "{subject}");
        assert!(set.contains(subject));
    }
    let set = RevocationSet::new();
    set.apply(&entry(1, EntryKind::Revoked, "tok_2", 900));
    set.apply(&entry(2, EntryKind::Changed, "tok_1", 900));
    assert!(!set.is_revoked(&claims()));
    assert_eq!((set.len(), set.last_seq()), (2, 2));
}

#[test]
fn a_change_of_whatever_a_token_descends_from_can_outdate_it() {
    for subject in ["tok_1", "gnt_1", "app_1", "usr_1", "org_1", "prj_1", "sec_1", "usr_8"] {
        let set = RevocationSet::new();
        set.apply(&cutoff(1, subject, 60, 900));
        assert!(set.is_revoked(&issued_at(59)), "{subject}");
        assert!(!set.is_revoked(&issued_at(60)), "{subject}");
        assert!(!set.contains(subject), "it has only changed");
        assert!(set.changed_since(subject, Mark(0)));
    }
    let set = RevocationSet::new();
    set.apply(&cutoff(1, "usr_2", 60, 900));
    assert!(!set.is_revoked(&issued_at(59)));
}

#[test]
fn the_greatest_cutoff_counts_in_whichever_order_they_come() {
    let none = entry(3, EntryKind::Changed, "usr_1", 700);
    let (early, late) = (cutoff(1, "usr_1", 60, 900), cutoff(2, "usr_1", 80, 800));
    for order in [[&early, &late, &none], [&late, &none, &early], [&none, &late, &early]] {
        let set = RevocationSet::new();
        order.into_iter().for_each(|entry| set.apply(entry));
        for now in [0, 700, 800, 899] {
            set.remove_expired(now);
            assert!(set.is_revoked(&issued_at(79)), "{now}");
            assert!(!set.is_revoked(&issued_at(80)), "{now}");
        }
        set.remove_expired(900);
        assert!(set.is_empty());
    }
}

#[test]
fn an_expired_cutoff_is_forgotten_while_its_subject_is_not() {
    let set = RevocationSet::new();
    set.apply(&cutoff(1, "usr_1", 60, 100));
    set.apply(&entry(2, EntryKind::Changed, "usr_1", 200));
    set.remove_expired(99);
    assert!(set.is_revoked(&issued_at(59)));
    set.remove_expired(100);
    assert!(!set.is_revoked(&issued_at(59)));
    assert_eq!(set.len(), 1);
    // What comes later does not bring it back.
    set.apply(&cutoff(3, "usr_1", 50, 200));
    assert!(set.is_revoked(&issued_at(49)));
    assert!(!set.is_revoked(&issued_at(50)));
}

#[test]
fn a_revocation_is_for_good_whatever_else_it_says() {
    let revoked = Entry { kind: EntryKind::Revoked, ..cutoff(1, "usr_1", 60, 100) };
    let set = RevocationSet::new();
    set.apply(&revoked);
    assert!(set.contains("usr_1"));
    assert!(set.is_revoked(&issued_at(60)));
    // Nor does it leave a cutoff behind.
    set.apply(&entry(2, EntryKind::Changed, "usr_1", 200));
    set.remove_expired(100);
    assert!(!set.is_revoked(&issued_at(59)));

    let set = RevocationSet::new();
    set.apply(&entry(1, EntryKind::Revoked, "usr_1", 100));
    set.apply(&cutoff(2, "usr_1", 60, 200));
    assert!(set.is_revoked(&issued_at(60)));
    set.remove_expired(100);
    assert!(set.is_revoked(&issued_at(59)) && !set.is_revoked(&issued_at(60)));
}

#[test]
fn a_change_does_not_undo_or_prolong_a_revocation() {
    let set = RevocationSet::new();
    set.apply(&entry(1, EntryKind::Revoked, "key_1", 100));
    set.apply(&entry(2, EntryKind::Changed, "key_1", 200));
    assert!(set.contains("key_1"));
    set.remove_expired(100);
    assert!(!set.contains("key_1"));
    assert_eq!(set.len(), 1);
    set.remove_expired(200);
    assert!(set.is_empty());
    assert_eq!(set.last_seq(), 2);
}

#[test]
fn what_was_brought_after_a_mark_is_known() {
    let set = RevocationSet::new();
    set.apply(&entry(5, EntryKind::Changed, "key_1", 100));
    let mark = set.mark();
    assert!(!set.changed_since("key_1", mark));
    set.apply(&entry(6, EntryKind::Changed, "key_2", 100));
    assert!(!set.changed_since("key_1", mark));
    assert!(set.changed_since("key_2", mark));
    set.apply(&entry(2, EntryKind::Revoked, "key_1", 100));
    assert!(set.changed_since("key_1", mark));
    assert!(!set.changed_since("key_1", set.mark()));
}

#[test]
fn a_forgotten_change_still_counts() {
    let set = RevocationSet::new();
    let mark = set.mark();
    set.apply(&entry(1, EntryKind::Changed, "key_1", 100));
    set.remove_expired(100);
    assert!(set.changed_since("key_1", mark));
    assert!(!set.changed_since("key_1", set.mark()));
}

#[test]
fn an_entry_takes_no_more_than_24_bytes_of_its_table() {
    assert_eq!(size_of::<(Subject, Record)>(), 24);
}

#[test]
fn a_real_id_and_any_other_text_can_be_revoked() {
    let set = RevocationSet::new();
    let (id, text) = ("tok_01h455vb4pex5vsknk084sn02q", "https://example.com/somebody");
    set.apply(&entry(1, EntryKind::Revoked, id, 900));
    set.apply(&entry(2, EntryKind::Revoked, text, 900));
    assert!(set.contains(id) && set.contains(text));
    for other in ["gnt_01h455vb4pex5vsknk084sn02q", "tok_01h455vb4pex5vsknk084sn02r", "https:"] {
        assert!(!set.contains(other), "{other}");
    }
}

#[test]
fn what_is_revoked_twice_is_one_entry_that_lasts_as_long_as_the_longer() {
    let set = RevocationSet::new();
    set.apply(&entry(1, EntryKind::Revoked, "tok_1", 200));
    set.apply(&entry(2, EntryKind::Revoked, "tok_1", 100));
    assert_eq!(set.len(), 1);
    set.remove_expired(199);
    assert!(set.contains("tok_1"));
    set.remove_expired(200);
    assert!(set.is_empty());
}

#[test]
fn an_end_beyond_what_can_be_counted_never_comes() {
    let set = RevocationSet::new();
    set.apply(&entry(1, EntryKind::Revoked, "tok_1", i64::MAX));
    set.apply(&entry(2, EntryKind::Revoked, "tok_2", i64::MIN));
    set.remove_expired(i64::MAX);
    assert!(set.contains("tok_1") && !set.contains("tok_2"));
}

#[test]
fn a_moment_long_ago_is_taken_for_a_later_one_and_never_for_an_earlier() {
    let set = RevocationSet::new();
    set.apply(&entry(1, EntryKind::Changed, "key_1", 100));
    let applied_at_one = Record { expires_at: Seconds::new(100), applied: 1 };
    assert_eq!(applied_at_one.applied_at(1), 1);
    assert_eq!(applied_at_one.applied_at(1 << 32), 1);
    assert_eq!(applied_at_one.applied_at((1 << 32) + 1), (1 << 32) + 1);
    assert_eq!(applied_at_one.applied_at((1 << 33) + 7), (1 << 33) + 1);
}

#[test]
fn memory_is_given_back_when_much_has_expired() {
    let set = RevocationSet::new();
    let fill = |range: std::ops::Range<i64>, expires_at| {
        for seq in range {
            set.apply(&entry(seq, EntryKind::Revoked, &format!("tok_{seq}"), expires_at));
        }
    };
    let capacity =
        || set.state.read().tables.iter().map(|tables| tables.revoked.capacity()).sum::<usize>();
    fill(0..100_000, 100);
    fill(100_000..100_100, 200);
    let full = capacity();
    set.remove_expired(100);
    assert_eq!(set.len(), 100);
    assert!(capacity() < full / 10, "{} of {full}", capacity());
    assert!(set.contains("tok_100050") && !set.contains("tok_50"));
}

#[test]
fn whoever_reads_while_entries_come_misses_none_that_was_announced() {
    let set = RevocationSet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for seq in 1..=20_000 {
                set.apply(&entry(seq, EntryKind::Revoked, &format!("tok_{seq}"), 900));
            }
        });
        loop {
            let Mark(seen) = set.mark();
            if seen > 0 {
                assert!(set.contains(&format!("tok_{seen}")), "{seen}");
            }
            if seen == 20_000 {
                break;
            }
        }
    });
}
