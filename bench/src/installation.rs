//! What the server finds when it starts: an organization, APIs, and as many clients, users and keys as wanted.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use entity::{
    ApiKeyId, ClientId, GrantId, OrganizationId, ResourceServerId, SecretId, Timestamp, UserId,
    api_key, api_key_secret, authorization_code, client, client_audience, client_secret, grant,
    membership, user,
};
use portcullis::app::App;
use portcullis::audit::By;
use portcullis::config::Settings;
use portcullis::grants;
use portcullis::identity::{SetUp, set_up};
use portcullis::platform::clock::Clock;
use portcullis::resource_servers::{
    self, Catalog, CatalogScope, NewResourceServer, ResourceServer,
};
use portcullis::signing::Algorithm;
use portcullis::tokens::{Authority, Descent, RefreshToken, issue};
use portcullis_verifier::key::{self, Prefix};
use sea_orm::{
    ActiveModelTrait, ConnectionTrait as _, Database, DatabaseTransaction, EntityTrait,
    IntoActiveModel, Set,
};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use crate::floor;

pub const PASSWORD: &str = "correct horse battery staple";
pub const SCOPE: &str = "read:tenants";
pub const REDIRECT_URI: &str = "https://app.example.com/callback";
const ALGORITHMS: [Algorithm; 3] = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256];
/// Both databases limit the parameters of a statement.
const ROWS_PER_STATEMENT: usize = 500;
const STATEMENTS_PER_COMMIT: usize = 50;

/// How much of each there is.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub users: usize,
    pub clients: usize,
    pub keys: usize,
    /// Codes and grants, which a redemption or a revocation uses up.
    pub grants: usize,
}

/// How many keys and tokens a warm workload uses, and how many clients use the codes and grants, however many there are:
/// tables of different sizes are to differ in nothing else.
pub const WARM: usize = 1000;

pub struct Installation {
    pub directory: TempDir,
    pub database_url: String,
    /// PostgreSQL's, and the schema there that is all of this one's.
    schema: Option<(String, String)>,
    /// This process's own view of the same database.
    pub app: App,
    pub apis: Vec<Api>,
    pub emails: Arc<Vec<String>>,
    /// Ids and secrets. The first ones are of the first three APIs, the others of the first.
    pub clients: Arc<Vec<(String, String)>>,
    pub keys: Arc<Vec<String>>,
    /// With the client that each belongs to.
    pub codes: Arc<Vec<(String, usize)>>,
    pub grants: Arc<Vec<(GrantId, usize)>>,
    /// A key that may do everything.
    pub admin: String,
}

/// An API, and what it authenticates with.
pub struct Api {
    pub server: ResourceServer,
    pub credential: String,
}

