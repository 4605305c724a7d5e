//! Where to connect and as whom.

use std::collections::BTreeMap;

/// A server, a login and what else the startup message says.
#[derive(Debug, Clone)]
pub struct Target {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Login.
    pub user: String,
    /// Password.
    pub password: String,
    /// Database.
    pub database: String,
    /// Further startup parameters (`options`, `TimeZone`, …).
    pub startup: BTreeMap<String, String>,
}

impl Target {
    /// Reads `postgres://user:password@host:port/database`.
    ///
    /// # Panics
    /// On anything else: the URL comes from the product, and a test cannot go on without it.
    pub fn parse(url: &str) -> Self {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .unwrap_or_else(|| panic!("not a PostgreSQL URL: {url}"));
        let (credentials, place) = rest.rsplit_once('@').unwrap_or_else(|| panic!("no user in {url}"));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let (address, database) = place.split_once('/').unwrap_or_else(|| panic!("no database in {url}"));
        let database = database.split_once('?').map_or(database, |(d, _)| d);
        let (host, port) = address.rsplit_once(':').unwrap_or_else(|| panic!("no port in {url}"));
        Self {
            host: host.to_owned(),
            port: port.parse().unwrap_or_else(|_| panic!("no port in {url}")),
            user: percent_decoded(user),
            password: percent_decoded(password),
            database: percent_decoded(database),
            startup: BTreeMap::new(),
        }
    }

    /// The same with a user token for the whole session.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.with("options", &format!("-c postern.token={token}"))
    }

    /// The same with one more startup parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.startup.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same on another port (another proxy before the same database).
    #[must_use]
    pub fn on_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The same in another database.
    #[must_use]
    pub fn in_database(mut self, database: &str) -> Self {
        database.clone_into(&mut self.database);
        self
    }

    /// As a URL again, for clients that want one.
    pub fn url(&self) -> String {
        format!(
            "postgresql://{}:{}@{}:{}/{}",
            percent_encoded(&self.user),
            percent_encoded(&self.password),
            self.host,
            self.port,
            percent_encoded(&self.database)
        )
    }

    /// As environment for clients that read libpq's variables.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("PGHOST", self.host.clone()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", self.user.clone()),
            ("PGPASSWORD", self.password.clone()),
            ("PGDATABASE", self.database.clone()),
            ("PGSSLMODE", "disable".to_owned()),
            ("PGCONNECT_TIMEOUT", "10".to_owned()),
        ];
        if let Some(options) = self.startup.get("options") {
            all.push(("PGOPTIONS", options.clone()));
        }
        all
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = (first == b'%')
            .then(|| tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).expect("a URL decodes to UTF-8")
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_url_survives_the_round_trip() {
        let target = Target::parse("postgresql://disco_app:a%2Fb%40c@127.0.0.1:7432/postern");
        assert_eq!(
            (target.user.as_str(), target.password.as_str(), target.port),
            ("disco_app", "a/b@c", 7432)
        );
        assert_eq!(Target::parse(&target.url()).password, "a/b@c");
    }
}
