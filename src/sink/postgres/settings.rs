//! What a `postgres://` address says: server, database, table, and where each column's value comes from (pure).
//!
//! Leaves SQL to `statement` and filters to the code that compiles them. Invariant: no secret is shown.

use std::fmt;

use crate::broker::address::{Address, AddressError};

/// The port of PostgreSQL.
const PORT: u16 = 5432;

/// Parameters of the address.
const PARAMETERS: &str =
    "columns, conflict, key, sql, params, sslmode, user, password, password-env, application-name and options";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SslMode {
    Disable,
    /// If the server offers it, unverified.
    Prefer,
    /// Always, with a server whose certificate is checked.
    Require,
}

/// What happens to a row that a unique index or an exclusion constraint already has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// The row is refused.
    Refuse,
    /// The row that is there stays; without columns, whichever index it is.
    Nothing(Vec<String>),
    /// The row that is there is overwritten; the columns of the unique index.
    Update(Vec<String>),
}

/// A table, by its name and, where it was given, its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table(pub Vec<String>);

/// What is done with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// Its fields become the columns of the same name.
    Fields(Table, Conflict),
    /// Each column is what a filter yields.
    Columns(Table, Vec<(String, String)>, Conflict),
    /// A statement with placeholders, each of which is what a filter yields.
    Sql(String, Vec<String>),
}

#[derive(Clone)]
pub(crate) struct PostgresSettings {
    /// The address as it is shown.
    pub shown: String,
    /// HOST:PORT each, tried in this order.
    pub servers: Vec<(String, u16)>,
    pub database: String,
    pub user: String,
    pub password: Option<String>,
    /// Whether the connection is encrypted; `None` leaves it to the TLS flags.
    pub ssl: Option<SslMode>,
    pub application: String,
    /// Settings of the server's session, as `-c name=value`.
    pub options: Option<String>,
    pub work: Work,
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl PostgresSettings {
    /// Reads an address; `secret` fetches an environment variable.
    ///
    /// # Errors
    /// What is wrong or not known.
    pub(crate) fn parse(
        text: &str,
        secret: impl Fn(&str, bool) -> Result<String, String>,
    ) -> Result<Self, AddressError> {
        let mut address = Address::parse(text, PORT)?;
        let (database, table) = match address.name.split_once('/') {
            Some((database, table)) => (database.to_owned(), table.to_owned()),
            None => (address.name.clone(), String::new()),
        };
        let shown = address.to_string();
        let wrong = |what: String| AddressError(format!("{shown}: {what}"));
        if database.is_empty() {
            return Err(wrong("no database; use postgres://HOST:PORT/DATABASE/TABLE".to_owned()));
        }
        let work = work(&mut address, &table).map_err(&wrong)?;
        let password = address.take_secret("password", &secret).map_err(&wrong)?;
        let variable = |name: &str| secret(name, false).ok().filter(|value| !value.is_empty());
        let (user, in_url) = match (address.take("user"), address.user.take()) {
            (Some(user), _) => (Some(user), None),
            (None, Some((user, password))) => (Some(user), password),
            (None, None) => (None, None),
        };
        let user = user
            .filter(|user| !user.is_empty())
            .or_else(|| variable("PGUSER"))
            .or_else(|| variable("USER"))
            .ok_or_else(|| wrong("no user; use postgres://USER@HOST:PORT/DATABASE/TABLE".to_owned()))?;
        let ssl = address.take("sslmode").map(|mode| ssl_mode(&mode)).transpose().map_err(&wrong)?;
        let settings = Self {
            servers: address.servers.iter().filter_map(|server| host_and_port(server)).collect(),
            database,
            user,
            password: password.or(in_url).or_else(|| variable("PGPASSWORD")),
            ssl,
            application: address.take("application-name").unwrap_or_else(|| "wsp".to_owned()),
            options: address.take("options"),
            work,
            shown: shown.clone(),
        };
        match address.left_over() {
            Some(unknown) => Err(wrong(format!("unknown parameter ?{unknown}; use {PARAMETERS}"))),
            None => Ok(settings),
        }
    }
}

fn ssl_mode(text: &str) -> Result<SslMode, String> {
    match text {
        "disable" => Ok(SslMode::Disable),
        "allow" | "prefer" => Ok(SslMode::Prefer),
        // Requiring encryption also requires verifying the server.
        "require" | "verify-ca" | "verify-full" => Ok(SslMode::Require),
        other => Err(format!("invalid ?sslmode={other}; use disable, prefer or require")),
    }
}

fn host_and_port(server: &str) -> Option<(String, u16)> {
    let (host, port) = server.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host.to_owned(), port.parse().ok()?))
}

