use std::{fmt, fs, net::IpAddr, os::unix::fs::PermissionsExt, str::FromStr};

use sqlx::{AnyConnection, Executor, query_scalar};
use types::Secret;
use url::{Host, Url};
use zeroize::Zeroizing;

/// The lock that a server holds on its database, as long as its writing connection lives; `llmo` in ASCII.
const SERVER_LOCK: i64 = 0x6c6c_6d6f;
/// Longest that a statement may take, and that it may wait for a lock, in milliseconds.
const STATEMENT_MS_MAX: u32 = 30_000;
/// What may stand behind the `?` of an address; all else would silently do nothing.
const PARAMETERS: [&str; 7] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "port", "user"];
/// Permissions of others than the owner.
const OTHERS: u32 = 0o077;

/// Where a PostgreSQL database is: `postgres://user@host:port/database`. What is shown of it holds no password.
#[derive(Clone)]
pub struct PostgresAddress {
    url: Url,
    password: Option<Secret>,
}

impl PostgresAddress {
    /// With a password, which goes before `PGPASSWORD` and `~/.pgpass`.
    ///
    /// # Errors
    /// If it is not UTF-8, or has a zero in it, which the protocol cannot send.
    pub fn with_password(self, password: Secret) -> Result<Self, String> {
        match std::str::from_utf8(password.expose()) {
            Ok(text) if !text.contains('\0') => Ok(Self { password: Some(password), ..self }),
            _ => Err("the password is not text in UTF-8".to_owned()),
        }
    }

    /// The address as the driver takes it.
    pub(crate) fn for_driver(&self) -> Zeroizing<String> {
        let mut url = self.url.clone();
        if let Some(password) = &self.password {
            // As a parameter: an address without a host has no place for it.
            let text = String::from_utf8_lossy(password.expose());
            url.query_pairs_mut().append_pair("password", &text);
        }
        Zeroizing::new(url.into())
    }

    /// Refuses a private key that others can read, as the one of the server's own certificate is.
    pub(crate) fn check_key(&self) -> Result<(), String> {
        let Some(key) = parameter(&self.url, "sslkey") else { return Ok(()) };
        let mode = fs::metadata(&key).map_err(|error| format!("its key `{key}` cannot be read ({error})"))?;
        if mode.permissions().mode() & OTHERS == 0 {
            Ok(())
        } else {
            Err(format!("others can read its key `{key}`; `chmod 600 {key}`"))
        }
    }
}

fn parameter(url: &Url, wanted: &str) -> Option<String> {
    url.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
}

impl fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str())
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PostgresAddress {
    type Err = String;

    /// Refuses a password, which belongs into `PGPASSWORD` or `~/.pgpass`; and a connection to another machine that would
    /// not check whom it talks to: without `sslmode` it becomes `verify-full`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|error| format!("it is no URL ({error})"))?;
        if !["postgres", "postgresql"].contains(&url.scheme()) {
            return Err("it does not begin with postgres://".to_owned());
        }
        if url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password") {
            let why = "it holds a password; seal that with `llmos vault seal-secret NAME` and name it in `store.postgres_password`, or put it \
                 into the environment variable PGPASSWORD or into ~/.pgpass";
            return Err(why.to_owned());
        }
        if url.path().trim_matches('/').is_empty() {
            return Err("it names no database, as in postgres://llmos@db.example.org/llmos".to_owned());
        }
        let unknown = url.query_pairs().find(|(name, _)| !PARAMETERS.contains(&name.as_ref()));
        if let Some((name, _)) = unknown {
            return Err(format!("it has the parameter `{name}`; known: {}", PARAMETERS.join(", ")));
        }
        let parameter = |wanted: &str| parameter(&url, wanted);
        if parameter("sslcert").is_some() != parameter("sslkey").is_some() {
            return Err("a certificate needs its key: write both, sslcert=FILE and sslkey=FILE".to_owned());
        }
        let stays_here = match (parameter("host"), url.host()) {
            (Some(host), _) => host.starts_with('/') || is_loopback(&host),
            (None, Some(Host::Domain(host))) => host.is_empty() || is_loopback(host),
            (None, Some(Host::Ipv4(address))) => address.is_loopback(),
            (None, Some(Host::Ipv6(address))) => address.is_loopback(),
            (None, None) => true,
        };
        match parameter("sslmode").as_deref() {
            _ if stays_here => {}
            None => drop(url.query_pairs_mut().append_pair("sslmode", "verify-full")),
            Some("verify-full") => {}
            Some(mode) => {
                return Err(format!(
                    "it has sslmode={mode}, which does not check whom it talks to; write sslmode=verify-full, and \
                     sslrootcert=FILE for a certificate authority of your own"
                ));
            }
        }
        Ok(Self { url, password: None })
    }
}

