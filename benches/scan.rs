//! How fast the scanner is on one core: `cargo bench --bench scan`.
//!
//! Prints GB/s over text that resembles source code and logs, in which a key stands now and then, and over text that
//! is made to be slow: nothing but beginnings of keys.

use std::hint::black_box;
use std::time::{Duration, Instant};

use portcullis::scan::{Buffer, Finder};
use portcullis_verifier::key;
use secrecy::ExposeSecret as _;

const SIZE: usize = 256 << 20;
const ROUNDS: usize = 5;
const LINES: [&str; 6] = [
    "2026-11-21T16:17:38Z INFO request{method=GET path=/v1/tenants request_id=01k9} status=200 ms=3\n",
    "    let updated = api_key::Entity::update_many().filter(api_key::Column::Id.eq(id)).exec(tx).await?;\n",
    "{\"id\":\"evt_01m7xssds6ezwv6ztsq6pg56bs\",\"action\":\"api_key.created\",\"actor\":\"usr_01m7xssb91\"}\n",
    "INSERT INTO tenants (id, name, created_at) VALUES (41822, 'Acme', '2026-11-21 16:17:38');\n",
    "The scope says what a credential may do; whoever holds it can do no more, and often less.\n",
    "sha256-4FzLjxbn8gH1nX2Yk0aT3v7oQmC5rP9sW6uEyDdKiBA= npc_1 rpc_call epc_ PC_ --pc-width: 4px\n",
];

fn main() {
    let key = key::generate(&"pc_live".parse().expect("a prefix")).expect("randomness");
    let mut usual = Vec::with_capacity(SIZE + 128);
    let mut line = 0;
    while usual.len() < SIZE {
        usual.extend_from_slice(LINES[line * 7 % LINES.len()].as_bytes());
        if line % 100_000 == 99_999 {
            usual.extend_from_slice(key.expose_secret().as_bytes());
        }
        line += 1;
    }
    let keys = line / 100_000;
    let hostile = b"pc_live_".repeat(SIZE / 8);

    for (name, text, brands, expected) in [
        ("one brand", &usual, &["pc"][..], keys),
        ("three brands", &usual, &["pc", "op365_sk", "apvk"], keys),
        ("a brand of one letter", &usual, &["a"], 0),
        ("nothing but beginnings", &hostile, &["pc"], 0),
    ] {
        let finder = Finder::new(brands.iter().copied()).expect("brands");
        let mut buffer = Buffer::default();
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let mut found = 0;
            let searched = buffer.search(&finder, &mut black_box(&text[..]), |_, _, _| found += 1);
            best = best.min(begun.elapsed());
            assert_eq!(searched.expect("memory can be read"), text.len() as u64);
            assert_eq!(found, expected, "{name}");
        }
        let speed = text.len() as f64 / best.as_secs_f64() / 1e9;
        println!("{name:<24} {speed:6.2} GB/s (best of {ROUNDS}, {} MiB)", text.len() >> 20);
    }
}
