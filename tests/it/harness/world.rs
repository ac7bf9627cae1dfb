//! A small company: an organization with an owner, and an API with its scopes.

use portcullis::api_keys::{self, Labels, NewApiKey};
use portcullis::audit::By;
use portcullis::clients::{self, GrantType, NewAudience, NewClient};
use portcullis::identity::{NewUser, SetUp, create_user, set_up};
use portcullis::resource_servers::{
    self, Catalog, CatalogScope, NewResourceServer, ResourceServer,
};
use portcullis::revocation;
use portcullis::signing::Algorithm;
use portcullis::tenancy::{self, Role};
use secrecy::ExposeSecret as _;

use super::actors::{Application, Person};
use super::server::Server;
use super::services::Database;

pub const AUDIENCE: &str = "https://api.example.com";
pub const PASSWORD: &str = "correct horse battery staple";
pub const CLIENT_SCOPES: &str = "read:tenants write:tenants read:users";
pub const REDIRECT_URI: &str = "https://app.example.com/callback";

pub struct World {
    pub server: Server,
    pub organization: entity::OrganizationId,
    pub owner: Person,
    pub api: ResourceServer,
    /// The credential with which the API introspects and follows the log.
    pub credential: String,
}

/// An API key that a script holds.
pub struct Key {
    pub id: String,
    pub secret: String,
}

impl World {
    /// A company on a database, or none where its service is missing.
    pub async fn on(database: Database) -> Option<Self> {
        Some(Self::around(Server::start(database).await?).await)
    }

    /// A company on a server that was started before.
    pub async fn around(server: Server) -> Self {
        let app = &server.app;
        let (now, by) = (app.clock.now(), By::operator());
        let wanted = SetUp {
            email: "ada@example.com",
            name: "Ada",
            organization: "Example",
            password: &PASSWORD.into(),
            link: None,
        };
        let Ok((_, organization)) = set_up(&app.db, &app.passwords, now, &by, wanted).await else {
            panic!("the installation can't be set up");
        };
        let catalog = [
            ("read:tenants", "See your tenants"),
            ("write:tenants", "Create and change your tenants"),
            ("read:users", "See your users"),
            ("write:users", "Create and change your users"),
            ("admin", "Administer everything"),
        ];
        let entry = |(scope, sentence): (&str, &str)| CatalogScope {
            scope: scope.parse().unwrap(),
            sentence: sentence.to_owned(),
            needs_admin: false,
        };
        let new = NewResourceServer {
            organization,
            audience: AUDIENCE,
            name: "Example API",
            algorithm: Algorithm::Es256,
            catalog: Catalog(catalog.map(entry).to_vec()),
            access_token_seconds: None,
            is_shared: true,
            status_list: false,
        };
        let tx = app.db.begin().await.unwrap();
        let Ok((api, credential)) = resource_servers::create(&tx, now, &by, "pc", new).await else {
            panic!("the API can't be registered");
        };
        tx.commit().await.unwrap();
        let owner = Person::new(&server, "ada@example.com", PASSWORD);
        Self { owner, organization, api, credential: credential.expose_secret().to_owned(), server }
    }

    /// Registers a client after it was changed from the usual one: all grant types, one redirect URI, default scope
    /// `read:tenants`.
    pub async fn registers(&self, change: impl FnOnce(&mut NewClient<'_>)) -> Application {
        self.registers_for(&self.api, CLIENT_SCOPES, change).await
    }

    /// Registers a client for the management API, with all of its scopes.
    pub async fn management_app(&self) -> Application {
        let reader = self.server.app.db.reader();
        let api = resource_servers::find_by_audience(reader, &self.server.issuer).await.unwrap();
        let default = |new: &mut NewClient<'_>| {
            new.audiences[0].default = "read:api-keys".parse().unwrap();
        };
        self.registers_for(&api.unwrap(), "read:api-keys write:api-keys admin", default).await
    }

    /// Registers a client for another API than the usual one.
    pub async fn app_for(&self, api: &ResourceServer) -> Application {
        let default =
            |new: &mut NewClient<'_>| new.audiences[0].default = "read:tenants".parse().unwrap();
        self.registers_for(api, "read:tenants", default).await
    }

    /// A further API, with the usual catalog, and its credential.
    pub async fn second_api(
        &self,
        audience: &str,
        algorithm: Algorithm,
    ) -> (ResourceServer, String) {
        let app = &self.server.app;
        let new = NewResourceServer {
            organization: self.organization,
            audience,
            name: "Another API",
            algorithm,
            catalog: self.api.catalog.clone(),
            access_token_seconds: None,
            is_shared: true,
            status_list: false,
        };
        let (now, by) = (app.clock.now(), By::operator());
        let tx = app.db.begin().await.unwrap();
        let Ok((api, credential)) = resource_servers::create(&tx, now, &by, "pc", new).await else {
            panic!("the API can't be registered");
        };
        tx.commit().await.unwrap();
        (api, credential.expose_secret().to_owned())
    }