impl Installation {
    /// In a schema of its own where there is a database, which `clear` drops again; SQLite in a temporary directory
    /// without one.
    ///
    /// # Errors
    /// When the database can't be filled.
    pub async fn fill(postgres: Option<&str>, sizes: Sizes) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let schema = match postgres {
            Some(url) => Some((url.to_owned(), new_schema(url).await?)),
            None => None,
        };
        let database_url = match &schema {
            Some((url, schema)) => {
                let mut url = url::Url::parse(url)?;
                url.query_pairs_mut().append_pair("options[search_path]", schema);
                url.into()
            }
            None => format!("sqlite:{}", directory.path().join("portcullis.db").display()),
        };
        let mut settings = Settings {
            data_dir: directory.path().to_path_buf(),
            database_url: database_url.clone(),
            ..Settings::default()
        };
        // Tokens that are made before the measurement live until its end.
        settings.tokens.access_token_seconds = 24 * 60 * 60;
        let config = settings.check().map_err(|error| anyhow!("{error}"))?;
        let (app, _) = App::open(config, Clock::System).await?;
        let (now, by) = (app.clock.now(), By::operator());
        let wanted = SetUp {
            email: "ada@example.com",
            name: "Ada",
            organization: "Example",
            password: &PASSWORD.into(),
            link: None,
        };
        let Ok((owner, organization)) = set_up(&app.db, &app.passwords, now, &by, wanted).await
        else {
            anyhow::bail!("the database is not empty");
        };
        let mut apis = Vec::new();
        for algorithm in ALGORITHMS {
            portcullis::signing::ensure_active(&app.db, now, &by, &app.signing_seal, algorithm)
                .await?;
            apis.push(api(&app, organization, algorithm).await?);
        }
        app.signer.reload(&app.db).await?;
        floor::prepare_commits(&app).await?;
        let of = Of { app: &app, organization, owner: owner.id, now };
        let emails = of.users(sizes.users).await?;
        let clients = of.clients(&apis, sizes.clients.max(ALGORITHMS.len())).await?;
        let mut keys = of.keys(SCOPE, sizes.keys).await?;
        let admin = of.keys("admin", 1).await?.remove(0);
        keys.shrink_to_fit();
        let codes = of.codes(&clients, apis[0].server.id, sizes.grants).await?;
        let grants = of.grants(&clients, apis[0].server.id, sizes.grants).await?;
        if app.db.is_postgres() {
            // As a database is that has grown: without statistics the planner guesses until the autovacuum comes by.
            app.db.writer().execute_unprepared("ANALYZE").await?;
        }
        let clients = clients.into_iter().map(|(id, secret)| (id.to_string(), secret)).collect();
        Ok(Self {
            directory,
            database_url,
            schema,
            apis,
            emails: Arc::new(emails),
            clients: Arc::new(clients),
            keys: Arc::new(keys),
            codes: Arc::new(codes),
            grants: Arc::new(grants),
            admin,
            app,
        })
    }

    /// Takes out of the database what was put there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn clear(self) -> Result<()> {
        let Some((url, schema)) = &self.schema else { return Ok(()) };
        let connection = Database::connect(url).await?;
        connection.execute_unprepared(&format!("DROP SCHEMA {schema} CASCADE")).await?;
        Ok(())
    }

    /// Access tokens of the first API, signed here as the server signs them.
    ///
    /// # Errors
    /// When they can't be signed.
    pub async fn tokens(&self, count: usize) -> Result<Vec<String>> {
        let (signer, config) = (&self.app.signer, &self.app.config);
        let api = &self.apis[0].server;
        let organization = api.organization.ok_or_else(|| anyhow!("an API of nobody"))?;
        let mut tokens = Vec::with_capacity(count);
        for (grant, at) in self.grants.iter().cycle().take(count) {
            let client = self.clients[*at].0.parse().map_err(|_| anyhow!("no client id"))?;
            let authority = Authority {
                descent: Descent::Grant { grant: *grant, client, user: None },
                organization,
                project: None,
                resource_server: api,
                scopes: SCOPE.parse()?,
                place: None,
            };
            let now = self.app.clock.now();
            let minted = issue(signer, &config.issuer, &config.tokens, now, &authority, None)?;
            let answer = minted.recorded(self.app.db.writer()).await?;
            tokens.push(answer.access_token().expose_secret().to_owned());
        }
        Ok(tokens)
    }

    /// The refresh token of a grant in this generation.
    pub fn refresh_token(&self, grant: GrantId, generation: i64) -> String {
        let token = RefreshToken { grant, generation };
        self.app.refresh_tokens.encode(token).expose_secret().to_owned()
    }
}

async fn new_schema(url: &str) -> Result<String> {
    let name = format!("portcullis_bench_{}", uuid::Uuid::now_v7().simple());
    let connection = Database::connect(url).await?;
    connection.execute_unprepared(&format!("CREATE SCHEMA {name}")).await?;
    Ok(name)
}

async fn api(app: &App, organization: OrganizationId, algorithm: Algorithm) -> Result<Api> {
    let scope = CatalogScope {
        scope: SCOPE.parse()?,
        sentence: "See your tenants".to_owned(),
        needs_admin: false,
    };
    let audience = format!("https://{}.example.com", algorithm.to_string().to_lowercase());
    let new = NewResourceServer {
        organization,
        audience: &audience,
        name: "An API",
        algorithm,
        catalog: Catalog(vec![scope]),
        access_token_seconds: None,
        is_shared: true,
        status_list: false,
    };
    let tx = app.db.begin().await?;
    let created = resource_servers::create(&tx, app.clock.now(), &By::operator(), "pc", new).await;
    let Ok((server, credential)) = created else {
        anyhow::bail!("the API can't be registered");
    };
    tx.commit().await?;
    Ok(Api { server, credential: credential.expose_secret().to_owned() })
}

/// In whose name rows are made.
struct Of<'a> {
    app: &'a App,
    organization: OrganizationId,
    owner: UserId,
    now: Timestamp,
}

