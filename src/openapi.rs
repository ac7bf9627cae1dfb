//! The management API: its routes, and the document that describes them (OpenAPI 3.1), made of the same list.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response as HttpResponse};
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Content, HeaderBuilder, ObjectBuilder, Ref, RefOr, Required, Response, ResponseBuilder, Schema,
    Server, Type,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::clients;
use crate::grants::api::{connected_apps, grants, me};
use crate::http::{Page, Problem, ProblemDocument};
use crate::invitations;
use crate::leaks;
use crate::organizations::api::{members, organizations, projects, revocations, roles, users};
use crate::resource_servers::api::{resource_servers, scopes};
use crate::{api_keys, audit, signing};

const PROBLEM: &str = "Problem";
/// Where anyone reports, and so not too often.
const REPORTS: &str = "/v1/credentials:revoke";
/// What only a partner of GitHub's has.
const GITHUB: &str = "/v1/secret-scanning/github";
/// What is to end is named in the body.
const REVOCATIONS: &str = "/v1/revocations";
/// No control characters, and something that is no space.
const NAME: &str = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";
/// No control characters but the end of a line.
const TEXT: &str = r"^[^\u0000-\u0009\u000b-\u001f\u007f-\u009f]*$";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Portcullis management API",
        description = "Everything that an installation holds: organizations, people, applications, API keys.\n\n\
            Call it with an API key or an access token as bearer credential, or with the session of a browser that is \
            logged in; whoever belongs to several organizations then names one in the header \
            `Portcullis-Organization`.\n\n\
            Refusals are problem documents (RFC 9457). What belongs to another organization is answered like what does \
            not exist. Lists come in pages, newest first: send `next_cursor` as `cursor` until it is null. What people \
            edit has an `ETag`; send it as `If-Match`, and nobody overwrites what somebody else has changed meanwhile. \
            A creation that bears an `Idempotency-Key` can be sent again for 24 hours without making a second thing.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT"),
    ),
    components(schemas(ProblemDocument))
)]
struct Document;

/// Every route of the management API.
#[must_use]
pub fn management_api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(api_keys::api::list, api_keys::api::create))
        .routes(routes!(api_keys::api::verify::verify))
        .routes(routes!(
            api_keys::api::read,
            api_keys::api::edit::edit,
            api_keys::api::revoke::revoke
        ))
        .routes(routes!(api_keys::api::revoke::revoke_for_a_reason))
        .routes(routes!(api_keys::api::revoke::revoke_many))
        .routes(routes!(api_keys::api::import::import))
        .routes(routes!(api_keys::api::rotate))
        .routes(routes!(api_keys::api::hand_over))
        .routes(routes!(members::list))
        .routes(routes!(members::read, members::edit, members::remove))
        .routes(routes!(organizations::list, organizations::create))
        .routes(routes!(organizations::read, organizations::edit, organizations::close))
        .routes(routes!(audit::api::list))
        .routes(routes!(signing::api::list))
        .routes(routes!(signing::api::read))
        .routes(routes!(signing::api::rotate))
        .routes(routes!(grants::list))
        .routes(routes!(grants::read, grants::end))
        .routes(routes!(revocations::revoke))
        .routes(routes!(me::read))
        .routes(routes!(connected_apps::list))
        .routes(routes!(connected_apps::end))
        .routes(routes!(invitations::api::list, invitations::api::create))
        .routes(routes!(invitations::api::read, invitations::api::revoke))
        .routes(routes!(projects::list, projects::create))
        .routes(routes!(projects::read, projects::edit, projects::delete))
        .routes(routes!(roles::list, roles::create))
        .routes(routes!(roles::read, roles::edit, roles::delete))
        .routes(routes!(users::list))
        .routes(routes!(users::read, users::erase))
        .routes(routes!(users::suspend))
        .routes(routes!(users::resume))
        .routes(routes!(clients::api::list, clients::api::create))
        .routes(routes!(clients::api::read, clients::api::edit, clients::api::delete))
        .routes(routes!(clients::api::disable))
        .routes(routes!(clients::api::enable))
        .routes(routes!(clients::api::add_secret))
        .routes(routes!(clients::api::remove_secret))
        .routes(routes!(resource_servers::list, resource_servers::create))
        .routes(routes!(resource_servers::read, resource_servers::edit, resource_servers::delete))
        .routes(routes!(resource_servers::rotate_credential))
        .routes(routes!(scopes::list))
        .routes(routes!(leaks::api::revoke))
        .routes(routes!(leaks::api::github))
}

/// The document, for a server that is reached under `base`.
#[must_use]
pub fn document(base: &str) -> utoipa::openapi::OpenApi {
    let mut document = management_api().into_openapi();
    document.servers = Some(vec![Server::new(if base.is_empty() { "/" } else { base })]);
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(
        "bearer",
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some("An API key, or an access token whose audience is the issuer."))
                .build(),
        ),
    );
    let cookie = ApiKeyValue::with_description("portcullis", "The session of a browser.");
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    for (path, item) in &mut document.paths.paths {
        for operation in
            [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
        {
            name_apart(operation, path);
        }
        for operation in [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten() {
            describe_refusals(operation, path);
        }
        for operation in
            item.post.iter_mut().filter(|it| it.responses.responses.contains_key("201"))
        {
            let description = "Makes it safe to send the request again: for 24 hours it gets the same answer, less its secret.";
            let key =
                ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[!-~]{1,255}$"));
            operation.parameters.get_or_insert_default().push(header(
                "Idempotency-Key",
                description,
                key,
            ));
        }
        if let Some(operation) = &mut item.patch {
            describe_refusals(operation, path);
            let description = "The ETag of what was read; the edit is refused if that is not the current version any more.";
            let tag = ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^(\\*|\"[0-9]{1,9}\")$"))
                .examples(["\"1\""]);
            operation.parameters.get_or_insert_default().push(header("If-Match", description, tag));
            let stale = RefOr::T(refusal("412", "Somebody else has changed it"));
            operation.responses.responses.insert("412".to_owned(), stale);
        }
    }
    for schema in document.components.iter_mut().flat_map(|it| it.schemas.values_mut()) {
        describe_text(schema);
    }
    document
}

