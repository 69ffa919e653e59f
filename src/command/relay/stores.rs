//! `postgres://` and `opensearch+http[s]://` destinations: from an address and flags to the end they make.
//!
//! Leaves what parameters mean to `sink/`.

use super::build::Build;
use crate::command::settings;
use crate::error::Error;
use crate::net::connector::Connector;
use crate::net::post::Poster;
use crate::sink::search::SearchSink;
use crate::sink::search::settings::SearchSettings;

impl Build<'_> {
    /// The sink that writes documents.
    pub(super) fn search(&self, url: &str, name: &str) -> Result<SearchSink, Error> {
        let args = self.args;
        let settings = SearchSettings::parse(url)
            .map_err(|error| Error::usage(error.to_string(), "use opensearch+http://HOST:PORT/INDEX?id=JQ"))?;
        let connector = Connector::new(settings::connect_options(&settings.url, &args.connection, false)?)?;
        let poster = Poster::new(connector, args.http.request_timeout);
        let retry_on = args.connection.retry_on.clone();
        SearchSink::new(settings, poster, name, self.line_format, retry_on, settings::filter)
    }

    /// The sink that writes rows.
    #[cfg(feature = "postgres")]
    pub(super) fn postgres(&self, url: &str) -> Result<crate::sink::postgres::PostgresSink, Error> {
        use crate::net::stream::StreamConnector;
        use crate::net::tls::ClientTls;
        use crate::sink::postgres::settings::{PostgresSettings, SslMode, Work};
        use crate::sink::postgres::{PostgresSink, Way};

        let (args, connection) = (self.args, &self.args.connection);
        let settings = PostgresSettings::parse(url, crate::command::brokers::secret).map_err(|error| {
            Error::usage(error.to_string(), "use postgres://HOST:PORT/DATABASE/TABLE?columns=NAME=JQ")
        })?;
        let filters = match &settings.work {
            Work::Fields(..) => Vec::new(),
            Work::Columns(_, columns, _) => {
                columns.iter().map(|(_, source)| settings::filter("?columns", source)).collect::<Result<_, _>>()?
            }
            Work::Sql(_, sources) => {
                sources.iter().map(|source| settings::filter("?params", source)).collect::<Result<_, _>>()?
            }
        };
        let tls = settings::client_tls(connection)?;
        let asks_for_tls = tls.names_files() || tls.insecure || tls.sni.is_some() || connection.tls_min.is_some();
        let ssl = settings.ssl.unwrap_or(if asks_for_tls { SslMode::Require } else { SslMode::Prefer });
        // Who is content without TLS is content with any certificate.
        let tls = ClientTls { insecure: tls.insecure || ssl == SslMode::Prefer, ..tls };
        // Variables that name proxies are not about databases.
        let proxy = connection.proxy.as_deref().or(Some(""));
        let proxies = crate::command::proxies::rules(proxy, |name| std::env::var(name).ok())?;
        let connector =
            StreamConnector::new(settings::dial_options(connection)?, proxies, tls, connection.connect_timeout);
        if asks_for_tls {
            connector.tls()?;
        }
        let way = Way { connector, ssl, retry_on: connection.retry_on.clone() };
        Ok(PostgresSink::new(settings, filters, way, connection.filters.raw_input, args.http.request_timeout))
    }
}