fn work(address: &mut Address, table: &str) -> Result<Work, String> {
    let (columns, key) = (address.take("columns"), address.take("key"));
    let (conflict, params) = (address.take("conflict"), address.take("params"));
    if let Some(sql) = address.take("sql") {
        if let Some(name) = [("columns", &columns), ("conflict", &conflict), ("key", &key)]
            .iter()
            .find_map(|(name, value)| value.is_some().then_some(name))
        {
            return Err(format!("?{name} cannot be combined with ?sql; write it into the statement"));
        }
        if !table.is_empty() {
            return Err("?sql names its own table; leave the table out of the address".to_owned());
        }
        let params = params.as_deref().map(list).unwrap_or_default();
        return Ok(Work::Sql(sql, params.into_iter().map(str::to_owned).collect()));
    }
    if params.is_some() {
        return Err("?params requires ?sql".to_owned());
    }
    let table = read_table(table)?;
    let key: Vec<String> = key.as_deref().map(list).unwrap_or_default().into_iter().map(str::to_owned).collect();
    let conflict = match conflict.as_deref() {
        None if !key.is_empty() => return Err("?key requires ?conflict=nothing or ?conflict=update".to_owned()),
        None => Conflict::Refuse,
        Some("nothing") => Conflict::Nothing(key),
        Some("update") if key.is_empty() => {
            return Err("?conflict=update requires ?key=COLUMN, the columns of the unique index".to_owned());
        }
        Some("update") => Conflict::Update(key),
        Some(other) => return Err(format!("invalid ?conflict={other}; use nothing or update")),
    };
    let Some(columns) = columns else { return Ok(Work::Fields(table, conflict)) };
    let columns = list(&columns).into_iter().map(column).collect::<Result<Vec<_>, _>>()?;
    if columns.is_empty() {
        return Err("?columns is empty; use ?columns=NAME=JQ,NAME=JQ".to_owned());
    }
    if let Some((name, _)) = columns
        .iter()
        .enumerate()
        .find_map(|(place, column)| columns[..place].iter().any(|(name, _)| *name == column.0).then_some(column))
    {
        return Err(format!("?columns names '{name}' twice"));
    }
    Ok(Work::Columns(table, columns, conflict))
}

/// `NAME=JQ`, or `NAME` for the field of that name.
fn column(text: &str) -> Result<(String, String), String> {
    let (name, filter) = match text.split_once('=') {
        Some((name, filter)) => (name.trim(), filter.trim().to_owned()),
        None => (text, format!(".[{}]", serde_json::Value::from(text))),
    };
    match (name, filter.as_str()) {
        ("", _) | (_, "") => Err(format!("invalid column '{text}'; use ?columns=NAME=JQ,NAME=JQ")),
        _ => Ok((name.to_owned(), filter)),
    }
}

/// `TABLE` or `SCHEMA.TABLE`, each of which may stand in double quotes.
fn read_table(text: &str) -> Result<Table, String> {
    let wrong = || format!("invalid table '{text}'; use postgres://HOST:PORT/DATABASE/TABLE or …/SCHEMA.TABLE");
    let mut parts = vec![String::new()];
    let mut is_quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let last = parts.last_mut().ok_or_else(wrong)?;
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                last.push('"');
                characters.next();
            }
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => parts.push(String::new()),
            other => last.push(other),
        }
    }
    let is_named = parts.iter().all(|part| !part.is_empty() && !part.contains('\0'));
    if is_quoted || parts.len() > 2 || !is_named { Err(wrong()) } else { Ok(Table(parts)) }
}

