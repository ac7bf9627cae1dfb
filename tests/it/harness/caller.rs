//! Somebody who calls the management API: by a bearer credential, or by the session of a browser.

use entity::OrganizationId;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use super::actors::{Answer, Person, http};
use super::server::Server;

pub struct Caller {
    http: Client,
    address: String,
    bearer: Option<String>,
    /// Which organization the session means.
    organization: Option<OrganizationId>,
}

impl Caller {
    /// A script with an API key or an access token.
    pub fn with(server: &Server, credential: &str) -> Self {
        Self {
            http: http(),
            address: server.address.clone(),
            bearer: Some(credential.to_owned()),
            organization: None,
        }
    }

    /// A person who is logged in in a browser, in one of their organizations.
    pub fn in_browser(server: &Server, person: &Person, organization: OrganizationId) -> Self {
        Self {
            http: person.browser.clone(),
            address: server.address.clone(),
            bearer: None,
            organization: Some(organization),
        }
    }

    pub fn asks(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.address));
        if let Some(credential) = &self.bearer {
            request = request.bearer_auth(credential);
        }
        if let Some(organization) = self.organization {
            request = request.header("portcullis-organization", organization.to_string());
        }
        request
    }

    /// Calls with a JSON body, where it is not null.
    pub async fn calls(&self, method: Method, path: &str, body: &Value) -> Answer {
        let mut request = self.asks(method, path);
        if !body.is_null() {
            request = request.json(body);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub async fn gets(&self, path: &str) -> Answer {
        self.calls(Method::GET, path, &Value::Null).await
    }

    pub async fn posts(&self, path: &str, body: &Value) -> Answer {
        self.calls(Method::POST, path, body).await
    }

    /// Posts with an `Idempotency-Key`.
    pub async fn posts_once(&self, key: &str, path: &str, body: &Value) -> Answer {
        let request = self.asks(Method::POST, path).header("idempotency-key", key).json(body);
        Answer::of(request.send().await.unwrap()).await
    }

    pub async fn patches(&self, path: &str, body: &Value) -> Answer {
        self.calls(Method::PATCH, path, body).await
    }

    /// Patches what was read with this `ETag`.
    pub async fn patches_as_read(&self, read: &Answer, path: &str, body: &Value) -> Answer {
        let request = self.asks(Method::PATCH, path).header("if-match", read.header("etag"));
        Answer::of(request.json(body).send().await.unwrap()).await
    }

    pub async fn deletes(&self, path: &str) -> Answer {
        self.calls(Method::DELETE, path, &Value::Null).await
    }
}

/// The ids of a page.
pub fn ids<'a>(page: &'a Answer, member: &str) -> Vec<&'a str> {
    let items = page.json["items"].as_array().unwrap_or_else(|| panic!("no page: {page:?}"));
    items.iter().map(|item| item[member].as_str().unwrap()).collect()
}

/// The fields that a problem document names.
pub fn wrong_fields(problem: &Answer) -> Vec<&str> {
    assert_eq!(problem.status, 422, "{problem:?}");
    let errors = problem.json["errors"].as_array();
    errors.into_iter().flatten().map(|error| error["field"].as_str().unwrap()).collect()
}