    async fn registers_for(
        &self,
        api: &ResourceServer,
        allowed: &str,
        change: impl FnOnce(&mut NewClient<'_>),
    ) -> Application {
        let app = &self.server.app;
        let mut new = NewClient {
            grant_types: GrantType::ALL.to_vec(),
            redirect_uris: vec![REDIRECT_URI.to_owned()],
            audiences: vec![NewAudience {
                resource_server: api.id,
                allowed: allowed.parse().unwrap(),
                default: "read:tenants".parse().unwrap(),
            }],
            ..NewClient::new(self.organization, "Dashboard", Role::Owner.scopes())
        };
        change(&mut new);
        let redirect_uri = new.redirect_uris.first().cloned().unwrap_or_default();
        let tx = app.db.begin().await.unwrap();
        let registered = clients::register(&tx, app.clock.now(), &By::operator(), "pc", new).await;
        let (client, secret) =
            registered.unwrap_or_else(|refused| panic!("the client was refused: {refused:?}"));
        tx.commit().await.unwrap();
        let secret = secret.map(|secret| secret.expose_secret().to_owned());
        Application::new(&self.server, client.id.to_string(), secret, redirect_uri)
    }

    /// A confidential client for which PKCE is required.
    pub async fn confidential_app(&self) -> Application {
        self.registers(|_| ()).await
    }

    /// A confidential client for which PKCE is optional, as the documentation of older products has it.
    pub async fn classic_app(&self) -> Application {
        self.registers(|new| new.requires_pkce = false).await
    }

    pub async fn public_app(&self) -> Application {
        self.registers(|new| {
            new.is_confidential = false;
            new.grant_types = vec![GrantType::AuthorizationCode, GrantType::RefreshToken];
        })
        .await
    }

    /// Somebody else in the organization.
    pub async fn member(&self, email: &str, role: Role) -> Person {
        let person = self.stranger(email).await;
        let (app, id) = (&self.server.app, person.id(&self.server).await);
        let (db, now) = (app.db.writer(), app.clock.now());
        tenancy::insert_membership(db, now, self.organization, id, role).await.unwrap();
        person
    }

    /// Somebody with an account who belongs to no organization.
    pub async fn stranger(&self, email: &str) -> Person {
        let app = &self.server.app;
        let new = NewUser { email, name: "Somebody", password: &PASSWORD.into() };
        let (now, by) = (app.clock.now(), By::operator());
        create_user(&app.db, &app.passwords, now, &by, new, None).await.unwrap();
        Person::new(&self.server, email, PASSWORD)
    }

    /// Gives somebody another role, or takes them out of the organization.
    pub async fn puts(&self, person: &Person, role: Option<Role>) {
        use sea_orm::{ActiveModelTrait as _, EntityTrait as _, Set};
        let (app, user) = (&self.server.app, person.id(&self.server).await);
        let db = app.db.begin().await.unwrap();
        match role {
            Some(role) => {
                let row = entity::membership::ActiveModel {
                    organization_id: Set(self.organization),
                    user_id: Set(user),
                    role: Set(role.to_string()),
                    ..Default::default()
                };
                row.update(&db).await.unwrap();
            }
            None => {
                let key = (self.organization, user);
                entity::membership::Entity::delete_by_id(key).exec(&db).await.unwrap();
            }
        }
        db.commit().await.unwrap();
        self.forgets_copies_of(revocation::Subject::User(user)).await;
    }

    /// Says in the log what was changed behind its back.
    pub async fn forgets_copies_of(&self, subject: revocation::Subject) {
        let app = &self.server.app;
        let tx = app.db.begin().await.unwrap();
        revocation::append_changed(&tx, app.clock.now(), &[subject.for_everybody()]).await.unwrap();
        tx.commit().await.unwrap();
        app.revocations.catch_up().await;
    }

    /// A further organization, with the owner of the first in a role.
    pub async fn second_organization(&self, name: &str, role: Role) -> entity::OrganizationId {
        let app = &self.server.app;
        let now = app.clock.now();
        let id = tenancy::insert_organization(app.db.writer(), now, name).await.unwrap();
        let owner = self.owner.id(&self.server).await;
        tenancy::insert_membership(app.db.writer(), now, id, owner, role).await.unwrap();
        id
    }

    /// An organization with somebody as its owner.
    pub async fn organization_of(&self, owner: &Person, name: &str) -> entity::OrganizationId {
        let app = &self.server.app;
        let (db, now) = (app.db.writer(), app.clock.now());
        let id = tenancy::insert_organization(db, now, name).await.unwrap();
        let owner = owner.id(&self.server).await;
        tenancy::insert_membership(db, now, id, owner, Role::Owner).await.unwrap();
        id
    }

    /// An API key of the owner's.
    pub async fn api_key(&self, scopes: &[&str]) -> Key {
        self.api_key_of(&self.owner, Role::Owner, scopes, None).await
    }

    /// An API key of somebody's, who may do what the role allows.
    pub async fn api_key_of(
        &self,
        creator: &Person,
        role: Role,
        scopes: &[&str],
        expires_at: Option<entity::Timestamp>,
    ) -> Key {
        self.api_key_in(self.organization, creator, role, scopes, expires_at).await
    }

    /// An API key of an organization.
    pub async fn api_key_in(
        &self,
        organization: entity::OrganizationId,
        creator: &Person,
        role: Role,
        scopes: &[&str],
        expires_at: Option<entity::Timestamp>,
    ) -> Key {
        let app = &self.server.app;
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let new = NewApiKey {
            organization,
            project: None,
            created_by: creator.id(&self.server).await,
            reach: role.scopes(),
            name: "script",
            description: "",
            labels: Labels::new(),
            scopes: &scopes,
            allowed_ips: None,
            environment: None,
            brand: None,
            requests_per_minute: None,
            expires_at,
            is_decoy: false,
        };
        let apis = resource_servers::list_all(app.db.reader()).await.unwrap();
        let tx = app.db.begin().await.unwrap();
        let settings = &app.config.api_keys;
        let made =
            api_keys::issue(&tx, app.clock.now(), &By::operator(), &["pc"], settings, &apis, new)
                .await;
        let (key, secret) =
            made.unwrap_or_else(|refused| panic!("the key was refused: {refused:?}"));
        tx.commit().await.unwrap();
        Key { id: key.id.to_string(), secret: secret.expose_secret().to_owned() }
    }
}
