//! `portcullis quickstart`: a worked example in an empty installation, and the commands that use it.

use entity::{OrganizationId, UserId};
use secrecy::{ExposeSecret as _, SecretString};

use super::Failure;
use super::context::{Context, acting_user, organization};
use crate::api_keys::{self, Labels, NewApiKey};
use crate::app::App;
use crate::audit::By;
use crate::clients::{self, GrantType, NewAudience, NewClient};
use crate::identity::{self, SetUp, set_up};
use crate::platform::entropy::random_token;
use crate::resource_servers::{self, Catalog, CatalogScope, NewResourceServer, ResourceServer};
use crate::revocation::{self, About};
use crate::signing::Algorithm;
use crate::tenancy::Role;

const AUDIENCE: &str = "https://api.example.com";
const OWNER: &str = "owner@example.com";
const REDIRECT_URI: &str = "http://127.0.0.1/callback";
const CATALOG: &[(&str, &str)] = &[
    ("read:tenants", "See your tenants"),
    ("write:tenants", "Create and change your tenants"),
    ("read:users", "See your users"),
    ("write:users", "Create and change your users"),
    ("read:licenses", "See your licenses"),
    ("write:licenses", "Create and change your licenses"),
    ("admin", "Administer everything"),
];
const CLIENT_SCOPES: &str = "read:tenants write:tenants read:users write:users";
const KEY_SCOPES: [&str; 2] = ["read:tenants", "write:tenants"];

/// Everything that was made, with the secrets that are shown this once.
struct Example {
    owner_password: Option<SecretString>,
    credential: SecretString,
    confidential: (entity::ClientId, SecretString),
    public: entity::ClientId,
    key: (entity::ApiKeyId, SecretString),
}

pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let app = context.app().await?;
    let program = context.program();
    if resource_servers::find_by_audience(app.db.reader(), AUDIENCE).await?.is_some() {
        println!("The worked example is here already ({AUDIENCE}); nothing was changed.");
        println!("Its secrets were shown once. `{program} --help` says how to make new ones.");
        return Ok(());
    }
    let (organization, user, owner_password) = owner(&app).await?;
    let example = fill(&app, organization, user, owner_password).await?;
    tell(&app, &example, &program);
    Ok(())
}

/// The organization and owner that there are, or new ones.
async fn owner(app: &App) -> Result<(OrganizationId, UserId, Option<SecretString>), Failure> {
    if identity::is_set_up(&app.db).await? {
        let organization = organization(app, None).await?;
        let (user, _) = acting_user(app, organization, None).await?;
        return Ok((organization, user, None));
    }
    let password = SecretString::from(random_token());
    let wanted = SetUp {
        email: OWNER,
        name: "Owner",
        organization: "Example",
        password: &password,
        link: None,
    };
    let (user, organization) =
        set_up(&app.db, &app.passwords, app.clock.now(), &By::operator(), wanted).await?;
    Ok((organization, user.id, Some(password)))
}

async fn fill(
    app: &App,
    organization: OrganizationId,
    user: UserId,
    owner_password: Option<SecretString>,
) -> Result<Example, Failure> {
    let (now, by, brand) = (app.clock.now(), By::operator(), &app.config.brand);
    let catalog = CATALOG
        .iter()
        .map(|(scope, sentence)| {
            Ok(CatalogScope {
                scope: scope.parse()?,
                sentence: (*sentence).to_owned(),
                needs_admin: false,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let new = NewResourceServer {
        organization,
        audience: AUDIENCE,
        name: "Example API",
        algorithm: Algorithm::Es256,
        catalog: Catalog(catalog),
        access_token_seconds: None,
        is_shared: true,
        status_list: false,
    };
    let tx = app.db.begin().await?;
    let (api, credential) = resource_servers::create(&tx, now, &by, brand, new).await?;
    let (confidential, secret) =
        clients::register(&tx, now, &by, brand, confidential_client(organization, &api)?).await?;
    let (public, _) =
        clients::register(&tx, now, &by, brand, public_client(organization, &api)?).await?;
    let new = NewApiKey {
        organization,
        project: None,
        created_by: user,
        reach: Role::Owner.scopes(),
        name: "Quickstart",
        description: "",
        labels: Labels::new(),
        scopes: &KEY_SCOPES.map(str::to_owned),
        allowed_ips: None,
        brand: None,
        requests_per_minute: None,
        environment: None,
        expires_at: None,
        is_decoy: false,
    };
    let apis = [api];
    let (key, key_secret) =
        api_keys::issue(&tx, now, &by, &[brand], &app.config.api_keys, &apis, new).await?;
    revocation::append_changed(&tx, now, &[About::resource_server(apis[0].id)]).await?;
    tx.commit().await?;
    Ok(Example {
        owner_password,
        credential,
        confidential: (confidential.id, secret.unwrap_or_default()),
        public: public.id,
        key: (key.id, key_secret),
    })
}

fn confidential_client(
    organization: OrganizationId,
    api: &ResourceServer,
) -> anyhow::Result<NewClient<'static>> {
    Ok(NewClient {
        requires_pkce: false,
        grant_types: GrantType::ALL.to_vec(),
        redirect_uris: vec![REDIRECT_URI.to_owned()],
        audiences: vec![audience(api)?],
        ..NewClient::new(organization, "Example Dashboard", Role::Owner.scopes())
    })
}

fn public_client(
    organization: OrganizationId,
    api: &ResourceServer,
) -> anyhow::Result<NewClient<'static>> {
    Ok(NewClient {
        is_confidential: false,
        grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
        redirect_uris: vec![REDIRECT_URI.to_owned()],
        audiences: vec![audience(api)?],
        ..NewClient::new(organization, "Example Command Line", Role::Owner.scopes())
    })
}

fn audience(api: &ResourceServer) -> anyhow::Result<NewAudience> {
    Ok(NewAudience {
        resource_server: api.id,
        allowed: CLIENT_SCOPES.parse()?,
        default: "read:tenants".parse()?,
    })
}

fn tell(app: &App, example: &Example, program: &str) {
    let issuer = &app.config.issuer;
    let (confidential, secret) = (&example.confidential.0, example.confidential.1.expose_secret());
    let (key_id, key) = (&example.key.0, example.key.1.expose_secret());
    let public = &example.public;
    println!("A worked example is in place. Its secrets are shown this once.");
    println!();
    if let Some(password) = &example.owner_password {
        println!("  owner                {OWNER}, password {}", password.expose_secret());
    }
    println!(
        "  resource server      {AUDIENCE}, credential {}",
        example.credential.expose_secret()
    );
    println!("  confidential client  {confidential}, secret {secret}");
    println!("  public client        {public}, redirect URI {REDIRECT_URI}, any port");
    println!("  API key              {key_id}, secret {key}");
    println!(
        r#"
1. Start the server, and beside it an API that it protects:
   {program} serve
   PORTCULLIS_ISSUER={issuer} PORTCULLIS_CREDENTIAL={credential} cargo run --release --example tenants_api

2. Call the API with the key:
   curl -i -H "Authorization: Bearer {key}" http://127.0.0.1:8081/v1/tenants

3. Get a token for the client itself, and call with it:
   curl -s -X POST {issuer}/oauth/token -d grant_type=client_credentials -d client_id={confidential} -d client_secret={secret} -d scope=read:tenants

4. Get a token for a person, in a browser:
   {program} token --client {public} --scope read:tenants

5. Revoke the key; the call of step 2 gets a 401 within a second:
   {program} api-keys revoke {key_id}"#,
        credential = example.credential.expose_secret(),
    );
}
