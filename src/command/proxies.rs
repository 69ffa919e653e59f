//! Which proxies a run uses: `--proxy`, else the environment's variables as curl reads them.
//!
//! Owns names and order of the variables; what a proxy's URL means is `net::proxy`'s business.
//! Invariant: the environment is handed in, so that a table can test the rules.

use crate::error::Error;
use crate::net::proxy::{Proxy, ProxyRules, ProxySetting};

/// The rules for a run with this `--proxy`. An empty one switches proxies off; without one `https_proxy` is for wss,
/// `http_proxy` for ws and `all_proxy` for what has none of its own. Each may be written in capitals, except
/// `http_proxy`: a CGI program gets `HTTP_PROXY` from its client. `no_proxy` names what is reached directly,
/// also under `--proxy`. Empty variables count as unset.
///
/// # Errors
/// An invalid `--proxy`; an invalid variable fails only the connections it applies to.
pub(crate) fn rules(flag: Option<&str>, environment: impl Fn(&str) -> Option<String>) -> Result<ProxyRules, Error> {
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| Some((*name, environment(name).filter(|value| !value.is_empty())?)))
    };
    let no_proxy = first(&["no_proxy", "NO_PROXY"]).map(|(_, value)| value).unwrap_or_default();
    match flag {
        Some("") => Ok(ProxyRules::default()),
        Some(text) => {
            let proxy = Proxy::parse(text).map_err(|error| {
                Error::usage(format!("--proxy: {error}"), "write --proxy http://[USER:PASSWORD@]HOST:PORT")
            })?;
            Ok(ProxyRules::new(Some(Ok(proxy.clone())), Some(Ok(proxy)), &no_proxy))
        }
        None => {
            let setting = |names: &[&'static str]| -> Option<ProxySetting> {
                let (name, value) = first(names).or_else(|| first(&["all_proxy", "ALL_PROXY"]))?;
                Some(Proxy::parse(&value).map_err(|error| format!("{name}: {error}")))
            };
            Ok(ProxyRules::new(setting(&["http_proxy"]), setting(&["https_proxy", "HTTPS_PROXY"]), &no_proxy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::WsTarget;

    /// The proxy on the way to `url`.
    fn chosen(flag: Option<&str>, environment: Environment<'_>, url: &str) -> Result<Option<String>, String> {
        let variable =
            |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let rules = rules(flag, variable).map_err(|error| error.to_string())?;
        let target = WsTarget::parse(url).expect("a target");
        Ok(rules.choose(&target)?.map(|proxy| format!("{}:{}", proxy.host, proxy.port)))
    }

    type Environment<'a> = &'a [(&'a str, &'a str)];

    #[test]
    fn variables_mean_what_they_mean_to_curl() {
        let table: [(Environment<'_>, Option<&str>, Option<&str>); 11] = [
            (&[], None, None),
            (&[("http_proxy", "a:1")], Some("a:1"), None),
            (&[("HTTP_PROXY", "a:1")], None, None),
            (&[("https_proxy", "a:1"), ("HTTPS_PROXY", "b:1")], None, Some("a:1")),
            (&[("HTTPS_PROXY", "b:1")], None, Some("b:1")),
            (&[("ALL_PROXY", "c:1")], Some("c:1"), Some("c:1")),
            (&[("all_proxy", "d:1"), ("ALL_PROXY", "c:1"), ("http_proxy", "a:1")], Some("a:1"), Some("d:1")),
            (&[("https_proxy", ""), ("HTTPS_PROXY", "b:1")], None, Some("b:1")),
            (&[("ALL_PROXY", "c:1"), ("NO_PROXY", "localhost,h")], None, None),
            (&[("ALL_PROXY", "c:1"), ("no_proxy", "x"), ("NO_PROXY", "h")], Some("c:1"), Some("c:1")),
            (&[("ALL_PROXY", "c:1"), ("NO_PROXY", "*")], None, None),
        ];
        for (environment, ws, wss) in table {
            assert_eq!(chosen(None, environment, "ws://h/"), Ok(ws.map(str::to_owned)), "ws {environment:?}");
            assert_eq!(chosen(None, environment, "wss://h/"), Ok(wss.map(str::to_owned)), "wss {environment:?}");
        }
    }

    #[test]
    fn the_flag_goes_before_the_variables_and_an_empty_one_switches_off() {
        let environment = [("ALL_PROXY", "c:1"), ("NO_PROXY", "direct")];
        assert_eq!(chosen(Some("f:2"), &environment, "ws://h/"), Ok(Some("f:2".to_owned())));
        assert_eq!(chosen(Some("f:2"), &environment, "ws://direct/"), Ok(None));
        assert_eq!(chosen(Some(""), &environment, "ws://h/"), Ok(None));
        assert!(chosen(Some("ftp://f"), &environment, "ws://h/").is_err());
    }

    #[test]
    fn a_variable_that_is_no_proxy_is_named() {
        let environment = [("HTTPS_PROXY", "socks4://u:secret@h:1")];
        let error = chosen(None, &environment, "wss://h/").expect_err("no proxy of ours");
        assert!(error.contains("HTTPS_PROXY") && error.contains("socks4") && !error.contains("secret"), "{error}");
        assert_eq!(chosen(None, &environment, "ws://h/"), Ok(None));
    }
}
