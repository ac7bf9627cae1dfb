//! The house rules: who may name axum and SeaORM, which way the arrows point, and that the map is true.

use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What stands on the floor above the faces.
const ASSEMBLY: [&str; 5] = ["main", "cli", "server", "openapi", "janitor"];
/// What every face shares.
const DOORS: [&str; 3] = ["app", "http", "access"];
/// Rooms that are nothing but faces.
const FACE_ROOMS: [&str; 3] = ["oauth", "health", "console"];
/// What a verb may know of the database: the connection that it hands on, and how it failed.
const OF_SEA_ORM: [&str; 4] = ["ConnectionTrait", "DatabaseTransaction", "DbErr", "SqlErr"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Floor {
    Assembly,
    Face,
    Door,
    Verb,
    Store,
    Platform,
}

/// A source file of ours, without comments and unit tests.
struct Source {
    path: PathBuf,
    room: String,
    floor: Floor,
    code: String,
}

impl Source {
    fn new(path: &Path) -> Self {
        let inside = path.strip_prefix(Path::new(ROOT).join("src")).unwrap();
        let room = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let room = room.trim_end_matches(".rs").to_owned();
        let file = inside.file_name().unwrap().to_str().unwrap();
        let floor = match room.as_str() {
            "platform" => Floor::Platform,
            it if ASSEMBLY.contains(&it) => Floor::Assembly,
            it if DOORS.contains(&it) => Floor::Door,
            it if FACE_ROOMS.contains(&it) => Floor::Face,
            _ => match file {
                "api.rs" | "pages.rs" => Floor::Face,
                _ if inside
                    .components()
                    .any(|it| ["api", "pages"].map(AsRef::as_ref).contains(&it.as_os_str())) =>
                {
                    Floor::Face
                }
                "store.rs" => Floor::Store,
                _ => Floor::Verb,
            },
        };
        let text = std::fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        let code = code.collect::<Vec<_>>().join("\n");
        Self { path: inside.to_path_buf(), room, floor, code }
    }

    /// The names that follow each `root::`, alone or in braces: `root::a::b` and `root::{a::b, c}` name a and c.
    fn names_after(&self, root: &str) -> Vec<String> {
        let mut names = Vec::new();
        let needle = format!("{root}::");
        for (at, _) in self.code.match_indices(&needle) {
            let before = self.code[..at].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric() || before == '_' || before == ':' {
                continue;
            }
            let rest = &self.code[at + needle.len()..];
            match rest.strip_prefix('{') {
                Some(group) => names.extend(first_names(group)),
                None => names.push(name(rest).to_owned()),
            }
        }
        names
    }

    fn says(&self, word: &str) -> bool {
        self.code.match_indices(word).any(|(at, _)| {
            let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
    }
}

fn name(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    &text[..end.unwrap_or(text.len())]
}

/// The first name of each member of a group whose opening brace is behind us.
fn first_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut member = String::new();
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(std::mem::take(&mut member)),
            _ if depth == 0 => member.push(letter),
            _ => {}
        }
    }
    names.push(member);
    names.iter().map(|member| name(member.trim()).to_owned()).filter(|it| !it.is_empty()).collect()
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut directories = vec![Path::new(ROOT).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("lib.rs") {
                found.push(Source::new(&path));
            }
        }
    }
    assert!(found.len() > 80, "the sources were not found");
    found
}

/// The rooms as `lib.rs` lists them.
fn rooms() -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(ROOT).join("src/lib.rs")).unwrap();
    let rooms = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    rooms.map(str::to_owned).collect()
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn only_faces_and_doors_speak_http() {
    let found: Vec<String> = sources()
        .iter()
        .filter(|it| matches!(it.floor, Floor::Verb | Floor::Store | Floor::Platform))
        .filter(|it| it.says("axum") || it.says("tower") || it.says("tower_http"))
        .map(|it| it.path.display().to_string())
        .collect();
    assert_none("these decide or store, and speak HTTP", &found);
}