/// What people write holds no control characters, and a name something to see; said here once for every request.
fn describe_text(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::Object(object)) = schema else { return };
    for (name, property) in &mut object.properties {
        let RefOr::T(Schema::Object(text)) = property else { continue };
        let is_said = text.max_length.is_none() || text.pattern.is_some();
        let pattern = match name.as_str() {
            "name" if !is_said => NAME,
            "description" if !is_said => TEXT,
            _ => continue,
        };
        text.pattern = Some(pattern.to_owned());
    }
}

/// The name of a handler, `list`, and what it lists: names of operations are unique in a document.
fn name_apart(operation: &mut Operation, path: &str) {
    let mut name = operation.operation_id.take().unwrap_or_default();
    for segment in path.split('/').skip(2).filter(|segment| !segment.starts_with('{')) {
        // A verb stands behind a colon, and the handler is named after it.
        let segment = segment.split(':').next().unwrap_or_default().replace('-', "_");
        if !name.contains(&segment) {
            name = format!("{name}_{segment}");
        }
    }
    operation.operation_id = Some(name);
}

fn header(name: &str, description: &str, schema: ObjectBuilder) -> RefOr<Parameter> {
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema));
    RefOr::T(parameter.build())
}

/// What every operation of its kind may refuse, so that no handler has to repeat it.
fn describe_refusals(operation: &mut Operation, path: &str) {
    let has_body = operation.request_body.is_some();
    let has_id = path.contains('{');
    // Those that take what others found may be large.
    let is_report = operation.tags.iter().flatten().any(|tag| tag == "Leaks");
    let too_large = match is_report {
        true => "The body is larger than 1 MiB",
        false if path.ends_with(":import") => "The body is larger than 8 MiB",
        false => "The body is larger than 64 KiB",
    };
    let refusals = [
        (true, "400", "The request can't be read"),
        (true, "401", "No credential, or one that is not accepted"),
        (true, "403", "The credential does not allow this"),
        (
            has_id || [GITHUB, REVOCATIONS].contains(&path),
            "404",
            "There is nothing here that you may see",
        ),
        (has_body || has_id, "409", "It can't be done as things stand"),
        (has_body, "413", too_large),
        (has_body, "415", "The body is not JSON"),
        (true, "422", "Some fields are missing or wrong"),
        (path == REPORTS, "429", "There were too many reports from this network"),
        (!is_report, "429", "The API key, or its organization, is over its rate limit"),
        (true, "503", "Busy; try again in a moment"),
    ];
    for (_, status, description) in refusals.into_iter().filter(|(applies, ..)| *applies) {
        operation
            .responses
            .responses
            .entry(status.to_owned())
            .or_insert_with(|| RefOr::T(refusal(status, description)));
    }
}

fn refusal(status: &str, description: &str) -> Response {
    let mut response = ResponseBuilder::new().description(description).content(
        "application/problem+json",
        Content::new(Some(RefOr::Ref(Ref::from_schema_name(PROBLEM)))),
    );
    if status == "401" {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let challenge = HeaderBuilder::new().schema(Some(text)).build();
        response = response.header("WWW-Authenticate", challenge);
    }
    if status == "429" {
        for (name, kind) in [
            ("Retry-After", Type::Integer),
            ("RateLimit-Policy", Type::String),
            ("RateLimit", Type::String),
        ] {
            let value = ObjectBuilder::new().schema_type(kind).build();
            response = response.header(name, HeaderBuilder::new().schema(Some(value)).build());
        }
    }
    response.build()
}

/// `GET /openapi.json`
pub async fn json(State(app): State<App>) -> axum::Json<utoipa::openapi::OpenApi> {
    axum::Json(document(&app.config.base_path))
}

#[derive(Template)]
#[template(path = "openapi.html")]
struct Reader<'a> {
    base: &'a str,
}

/// Swagger UI's script and style are ours to serve; its style sheet draws its icons itself.
const READER_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'";

/// `GET /docs`: the document for people to read and try out.
pub async fn reader(State(app): State<App>) -> HttpResponse {
    let page = Page::new(Reader { base: &app.config.base_path });
    page.with_policy(READER_POLICY).into_response()
}

/// `GET /docs/reader.js`
pub async fn reader_script() -> HttpResponse {
    asset("text/javascript; charset=utf-8", include_str!("openapi.js"))
}

/// `GET /docs/swagger-ui-bundle.js`
pub async fn swagger_script() -> Result<HttpResponse, Problem> {
    swagger("swagger-ui-bundle.js", "text/javascript; charset=utf-8")
}

/// `GET /docs/swagger-ui.css`
pub async fn swagger_style() -> Result<HttpResponse, Problem> {
    swagger("swagger-ui.css", "text/css; charset=utf-8")
}

fn swagger(file: &str, kind: &'static str) -> Result<HttpResponse, Problem> {
    let found = utoipa_swagger_ui::serve(file, Arc::new(utoipa_swagger_ui::Config::default()));
    let found = found.map_err(|error| anyhow::anyhow!("{file} can't be read: {error}"))?;
    let found = found.ok_or_else(Problem::not_found)?;
    Ok(asset(kind, found.bytes.into_owned()))
}

fn asset(kind: &'static str, body: impl Into<axum::body::Body>) -> HttpResponse {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=300")];
    (headers, body.into()).into_response()
}
