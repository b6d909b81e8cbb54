//! The only code that names the driver: connects, makes and checks the tables, and speaks to them.
//!
//! Owns the session. `LOCAL_QUORUM` for what is written and what is read: with three replicas one may be away. Requests are
//! repeatable, so a node that hangs is passed by after a moment. Never retries on its own account beyond that; `carrier`
//! and whoever reads decide.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, MetadataError,
    NewSessionError,
};
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::statement::Consistency;
use uuid::Uuid;
use wire::time::Wall;

use super::cluster::{Away, Cluster, ConnectError};
use super::queue::Erasure;
use super::rows::Write;
use super::schema::{self, Column};
use crate::classify::Recipient;
use crate::config::CassandraConfig;
use crate::inbox::Mark;
use crate::limits::{CASSANDRA_CONNECT_WITHIN, CASSANDRA_HUNG_AFTER, CASSANDRA_READ_WITHIN};
use crate::owner::view::Timeline;
use crate::store::keys::Place;
use crate::sync::history::Older;
use statements::Statements;

mod reads;
mod statements;
mod writes;

pub struct Cassandra {
    session: Session,
    statements: Statements,
    keyspace: String,
}

impl std::fmt::Debug for Cassandra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cassandra").field("nodes", &self.nodes()).finish_non_exhaustive()
    }
}

fn away(error: impl std::fmt::Display) -> Away {
    Away(error.to_string())
}

fn unanswered(error: impl std::fmt::Display) -> ConnectError {
    ConnectError::Away(error.to_string())
}

impl Cassandra {
    /// Connects, makes what is missing, checks what is there.
    pub async fn connect(config: &CassandraConfig) -> Result<Cassandra, ConnectError> {
        let connected = tokio::time::timeout(CASSANDRA_CONNECT_WITHIN, connect(config)).await;
        connected.unwrap_or_else(|_| {
            Err(ConnectError::Away(format!("no answer within {CASSANDRA_CONNECT_WITHIN:?}")))
        })
    }
}

async fn connect(config: &CassandraConfig) -> Result<Cassandra, ConnectError> {
    let passing_by =
        SimpleSpeculativeExecutionPolicy { max_retry_count: 2, retry_interval: CASSANDRA_HUNG_AFTER };
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .request_timeout(Some(CASSANDRA_READ_WITHIN))
        .speculative_execution_policy(Some(Arc::new(passing_by)))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .connection_timeout(Duration::from_secs(3))
        .keepalive_interval(Duration::from_secs(5))
        .keepalive_timeout(Duration::from_secs(5))
        .schema_agreement_timeout(Duration::from_secs(10))
        .keyspaces_to_fetch([&config.keyspace])
        .default_execution_profile_handle(profile.into_handle());
    if let Some((user, password)) = &config.login {
        builder = builder.user(user, password.reveal());
    }
    let session = builder.build().await.map_err(|error| refused(&error))?;
    make_keyspace(&session, config).await?;
    make_tables(&session, &config.keyspace).await?;
    let statements = Statements::prepare(&session, &config.keyspace).await.map_err(unanswered)?;
    Ok(Cassandra { session, statements, keyspace: config.keyspace.clone() })
}

/// A wrong password is told from a cluster that is not there.
fn refused(error: &NewSessionError) -> ConnectError {
    if let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
        last_connection_error: ConnectionError::ConnectionSetupRequestError(setup),
    })) = error
    {
        match &setup.error {
            ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, why) => {
                return ConnectError::Unfit(format!("user and password are refused: {why}"));
            }
            ConnectionSetupRequestErrorKind::MissingAuthentication => {
                return ConnectError::Unfit("it asks for a user and a password_file".to_owned());
            }
            _ => {}
        }
    }
    unanswered(error)
}

async fn make_keyspace(session: &Session, config: &CassandraConfig) -> Result<(), ConnectError> {
    let asked = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let there = session.query_unpaged(asked, (&config.keyspace,)).await.map_err(unanswered)?;
    if there.into_rows_result().map_err(unanswered)?.rows_num() > 0 {
        return Ok(());
    }
    let make = format!(
        "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = {}",
        config.keyspace,
        config.replication.cql()
    );
    let made = session.query_unpaged(make, ()).await;
    made.map_err(|error| unfit(&error, &format!("the keyspace {} cannot be made", config.keyspace)))?;
    tracing::info!(keyspace = config.keyspace, "keyspace made");
    Ok(())
}

