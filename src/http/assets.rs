//! What pages load besides themselves: one style sheet and a few small modules of script. Each has a piece of its
//! content's digest in its name, so that browsers keep it for good and still never use an old one.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use super::PageError;

struct Asset {
    name: &'static str,
    /// `/assets/`, the name, and the digest within it.
    path: String,
    kind: &'static str,
    body: &'static str,
}

const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";
const SCRIPT: &str = "text/javascript; charset=utf-8";

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    vec![
        Asset::new("portcullis.css", STYLE, include_str!("portcullis.css")),
        Asset::new("icon.svg", PICTURE, include_str!("icon.svg")),
        Asset::new("console.js", SCRIPT, include_str!("../console/console.js")),
        Asset::new("api_keys.js", SCRIPT, include_str!("../api_keys/pages/api_keys.js")),
    ]
});

impl Asset {
    fn new(name: &'static str, kind: &'static str, body: &'static str) -> Self {
        let digest = digest(&SHA256, body.as_bytes());
        let digest: String =
            digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let path = match name.rsplit_once('.') {
            Some((stem, ending)) => format!("/assets/{stem}-{digest}.{ending}"),
            None => format!("/assets/{name}-{digest}"),
        };
        Self { name, path, kind, body }
    }
}

/// The path of an asset, below the issuer's. Empty for a name that nothing has.
#[must_use]
pub fn asset(name: &str) -> &'static str {
    ASSETS.iter().find(|asset| asset.name == name).map_or("", |asset| asset.path.as_str())
}

/// `GET /assets/{file}`
///
/// # Errors
/// 404 for a name that nothing has, or had in another version.
pub async fn get_asset(Path(file): Path<String>) -> Result<Response, PageError> {
    let found = ASSETS.iter().find(|asset| asset.path.strip_prefix("/assets/") == Some(&*file));
    let asset = found.ok_or_else(PageError::not_found)?;
    let headers = [
        (header::CONTENT_TYPE.as_str(), asset.kind),
        (header::CACHE_CONTROL.as_str(), "public, max-age=31536000, immutable"),
        ("cross-origin-resource-policy", "same-origin"),
    ];
    Ok((headers, asset.body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_asset_changes_with_its_content() {
        let path = |body| Asset::new("a.css", STYLE, body).path;
        assert_eq!(path("a{}"), path("a{}"));
        assert_ne!(path("a{}"), path("b{}"));
        assert!(path("a{}").starts_with("/assets/a-") && path("a{}").ends_with(".css"));
        assert_eq!(asset("nothing.css"), "");
    }
}
