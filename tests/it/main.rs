//! Black-box tests: a real server on a real database, over HTTP. One binary, so that it links once.
//!
//! Every test that touches the database runs on SQLite and on PostgreSQL. PostgreSQL is the server that
//! `PORTCULLIS_TEST_POSTGRES_URL` names; without it those tests say so and pass, unless
//! `PORTCULLIS_TEST_REQUIRE_SERVICES=1` asks for a failure instead. So with the Redis of `PORTCULLIS_TEST_REDIS_URL`, and
//! with Debian's packages `nginx` (or the program that `PORTCULLIS_TEST_NGINX` names), `chromium` and `chromium-driver`;
//! what the browser saw is in `target/screenshots`. So too with what the guides for other languages need:
//! `PORTCULLIS_TEST_NODE_MODULES` is a folder `node_modules` with `jose` and `openid-client`, `PORTCULLIS_TEST_PYTHON` a
//! Python with `PyJWT[crypto]`, `Authlib` and `requests`. `PORTCULLIS_TEST_AXE` is the `axe.min.js` of the npm package `axe-core`, which looks at each page.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod harness;

mod alerts;
mod api_keys;
mod api_keys_edit;
mod api_keys_import;
mod api_keys_revoke;
mod audit;
mod authorize;
mod bad_input;
mod browser;
mod clients;
mod cold_look_ups;
mod command_line;
mod configuration;
mod connected_apps;
mod consent;
mod console;
mod decoys;
mod durability;
mod feed;
mod feed_readers;
mod forward_auth;
mod grants;
mod group_commit;
mod guides;
mod house;
mod inheritance;
mod introspect;
mod invitations;
mod issuer_path;
mod leaks;
mod login;
mod mail;
mod main_job;
mod management;
mod members;
mod oauth2_client;
mod openapi;
mod organizations;
mod other_languages;
mod pages_account;
mod pages_api_keys;
mod pages_applications;
mod pages_audit_log;
mod pages_headers;
mod pages_members;
mod pages_projects;
mod pages_resource_servers;
mod pages_roles;
mod pages_settings;
mod pages_signing_keys;
mod pages_snippets;
mod projects;
mod query_plans;
mod races;
mod rate_limits;
mod resource_servers;
mod revocations;
mod revoke;
mod roles;
mod routes;
mod scan;
mod signing_keys;
mod signing_keys_api;
mod starts;
mod status_lists;
mod tenant_boundary;
mod token;
mod token_exchange;
mod users;
mod verify_api_keys;
