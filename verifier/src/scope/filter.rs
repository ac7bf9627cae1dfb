//! The filter of a scope: which part of a resource it is about. `None` stands for all of it.

/// Whether `text` has the form of a filter: segments that are names or `*`, and perhaps a final `**`.
pub(super) fn is_valid(text: &str) -> bool {
    let mut segments = text.split('/').peekable();
    while let Some(segment) = segments.next() {
        let valid = match segment {
            "**" => segments.peek().is_none(),
            "*" => true,
            name => {
                !name.is_empty()
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
            }
        };
        if !valid {
            return false;
        }
    }
    true
}

/// Whether all that `required` describes is within `granted`.
pub(super) fn covers(granted: Option<&str>, required: Option<&str>) -> bool {
    let Some(granted) = granted else {
        return true;
    };
    let Some(required) = required else {
        return false;
    };
    let mut required = required.split('/');
    for segment in granted.split('/') {
        match (segment, required.next()) {
            // Nothing left: `**` too wants one segment at least.
            (_, None) => return false,
            ("**", Some(_)) => return true,
            ("*", Some(asked)) if asked != "**" => {}
            (literal, Some(asked)) if literal == asked => {}
            _ => return false,
        }
    }
    required.next().is_none()
}

/// What both describe. The outer `None` means nothing, the inner one everything.
pub(super) fn meet(a: Option<&str>, b: Option<&str>) -> Option<Option<String>> {
    let (a, b) = match (a, b) {
        (None, any) | (any, None) => return Some(any.map(str::to_owned)),
        (Some(a), Some(b)) => (a, b),
    };
    let mut segments = Vec::new();
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Some(Some(segments.join("/"))),
            (Some("**"), Some(rest)) => {
                segments.push(rest);
                segments.extend(b.by_ref());
            }
            (Some(rest), Some("**")) => {
                segments.push(rest);
                segments.extend(a.by_ref());
            }
            (Some("*"), Some(segment)) | (Some(segment), Some("*")) => segments.push(segment),
            (Some(x), Some(y)) if x == y => segments.push(x),
            _ => return None,
        }
    }
}
