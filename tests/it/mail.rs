//! Mail that leaves the server, and the settings that say how.

use portcullis::platform::mail::{MailSettings, Mailer};

use crate::harness::{Database, Installation, Mailbox, Server};

fn mailer(url: &str) -> Mailer {
    let from = "Pörtcullis <auth@example.com>".to_owned();
    Mailer::new(&MailSettings { smtp_url: url.into(), from }).unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_arrives_as_it_was_written() {
    let mut mailbox = Mailbox::open().await;
    let mailer = mailer(&mailbox.url());
    let long = "a line that is longer than what fits ".repeat(40);
    for (subject, text) in [
        ("Reset your password", "Open this link:\n\nhttps://auth.example.com/reset?token=a_b-c\n"),
        ("Grüße aus Köln – dein neues Passwort für Pörtcullis steht bereit", "Schöne Grüße\n=20 ✓"),
        ("ログイン", "リンクを開いてください。\nhttps://auth.example.com/?a=b&c=d"),
        ("Dots", ".\n..\n.hidden"),
        ("Long", long.trim_end()),
    ] {
        mailer.send("ada@example.com", subject, text).await.unwrap();
        let mail = mailbox.next().await;
        assert_eq!(mail.header("subject"), subject);
        assert_eq!(mail.text, text.trim_end());
        assert_eq!(mail.from, "auth@example.com");
        assert_eq!(mail.to, ["ada@example.com"]);
        assert_eq!(mail.header("from"), "Pörtcullis <auth@example.com>");
        assert_eq!(mail.header("to"), "ada@example.com");
        assert_eq!(mail.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(mail.header("auto-submitted"), "auto-generated");
        assert!(mail.header("message-id").ends_with("@example.com>"), "{mail:?}");
        assert!(!mail.header("date").is_empty(), "{mail:?}");
        assert_eq!(mail.login, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mail_server_is_told_who_we_are() {
    let mut mailbox = Mailbox::open().await;
    let mailer = mailer(&mailbox.url_for("me%40example.com", "p%40ss%2Fword"));
    mailer.send("ada@example.com", "Hello", "Hello").await.unwrap();
    assert_eq!(mailbox.next().await.login, "me@example.com:p@ss/word");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_what_is_no_address() {
    let mut mailbox = Mailbox::open().await;
    let mailer = mailer(&mailbox.url());
    for to in [
        "ada@example.com\r\nBcc: eve@example.com",
        "ada@example.com\nRCPT TO:<eve@example.com>",
        "ada@example.com,eve@example.com",
        "ada",
    ] {
        let error = mailer.send(to, "Hello", "Hello").await.unwrap_err();
        assert!(error.to_string().contains("recipient"), "{error:#}");
    }
    assert!(mailbox.is_empty());
    mailer.send("ada@example.com", "Hello\r\nBcc: eve@example.com", "Hello").await.unwrap();
    let mail = mailbox.next().await;
    assert_eq!(mail.to, ["ada@example.com"]);
    assert_eq!(mail.header("bcc"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_recipient_is_an_error_and_the_next_mail_arrives() {
    let mut mailbox = Mailbox::open().await;
    let mailer = mailer(&mailbox.url_for("me", "hunter2"));
    let error = mailer.send("nobody@example.com", "Hello", "Hello").await.unwrap_err();
    let error = format!("{error:#} {error:?}");
    assert!(error.contains("no such mailbox") && !error.contains("hunter2"), "{error}");
    assert!(mailbox.is_empty());
    mailer.send("ada@example.com", "Hello", "Hello").await.unwrap();
    assert_eq!(mailbox.next().await.to, ["ada@example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_is_not_there_is_an_error() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mailer = mailer(&format!("smtp://me:hunter2@{free}"));
    let sending = mailer.send("ada@example.com", "Hello", "Hello");
    let sent = tokio::time::timeout(std::time::Duration::from_secs(10), sending).await;
    let error = sent.expect("it took ten seconds").unwrap_err();
    assert!(!format!("{error:#} {error:?}").contains("hunter2"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_has_the_mailer_that_its_settings_describe() {
    let server = Server::start(Database::Sqlite).await.unwrap();
    assert!(server.app.mailer.is_none());
    let mut mailbox = Mailbox::open().await;
    let url = mailbox.url();
    let server = Server::start_with(Database::Sqlite, |settings| {
        settings.mail.smtp_url = url.into();
        settings.mail.from = "auth@example.com".to_owned();
    });
    let app = &server.await.unwrap().app;
    let mailer = app.mailer.as_ref().unwrap();
    mailer.send("ada@example.com", "Hello", "Hello").await.unwrap();
    assert_eq!(mailbox.next().await.header("from"), "auth@example.com");
}

// The settings

#[tokio::test(flavor = "multi_thread")]
async fn wrong_mail_settings_are_named_without_their_secret() {
    let here = Installation::empty().await;
    let from = "from = 'auth@example.com'";
    for (text, words) in [
        ("smtp_url = 'smtps://u:hunter2@h'".to_owned(), &["mail.from is missing"][..]),
        (from.to_owned(), &["mail.smtp_url is missing"]),
        ("smtp_url = 'smtps://u:hunter2@h'\nfrom = 'Me'".to_owned(), &["mail.from", "`Me`"]),
        (format!("smtp_url = 'smtp://u:hunter2@h'\n{from}"), &["mail.smtp_url", "loopback"]),
        (format!("smtp_url = 'smtp://u:hunter2@10.0.0.1'\n{from}"), &["mail.smtp_url", "loopback"]),
        (format!("smtp_url = 'hunter2'\n{from}"), &["mail.smtp_url", "smtps://"]),
        (format!("smtp_url = ['hunter2']\n{from}"), &["`mail.smtp_url`", "text"]),
        (format!("smtp_url = 424242\n{from}"), &["`mail.smtp_url`", "text"]),
        ("smtp = 'hunter2'".to_owned(), &["`mail.smtp`"]),
    ] {
        here.writes("portcullis.toml", &format!("[mail]\n{text}\n"));
        for command in ["config", "serve"] {
            let sentence = here.runs(&[command]).sentence(2);
            for word in words {
                assert!(sentence.contains(word), "{text:?}: {word} is not in: {sentence}");
            }
            for secret in ["hunter2", "424242"] {
                assert!(!sentence.contains(secret), "{text:?}: {sentence}");
            }
        }
    }
    here.writes("portcullis.toml", "mail = 'smtps://u:hunter2@h'");
    let sentence = here.runs(&["config"]).sentence(2);
    assert!(sentence.contains("`mail`") && !sentence.contains("hunter2"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mail_servers_password_is_not_shown() {
    let mut here = Installation::empty().await;
    here.set("PORTCULLIS_MAIL__SMTP_URL", "smtps://me:hunter2@mail.example.com:465");
    here.set("PORTCULLIS_MAIL__FROM", "Portcullis <auth@example.com>");
    for arguments in [&["config"][..], &["config", "--json"]] {
        let shown = here.succeeds(arguments);
        assert!(shown.contains("smtps://me:********@mail.example.com:465"), "{shown}");
        assert!(shown.contains("Portcullis <auth@example.com>"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    here.set("PORTCULLIS_LOG__FILTER", "trace");
    let server = here.starts();
    assert!(!server.announcement.contains("hunter2") && !server.log().contains("hunter2"));
    drop(server);
    here.unset("PORTCULLIS_MAIL__SMTP_URL");
    here.unset("PORTCULLIS_MAIL__FROM");
    here.set("PORTCULLIS_MAIL", "smtps://me:hunter2@mail.example.com:465");
    let sentence = here.runs(&["config"]).sentence(2);
    assert!(sentence.contains("`mail`") && !sentence.contains("hunter2"), "{sentence}");
}