#[test]
fn only_stores_speak_sql() {
    let mut found = Vec::new();
    for source in sources() {
        if matches!(source.floor, Floor::Store | Floor::Platform) {
            continue;
        }
        for name in source.names_after("sea_orm") {
            if !OF_SEA_ORM.contains(&name.as_str()) {
                found.push(format!("{} names sea_orm::{name}", source.path.display()));
            }
        }
        for name in source.names_after("entity") {
            // Ids and times are everybody's; a table's module is in lower case.
            if !name.starts_with(char::is_uppercase) {
                found.push(format!("{} names the table entity::{name}", source.path.display()));
            }
        }
        for root in ["sqlx", "migration", "sea_orm_migration"] {
            if !source.names_after(root).is_empty() {
                found.push(format!("{} names {root}", source.path.display()));
            }
        }
    }
    assert_none("a line that speaks SQL belongs into a store", &found);
}

#[test]
fn nothing_changes_an_audit_event() {
    let named: Vec<String> = sources()
        .iter()
        .filter(|it| it.names_after("entity").iter().any(|name| name == "audit_event"))
        .map(|it| it.path.display().to_string())
        .collect();
    assert_eq!(named, ["audit/store.rs"], "only one file speaks of the table");
    let path = Path::new(ROOT).join("src/audit/store.rs");
    let store = Source::new(&path);
    for word in ["update", "update_many", "col_expr", "save", "on_conflict", "execute_raw"] {
        assert!(!store.says(word), "{} says {word}", path.display());
    }
}

#[test]
fn arrows_point_down() {
    let rooms = rooms();
    let place = |room: &str| rooms.iter().position(|it| it == room);
    let mut found = Vec::new();
    for source in sources() {
        if source.floor == Floor::Assembly {
            continue;
        }
        let own = place(&source.room);
        let own = own.unwrap_or_else(|| panic!("{} is not in lib.rs", source.room));
        for name in source.names_after("crate") {
            let Some(used) = place(&name) else { continue };
            let is_fine = match source.floor {
                // Any room's verbs, but nothing of the floor above.
                Floor::Face => !ASSEMBLY.contains(&name.as_str()),
                _ => used <= own,
            };
            if !is_fine {
                let path = source.path.display();
                found.push(format!("{path} uses {name}, which lib.rs does not list before it"));
            }
        }
        let is_below_the_faces = matches!(source.floor, Floor::Verb | Floor::Store);
        for face in ["api", "pages"] {
            let uses = source.code.contains(&format!("::{face}::"));
            if is_below_the_faces && (uses || source.code.contains(&format!(" {face}::"))) {
                found.push(format!("{} uses a face", source.path.display()));
            }
        }
    }
    assert_none("these arrows point up", &found);
}

#[test]
fn a_room_has_one_front_door() {
    let mut found = Vec::new();
    for source in sources() {
        let is_open_room = source.floor == Floor::Platform || source.floor == Floor::Face;
        if is_open_room || !source.path.ends_with("mod.rs") {
            continue;
        }
        for line in source.code.lines() {
            if let Some(module) = line.trim().strip_prefix("pub mod ")
                && !["api;", "pages;"].contains(&module)
            {
                found.push(format!("{} opens {module}", source.path.display()));
            }
        }
    }
    assert_none("what others may use of a room, its mod.rs re-exports", &found);
}

#[test]
fn the_crates_below_know_nothing_of_those_above() {
    for (manifest, unknown) in [
        ("entity/Cargo.toml", &["portcullis", "migration"][..]),
        ("migration/Cargo.toml", &["portcullis", "entity"]),
        ("verifier/Cargo.toml", &["portcullis", "migration", "entity", "sea-orm"]),
    ] {
        let text = std::fs::read_to_string(Path::new(ROOT).join(manifest)).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let dependencies = table["dependencies"].as_table().unwrap();
        for name in unknown {
            assert!(!dependencies.contains_key(*name), "{manifest} depends on {name}");
        }
    }
}

#[test]
fn every_path_that_the_map_names_exists() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/architecture.md")).unwrap();
    let is_path = |text: &&str| {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./".contains(letter);
        let ends = [".rs", ".html", ".css", ".md", ".toml", "/"];
        text.contains('/')
            && !text.starts_with(['/', '.'])
            && !text.starts_with("data/")
            && text.chars().all(is_plain)
            && ends.iter().any(|end| text.ends_with(end))
    };
    let exists = |path: &&str| {
        let below = ["", "src", "tests/it", "docs"];
        below.iter().any(|below| Path::new(ROOT).join(below).join(path).exists())
    };
    let quoted = text.split('`').skip(1).step_by(2);
    let missing: Vec<String> =
        quoted.filter(is_path).filter(|path| !exists(path)).map(str::to_owned).collect();
    assert_none("docs/architecture.md names what is not there", &missing);
}
