use std::{fmt, fs, io::Read, net::IpAddr, os::unix::fs::PermissionsExt, str::FromStr};

use aws_lc_rs::rsa;
use data_encoding::BASE64;
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
/// Variables that the driver would read, and that say where the server is or who this one is: past all checks of the address.
const VARIABLES: [&str; 6] = ["PGHOST", "PGHOSTADDR", "PGSSLCERT", "PGSSLKEY", "PGSSLMODE", "PGSSLROOTCERT"];
/// Largest file of a private key.
const KEY_FILE_BYTES_MAX: u64 = 64 << 10;
/// Shortest RSA key of ours: 128 bits of security (NIST SP 800-57, part 1, table 2).
const RSA_BITS_MIN: usize = 3072;
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

    /// Refuses an environment in which the driver would talk to another server, or as another one, than the address says.
    pub(crate) fn check_environment(is_set: impl Fn(&str) -> bool) -> Result<(), String> {
        match VARIABLES.into_iter().find(|variable| is_set(variable)) {
            Some(variable) => Err(format!(
                "the environment variable {variable} is set; unset it, and write what it says into the address (`store.postgres`)"
            )),
            None => Ok(()),
        }
    }

    /// Refuses a private key that others can read, or that is too weak, as the one of the server's own certificate is.
    pub(crate) fn check_key(&self) -> Result<(), String> {
        let Some(key) = parameter(&self.url, "sslkey") else { return Ok(()) };
        let failed = |error| format!("its key `{key}` cannot be read ({error})");
        let found = fs::metadata(&key).map_err(failed)?;
        if found.permissions().mode() & OTHERS != 0 {
            return Err(format!("others can read its key `{key}`; `chmod 600 {key}`"));
        }
        if !found.is_file() {
            return Err(format!("its key `{key}` is not a file"));
        }
        let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_BYTES_MAX as usize));
        let read =
            fs::File::open(&key).and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text));
        read.map_err(failed)?;
        match rsa_bits(&text) {
            Some(bits) if bits < RSA_BITS_MIN => Err(format!(
                "its RSA key `{key}` has {bits} bits, and {RSA_BITS_MIN} are the least; ask the authority for a certificate \
                 with an ECDSA key on P-256, or with an RSA key of 3072 bits"
            )),
            _ => Ok(()),
        }
    }
}

/// The length of an RSA key in PEM. None of what is no RSA key that the driver could use: that has 2048 bits or more, or is on
/// a curve of 128 bits of security or more.
fn rsa_bits(pem: &str) -> Option<usize> {
    let between = |name: &str| {
        let (_, rest) = pem.split_once(&format!("-----BEGIN {name}-----"))?;
        let (body, _) = rest.split_once(&format!("-----END {name}-----"))?;
        let mut body = Zeroizing::new(body.to_owned());
        body.retain(|character| !character.is_ascii_whitespace());
        BASE64.decode(body.as_bytes()).ok().map(Zeroizing::new)
    };
    let key = match (between("PRIVATE KEY"), between("RSA PRIVATE KEY")) {
        (Some(key), _) => rsa::KeyPair::from_pkcs8(&key).ok()?,
        (None, Some(key)) => rsa::KeyPair::from_der(&key).ok()?,
        (None, None) => return None,
    };
    Some(8 * key.public_modulus_len())
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
    fn what_the_driver_would_read_beside_the_address_is_refused() {
        for variable in VARIABLES {
            let error = PostgresAddress::check_environment(|name| name == variable).unwrap_err();
            assert!(error.contains(&format!("{variable} is set")), "{error}");
        }
        assert_eq!(PostgresAddress::check_environment(|name| name == "PGPASSWORD"), Ok(()));
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
