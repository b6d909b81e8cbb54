//! Which Redis: the one at an address, or the master that Sentinels name. Keeps passwords from view.

use ::redis::aio::MultiplexedConnection;
use ::redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
    RedisResult, TlsMode,
};

use crate::config::RedisSection;
use crate::config::service::secret_from_file;

/// What is wrong with `[redis]`; one line for the operator, without any secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("[redis] needs `url`, or `sentinels` and `master`")]
    Nothing,
    #[error("[redis] has both `url` and `sentinels`")]
    Both,
    #[error("[redis] sentinels: needs the name of their `master`")]
    NoMaster,
    #[error("[redis] master: is what `sentinels` are asked for, and there are none")]
    NoSentinels,
    #[error("[redis] url: it is not like redis://127.0.0.1:6379/0 or rediss://user:password@host")]
    BadUrl,
    #[error("[redis] sentinels: one is not like 127.0.0.1:26379")]
    BadSentinel,
    #[error("[redis] password_file: `url` has a password, too")]
    TwoPasswords,
    #[error("[redis] {0}")]
    Secret(String),
}

#[derive(Clone)]
pub struct Target(Way);

#[derive(Clone)]
enum Way {
    One(ConnectionInfo),
    Sentinels { sentinels: Vec<ConnectionInfo>, master: String, node: SentinelNodeConnectionInfo },
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Way::One(info) => write!(f, "{}", info.addr()),
            Way::Sentinels { sentinels, master, .. } => {
                write!(f, "{master} by {} sentinels", sentinels.len())
            }
        }
    }
}

impl Target {
    pub fn new(section: &RedisSection) -> Result<Target, TargetError> {
        let RedisSection { url, sentinels, master, user, password_file } = section;
        let password = password_file.as_deref().map(|file| secret_from_file(file.as_ref())).transpose();
        let password = password.map_err(|error| TargetError::Secret(error.to_string()))?;
        let login = |mut info: RedisConnectionInfo| {
            if let Some(user) = user {
                info = info.set_username(user);
            }
            match &password {
                Some(_) if info.password().is_some() => Err(TargetError::TwoPasswords),
                Some(password) => Ok(info.set_password(password)),
                None => Ok(info),
            }
        };
        match (url, sentinels.as_slice(), master) {
            (None, [], None) => Err(TargetError::Nothing),
            (Some(_), [_, ..], _) => Err(TargetError::Both),
            (_, [], Some(_)) => Err(TargetError::NoSentinels),
            (None, [_, ..], None) => Err(TargetError::NoMaster),
            (Some(url), [], None) => {
                let info = url.as_str().into_connection_info().map_err(|_| TargetError::BadUrl)?;
                let login = login(info.redis_settings().clone())?;
                Ok(Target(Way::One(info.set_redis_settings(login))))
            }
            (None, sentinels, Some(master)) => {
                let sentinels = sentinels.iter().map(|one| sentinel(one)).collect::<Result<Vec<_>, _>>()?;
                let is_tls = |info: &ConnectionInfo| matches!(info.addr(), ConnectionAddr::TcpTls { .. });
                let mut node = SentinelNodeConnectionInfo::default()
                    .set_redis_connection_info(login(RedisConnectionInfo::default())?);
                if sentinels.iter().any(is_tls) {
                    node = node.set_tls_mode(TlsMode::Secure);
                }
                Ok(Target(Way::Sentinels { sentinels, master: master.clone(), node }))
            }
        }
    }

    /// A new connection, without any bound of its own. Sentinels are asked each time: the master may be another one by now.
    pub(super) async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        // The caller's own bounds say what was waited for.
        let bounds = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        match &self.0 {
            Way::One(info) => {
                Client::open(info.clone())?.get_multiplexed_async_connection_with_config(&bounds).await
            }
            Way::Sentinels { sentinels, master, node } => {
                let node = Some(node.clone());
                let master = master.as_str();
                let mut client =
                    SentinelClient::build(sentinels.clone(), master, node, SentinelServerType::Master)?;
                client.get_async_connection_with_config(&bounds).await
            }
        }
    }
}

/// An address, or a URL where the sentinels have a password or TLS of their own.
fn sentinel(text: &str) -> Result<ConnectionInfo, TargetError> {
    let url = if text.contains("://") { text.to_owned() } else { format!("redis://{text}") };
    let info = url.as_str().into_connection_info().map_err(|_| TargetError::BadSentinel)?;
    // Left out, it would be the port of a Redis.
    let has_port =
        text.rsplit_once(':').is_some_and(|(_, port)| port.trim_end_matches('/').parse::<u16>().is_ok());
    if has_port { Ok(info) } else { Err(TargetError::BadSentinel) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> RedisSection {
        toml::from_str(text).expect("a section")
    }

    #[test]
    fn every_fault_has_one_line_and_no_secret() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "hush\n").expect("writable");
        let with_file =
            |text: &str| format!("{text}\npassword_file = {:?}", file.path().display().to_string());
        let cases = [
            (String::new(), TargetError::Nothing),
            ("url = \"redis://h\"\nsentinels = [\"a:1\"]\nmaster = \"m\"".to_owned(), TargetError::Both),
            ("url = \"redis://h\"\nmaster = \"m\"".to_owned(), TargetError::NoSentinels),
            ("sentinels = [\"a:1\"]".to_owned(), TargetError::NoMaster),
            ("url = \"http://hush@h\"".to_owned(), TargetError::BadUrl),
            ("url = \"127.0.0.1:6379\"".to_owned(), TargetError::BadUrl),
            ("url = \"redis://:hush@h/x\"".to_owned(), TargetError::BadUrl),
            ("sentinels = [\"a\"]\nmaster = \"m\"".to_owned(), TargetError::BadSentinel),
            (with_file("url = \"redis://:hush@h\""), TargetError::TwoPasswords),
        ];
        for (text, expected) in cases {
            let error = Target::new(&section(&text)).expect_err(&text);
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
        let missing = section("url = \"redis://h\"\npassword_file = \"/nowhere/at/all\"");
        assert!(Target::new(&missing).expect_err("no file").to_string().contains("/nowhere/at/all"));
    }

    #[test]
    fn passwords_never_show() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "hush").expect("writable");
        let file = file.path().display();
        for text in [
            "url = \"rediss://ada:hush@h:1/2\"".to_owned(),
            format!("url = \"redis://h\"\nuser = \"ada\"\npassword_file = \"{file}\""),
            format!("sentinels = [\"redis://:hush@a:1\"]\nmaster = \"m\"\npassword_file = \"{file}\""),
        ] {
            let section = section(&text);
            let target = Target::new(&section).expect("it can be used");
            let shown = format!("{section:?} {target:?}");
            assert!(!shown.contains("hush"), "{shown}");
        }
    }
}