fn is_loopback(host: &str) -> bool {
    // Of a URL with a scheme that is not special the host is kept as text.
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Makes a new connection one of ours. Only one that writes takes the server's lock: a second server is refused, and one
/// whose connection was cut writes again only if nobody else has taken its place.
pub(crate) async fn prepare(connection: &mut AnyConnection, writes: bool) -> sqlx::Result<()> {
    let limits = format!(
        "SET statement_timeout TO {STATEMENT_MS_MAX}; SET lock_timeout TO {STATEMENT_MS_MAX}; SET \
         default_transaction_read_only TO {}",
        if writes { "off" } else { "on" }
    );
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(limits))).await?;
    // Never less than the disk of this server; more, as a replica, if it is configured.
    let durable = "SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', \
                   'local') THEN 'on' ELSE current_setting('synchronous_commit') END, false)";
    connection.execute(durable).await?;
    if writes {
        let locked: bool = query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(SERVER_LOCK)
            .fetch_one(&mut *connection)
            .await?;
        if !locked {
            return Err(sqlx::Error::Configuration("another server of llmos uses this database".into()));
        }
        let fsync: String =
            query_scalar("SELECT current_setting('fsync')").fetch_one(&mut *connection).await?;
        if fsync != "on" {
            tracing::warn!(
                "PostgreSQL runs with fsync off: what it acknowledges does not survive a power cut"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for (text, becomes) in [
            ("postgres://localhost/llmos", "postgres://localhost/llmos"),
            ("postgres://me@127.0.0.1:5433/llmos", "postgres://me@127.0.0.1:5433/llmos"),
            ("postgresql:///llmos?host=/run/postgresql", "postgresql:///llmos?host=/run/postgresql"),
            ("postgres://me@[::1]/llmos", "postgres://me@[::1]/llmos"),
            ("postgres://me@db.example.org/llmos", "postgres://me@db.example.org/llmos?sslmode=verify-full"),
            ("postgres:///llmos?host=10.0.0.7", "postgres:///llmos?host=10.0.0.7&sslmode=verify-full"),
        ] {
            assert_eq!(text.parse::<PostgresAddress>().unwrap().to_string(), becomes);
        }
        for (text, says) in [
            ("mysql://localhost/llmos", "postgres://"),
            ("llmos", "no URL"),
            ("postgres://localhost", "names no database"),
            ("postgres://me:s3cret@localhost/llmos", "PGPASSWORD"),
            ("postgres://localhost/llmos?password=s3cret", "PGPASSWORD"),
            ("postgres://localhost/llmos?sslmod=disable", "`sslmod`"),
            ("postgres://db.example.org/llmos?sslmode=require", "does not check whom"),
            ("postgres://localhost/llmos?host=db.example.org&sslmode=disable", "does not check whom"),
            ("postgres://db.example.org/llmos?sslcert=/a.pem", "write both"),
            ("postgres://db.example.org/llmos?sslkey=/a.key", "write both"),
        ] {
            let error = text.parse::<PostgresAddress>().unwrap_err();
            assert!(error.contains(says) && !error.contains("s3cret"), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_is_for_the_driver_only() {
        for (text, becomes) in [
            ("postgres://me@localhost/llmos", "postgres://me@localhost/llmos?password=s3cret%26%40+%C3%BC"),
            (
                "postgres:///llmos?host=/run/postgresql",
                "postgres:///llmos?host=/run/postgresql&password=s3cret%26%40+%C3%BC",
            ),
        ] {
            let address = text.parse::<PostgresAddress>().unwrap();
            let address = address.with_password(Secret::from("s3cret&@ ü".to_owned())).unwrap();
            assert_eq!(*address.for_driver(), becomes);
            assert_eq!((address.to_string(), format!("{address:?}")), (text.to_owned(), text.to_owned()));
            for bytes in [vec![0xff], vec![b'a', 0]] {
                assert!(address.clone().with_password(Secret::from(bytes)).is_err());
            }
        }
    }
}
