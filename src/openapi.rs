//! The management API: its routes, and the document that describes them (OpenAPI 3.1), made of the same list.

use axum::extract::State;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Content, HeaderBuilder, ObjectBuilder, Ref, RefOr, Required, Response, ResponseBuilder, Server,
    Type,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api_keys;
use crate::app::App;
use crate::grants::api::{connected_apps, grants, me};
use crate::http::ProblemDocument;
use crate::invitations;
use crate::organizations::api::projects;

const PROBLEM: &str = "Problem";

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
        .routes(routes!(api_keys::api::read, api_keys::api::revoke))
        .routes(routes!(api_keys::api::hand_over))
        .routes(routes!(grants::list))
        .routes(routes!(grants::read, grants::end))
        .routes(routes!(me::read))
        .routes(routes!(connected_apps::list))
        .routes(routes!(connected_apps::end))
        .routes(routes!(invitations::api::list, invitations::api::create))
        .routes(routes!(invitations::api::read, invitations::api::revoke))
        .routes(routes!(projects::list, projects::create))
        .routes(routes!(projects::read, projects::edit, projects::delete))
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
            let tag = ObjectBuilder::new().schema_type(Type::String).examples(["\"1\""]);
            operation.parameters.get_or_insert_default().push(header("If-Match", description, tag));
            let stale = RefOr::T(refusal("412", "Somebody else has changed it"));
            operation.responses.responses.insert("412".to_owned(), stale);
        }
    }
    document
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
    let refusals = [
        (true, "400", "The request can't be read"),
        (true, "401", "No credential, or one that is not accepted"),
        (true, "403", "The credential does not allow this"),
        (has_id, "404", "There is nothing here that you may see"),
        (has_body || has_id, "409", "It can't be done as things stand"),
        (has_body, "413", "The body is larger than 64 KiB"),
        (has_body, "415", "The body is not JSON"),
        (true, "422", "Some fields are missing or wrong"),
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
    response.build()
}

/// `GET /openapi.json`
pub async fn json(State(app): State<App>) -> axum::Json<utoipa::openapi::OpenApi> {
    axum::Json(document(&app.config.base_path))
}