/// The parts between commas that are not within brackets or strings.
fn list(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    let (mut in_string, mut is_escaped) = (false, false);
    for (place, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if in_string => is_escaped = true,
            '"' => in_string = !in_string,
            _ if in_string => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PostgresSettings, String> {
        let secret = |name: &str, _| match name {
            "VAR" => Ok("from-env".to_owned()),
            "USER" => Ok("me".to_owned()),
            _ => Err(format!("{name} is not set")),
        };
        PostgresSettings::parse(text, secret).map_err(|error| error.to_string())
    }

    fn columns(items: &[(&str, &str)]) -> Vec<(String, String)> {
        items.iter().map(|(name, filter)| ((*name).to_owned(), (*filter).to_owned())).collect()
    }

    fn names(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn says_where_rows_go_and_what_they_are_made_of() {
        let table = |parts: &[&str]| Table(names(parts));
        let rows = [
            ("postgres://h/db/t", Work::Fields(table(&["t"]), Conflict::Refuse)),
            (
                "postgres://h/db/s.t?columns=a=.a,b",
                Work::Columns(table(&["s", "t"]), columns(&[("a", ".a"), ("b", ".[\"b\"]")]), Conflict::Refuse),
            ),
            (
                "postgres://h/db/%22My.T%22?columns=a=(.x,.y|join(%22,%22)),b={c:[1,2]}&conflict=update&key=a,b",
                Work::Columns(
                    table(&["My.T"]),
                    columns(&[("a", "(.x,.y|join(\",\"))"), ("b", "{c:[1,2]}")]),
                    Conflict::Update(names(&["a", "b"])),
                ),
            ),
            ("postgres://h/db/t?conflict=nothing", Work::Fields(table(&["t"]), Conflict::Nothing(Vec::new()))),
            (
                "postgres://h/db?sql=insert into t values ($1,$2)&params=.a,.b",
                Work::Sql("insert into t values ($1,$2)".to_owned(), names(&[".a", ".b"])),
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text).expect(text).work, expected, "{text}");
        }
    }

    #[test]
    fn says_who_we_are_and_shows_no_password() {
        let settings = parse("postgresql://ann:p%40ss@a,[::1]:6000/db/t?sslmode=verify-full").expect("an address");
        assert_eq!(settings.servers, [("a".to_owned(), 5432), ("::1".to_owned(), 6000)]);
        assert_eq!((settings.user.as_str(), settings.password.as_deref()), ("ann", Some("p@ss")));
        assert_eq!(settings.ssl, Some(SslMode::Require));
        assert_eq!(settings.shown, "postgresql://a:5432,[::1]:6000/db/t");
        let settings = parse("postgres://h/db/t?user=bob&password-env=VAR").expect("an address");
        assert_eq!((settings.user.as_str(), settings.password.as_deref()), ("bob", Some("from-env")));
        let settings = parse("postgres://h/db/t").expect("an address");
        assert_eq!((settings.user.as_str(), settings.password), ("me", None));
    }

    #[test]
    fn refuses_what_does_not_fit_together() {
        let table = [
            ("postgres://h", "no database"),
            ("postgres://h/db", "invalid table ''"),
            ("postgres://h/db/a.b.c", "invalid table 'a.b.c'"),
            ("postgres://h/db/t?colums=a", "unknown parameter ?colums"),
            ("postgres://h/db/t?conflict=replace", "invalid ?conflict=replace; use nothing or update"),
            ("postgres://h/db/t?conflict=update", "requires ?key=COLUMN"),
            ("postgres://h/db/t?key=a", "?key requires ?conflict"),
            ("postgres://h/db/t?columns=", "?columns is empty"),
            ("postgres://h/db/t?columns=a=.x,a=.y", "?columns names 'a' twice"),
            ("postgres://h/db/t?columns==.x", "invalid column '=.x'"),
            ("postgres://h/db/t?params=.a", "?params requires ?sql"),
            ("postgres://h/db/t?sql=select", "leave the table out"),
            ("postgres://h/db?sql=select&conflict=nothing", "?conflict cannot be combined with ?sql"),
            ("postgres://h/db/t?sslmode=maybe", "invalid ?sslmode=maybe"),
            ("postgres://u:secret@/db/t", "no HOST:PORT"),
            ("postgres://h/db/t?password-env=NONE", "NONE is not set"),
        ];
        for (text, expected) in table {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