async fn make_tables(session: &Session, keyspace: &str) -> Result<(), ConnectError> {
    let missing = schema::missing(&found(session, keyspace).await?);
    if !missing.is_empty() {
        session.use_keyspace(keyspace, false).await.map_err(unanswered)?;
        for statement in schema::statements() {
            let made = session.query_unpaged(statement, ()).await;
            made.map_err(|error| unfit(&error, "a table cannot be made"))?;
        }
        tracing::info!(keyspace, tables = missing.join(", "), "tables made");
    }
    match schema::difference(keyspace, &found(session, keyspace).await?) {
        None => Ok(()),
        Some(what) => Err(ConnectError::Unfit(what)),
    }
}

/// What cannot be read may hold something.
async fn is_empty(session: &Session, keyspace: &str) -> bool {
    for table in schema::wanted().keys() {
        let any = session.query_unpaged(format!("SELECT * FROM {keyspace}.{table} LIMIT 1"), ()).await;
        let rows = any.ok().and_then(|answer| answer.into_rows_result().ok());
        if rows.is_none_or(|rows| rows.rows_num() > 0) {
            return false;
        }
    }
    true
}

/// What the server refuses is for a person; what it did not answer may be answered later.
fn unfit(error: &scylla::errors::ExecutionError, what: &str) -> ConnectError {
    use scylla::errors::{ExecutionError, RequestAttemptError};
    match error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::Unauthorized
            | DbError::Invalid
            | DbError::SyntaxError
            | DbError::ConfigError
            | DbError::AlreadyExists { .. },
            why,
        )) => ConnectError::Unfit(format!("{what}: {why}")),
        other => unanswered(other),
    }
}

async fn found(session: &Session, keyspace: &str) -> Result<schema::Tables, ConnectError> {
    let asked = "SELECT table_name, column_name, kind, position, type, clustering_order \
                 FROM system_schema.columns WHERE keyspace_name = ?";
    let answer = session.query_unpaged(asked, (keyspace,)).await.map_err(unanswered)?;
    let answer = answer.into_rows_result().map_err(unanswered)?;
    let mut tables = schema::Tables::new();
    for row in answer.rows::<(String, String, String, i32, String, String)>().map_err(unanswered)? {
        let (table, column, kind, position, cql_type, order) = row.map_err(unanswered)?;
        tables.entry(table).or_default().insert(column, Column { kind, position, cql_type, order });
    }
    Ok(tables)
}

#[async_trait]
impl Cluster for Cassandra {
    async fn write(&self, writes: Vec<Write>, number: u64) -> Result<(), Away> {
        writes::all(self, writes, number).await
    }

    async fn erase(&self, erasure: &Erasure) -> Result<(), Away> {
        writes::erase(self, erasure).await
    }

    async fn ask(&self) -> Result<(), Away> {
        // Nobody has such a name; as many replicas have to answer as for anybody.
        let asked = self.session.execute_unpaged(&self.statements.subscriptions, ("\u{1}",)).await;
        asked.map(drop).map_err(away)
    }

    async fn timeline(&self, id: Uuid) -> Result<Option<Timeline>, Away> {
        reads::timeline(self, id).await
    }

    async fn older(&self, to: &Recipient, after: Place, until: Wall, limit: usize) -> Result<Older, Away> {
        reads::older(self, to, after, until, limit).await
    }

    async fn known_to(&self, user: &str, ids: &[Uuid]) -> Result<Vec<Uuid>, Away> {
        reads::known_to(self, user, ids).await
    }

    async fn marks(&self, user: &str, ids: &[Uuid]) -> Result<HashMap<Uuid, Mark>, Away> {
        reads::marks(self, user, ids).await
    }

    async fn unread(&self, user: &str, until: Wall) -> Result<u64, Away> {
        reads::unread(self, user, until).await
    }

    async fn subscriptions(&self, user: &str) -> Result<Vec<(String, Wall)>, Away> {
        reads::subscriptions(self, user).await
    }

    async fn is_empty(&self) -> bool {
        is_empty(&self.session, &self.keyspace).await
    }

    fn nodes(&self) -> (usize, usize) {
        let state = self.session.get_cluster_state();
        let nodes = state.get_nodes_info();
        (nodes.iter().filter(|node| node.is_connected()).count(), nodes.len())
    }
}