impl Of<'_> {
    async fn users(&self, count: usize) -> Result<Vec<String>> {
        let password_hash = self.app.passwords.hash(PASSWORD.into()).await?;
        let (mut users, mut members, mut emails) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..count {
            let (id, email) = (UserId::new(self.now), format!("user{number}@example.com"));
            users.push(user::ActiveModel {
                id: Set(id),
                email: Set(email.clone()),
                name: Set(format!("User {number}")),
                password_hash: Set(password_hash.clone()),
                created_at: Set(self.now),
                ..Default::default()
            });
            members.push(membership::ActiveModel {
                organization_id: Set(self.organization),
                user_id: Set(id),
                role: Set("member".to_owned()),
                created_at: Set(self.now),
                version: Set(1),
                search_email: Set(email.clone()),
            });
            emails.push(email);
        }
        self.insert::<user::Entity, _>(users).await?;
        self.insert::<membership::Entity, _>(members).await?;
        Ok(emails)
    }

    async fn clients(&self, apis: &[Api], count: usize) -> Result<Vec<(ClientId, String)>> {
        let mut made = Vec::with_capacity(count);
        while made.len() < count {
            let to = count.min(made.len() + ROWS_PER_STATEMENT * STATEMENTS_PER_COMMIT);
            self.some_clients(apis, made.len()..to, &mut made).await?;
        }
        Ok(made)
    }

    async fn some_clients(
        &self,
        apis: &[Api],
        numbers: std::ops::Range<usize>,
        made: &mut Vec<(ClientId, String)>,
    ) -> Result<()> {
        let prefix: Prefix = "pc_cs".parse()?;
        let (mut clients, mut secrets) = (Vec::new(), Vec::new());
        let (mut audiences, mut grants) = (Vec::new(), Vec::new());
        for number in numbers {
            let (id, secret) = (ClientId::new(self.now), key::generate(&prefix)?);
            let api = apis.get(number).unwrap_or(&apis[0]).server.id;
            let own = GrantId::new(self.now);
            clients.push(client::ActiveModel {
                id: Set(id),
                organization_id: Set(self.organization),
                name: Set(format!("App {number}")),
                search_name: Set(format!("app {number}")),
                is_confidential: Set(true),
                requires_pkce: Set(false),
                grant_types: Set("authorization_code client_credentials refresh_token".to_owned()),
                redirect_uris: Set(REDIRECT_URI.to_owned()),
                refresh_retry_seconds: Set(2),
                is_first_party: Set(false),
                version: Set(1),
                created_at: Set(self.now),
                ..Default::default()
            });
            secrets.push(client_secret::ActiveModel {
                id: Set(SecretId::new(self.now)),
                client_id: Set(id),
                digest: Set(key::digest(secret.expose_secret()).to_vec()),
                created_at: Set(self.now),
                expires_at: Set(None),
            });
            audiences.push(client_audience::ActiveModel {
                client_id: Set(id),
                resource_server_id: Set(api),
                allowed_scopes: Set(SCOPE.to_owned()),
                default_scopes: Set(SCOPE.to_owned()),
                own_grant_id: Set(Some(own)),
            });
            grants.push(self.grant(own, id, None, api));
            made.push((id, secret.expose_secret().to_owned()));
        }
        self.insert::<client::Entity, _>(clients).await?;
        self.insert::<client_secret::Entity, _>(secrets).await?;
        self.insert::<grant::Entity, _>(grants).await?;
        self.insert::<client_audience::Entity, _>(audiences).await?;
        Ok(())
    }

    fn grant(
        &self,
        id: GrantId,
        client: ClientId,
        user: Option<UserId>,
        api: ResourceServerId,
    ) -> grant::ActiveModel {
        let refresh = user.map(|_| self.app.config.tokens.first_refresh(self.now));
        grant::ActiveModel {
            id: Set(id),
            client_id: Set(client),
            user_id: Set(user),
            organization_id: Set(self.organization),
            resource_server_id: Set(api),
            scopes: Set(SCOPE.to_owned()),
            created_at: Set(self.now),
            generation: Set(refresh.as_ref().map_or(0, |refresh| refresh.generation)),
            refresh_expires_at: Set(refresh.as_ref().map(|refresh| refresh.expires_at)),
            absolute_expires_at: Set(refresh.as_ref().map(|refresh| refresh.absolute_expires_at)),
            rotated_at: Set(refresh.map(|refresh| refresh.rotated_at)),
            ..Default::default()
        }
    }

    async fn grants(
        &self,
        clients: &[(ClientId, String)],
        api: ResourceServerId,
        count: usize,
    ) -> Result<Vec<(GrantId, usize)>> {
        let (mut rows, mut made) = (Vec::new(), Vec::new());
        for number in 0..count {
            let (id, at) =
                (GrantId::new(self.now), of_the_first_api(number, clients.len().min(WARM)));
            rows.push(self.grant(id, clients[at].0, Some(self.owner), api));
            made.push((id, at));
        }
        self.insert::<grant::Entity, _>(rows).await?;
        Ok(made)
    }

    async fn codes(
        &self,
        clients: &[(ClientId, String)],
        api: ResourceServerId,
        count: usize,
    ) -> Result<Vec<(String, usize)>> {
        let (mut rows, mut made) = (Vec::new(), Vec::new());
        for number in 0..count {
            let at = of_the_first_api(number, clients.len().min(WARM));
            let text = uuid::Uuid::now_v7().simple().to_string();
            rows.push(authorization_code::ActiveModel {
                digest: Set(key::digest(&text).to_vec()),
                grant_id: Set(GrantId::new(self.now)),
                client_id: Set(clients[at].0),
                user_id: Set(self.owner),
                organization_id: Set(self.organization),
                project_id: Set(None),
                resource_server_id: Set(api),
                scopes: Set(SCOPE.to_owned()),
                redirect_uri: Set(REDIRECT_URI.to_owned()),
                code_challenge: Set(None),
                created_at: Set(self.now),
                // Long enough for a whole measurement; a real one lives a minute.
                expires_at: Set(self.now + grants::CODE_LIFETIME * 60),
                redeemed_at: Set(None),
            });
            made.push((text, at));
        }
        self.insert::<authorization_code::Entity, _>(rows).await?;
        Ok(made)
    }

    async fn keys(&self, scope: &str, count: usize) -> Result<Vec<String>> {
        let prefix = Prefix::new("pc", "live")?;
        let mut texts = Vec::with_capacity(count);
        while texts.len() < count {
            let (mut keys, mut secrets) = (Vec::new(), Vec::new());
            for _ in 0..(count - texts.len()).min(ROWS_PER_STATEMENT * STATEMENTS_PER_COMMIT) {
                let secret = key::generate(&prefix)?;
                let (text, id) = (secret.expose_secret(), ApiKeyId::new(self.now));
                keys.push(self.key(id, scope));
                secrets.push(api_key_secret::ActiveModel {
                    id: Set(SecretId::new(self.now)),
                    api_key_id: Set(id),
                    digest: Set(key::digest(text).to_vec()),
                    start: Set(text[..12].to_owned()),
                    end: Set(text[text.len() - 4..].to_owned()),
                    created_at: Set(self.now),
                    expires_at: Set(None),
                    ..Default::default()
                });
                texts.push(text.to_owned());
            }
            self.insert::<api_key::Entity, _>(keys).await?;
            self.insert::<api_key_secret::Entity, _>(secrets).await?;
        }
        Ok(texts)
    }

    fn key(&self, id: ApiKeyId, scope: &str) -> api_key::ActiveModel {
        api_key::ActiveModel {
            id: Set(id),
            organization_id: Set(self.organization),
            name: Set("script".to_owned()),
            search_name: Set("script".to_owned()),
            description: Set(String::new()),
            labels: Set("{}".to_owned()),
            scopes: Set(scope.to_owned()),
            environment: Set("live".to_owned()),
            created_by: Set(self.owner),
            owner_id: Set(Some(self.owner)),
            version: Set(1),
            created_at: Set(self.now),
            // So that no limit is measured.
            requests_per_minute: Set(Some(1_000_000)),
            is_decoy: Set(false),
            ..Default::default()
        }
    }

    async fn insert<E, A>(&self, rows: Vec<A>) -> Result<()>
    where
        E: EntityTrait,
        A: ActiveModelTrait<Entity = E> + Send + Clone,
        <E as EntityTrait>::Model: IntoActiveModel<A>,
    {
        for batch in rows.chunks(ROWS_PER_STATEMENT * STATEMENTS_PER_COMMIT) {
            let tx: DatabaseTransaction = self.app.db.begin().await?;
            for some in batch.chunks(ROWS_PER_STATEMENT) {
                E::insert_many(some.to_vec()).exec_without_returning(&tx).await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }
}

/// The second and the third client are of the other APIs.
fn of_the_first_api(number: usize, clients: usize) -> usize {
    match number % clients {
        1 | 2 => 0,
        at => at,
    }
}
