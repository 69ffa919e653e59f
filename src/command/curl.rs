//! A browser's "Copy as cURL" of a WebSocket request, as connection options (pure but for `@FILE`).
//!
//! Owns reading such a line as bash would (as cmd.exe would: `cmd`), curl's options as far as they mean something to a
//! WebSocket connection, and laying them under the user's own flags. Leaves what the options do to
//! [`super::settings`].
//! Invariants: the user's own flags win; what cannot be carried over is an error that names it, never
//! silently different; the line may hold secrets, so no error quotes it.

mod cmd;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::connect::ConnectArgs;
use super::options::{ConnectionArgs, TlsMin};
use super::settings::file_or_text;
use crate::endpoint::WsTarget;
use crate::error::Error;
use crate::net::upgrade::parse_header;

/// A quote that does not end.
const OPEN: &str = "a quote is not closed";
/// The default of --connect-timeout: what the user says wins over the line.
const CONNECT: Duration = Duration::from_secs(10);

/// The upgrade sets these itself; a browser's values belong to its own connection.
const OF_THE_UPGRADE: [&str; 6] = [
    "Connection",
    "Upgrade",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Extensions",
    "Content-Length",
];

/// curl's options that mean something here, and those that may be left aside.
#[derive(Debug, Default, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true, args_override_self = true)]
struct CurlLine {
    urls: Vec<String>,
    #[arg(long = "url")]
    url: Vec<String>,
    #[arg(short = 'H', long = "header", allow_hyphen_values = true)]
    headers: Vec<String>,
    #[arg(short = 'b', long = "cookie", allow_hyphen_values = true)]
    cookies: Vec<String>,
    #[arg(short, long, allow_hyphen_values = true)]
    user: Option<String>,
    #[arg(long = "oauth2-bearer")]
    bearer: Option<String>,
    #[arg(short = 'A', long, allow_hyphen_values = true)]
    user_agent: Option<String>,
    #[arg(short = 'e', long)]
    referer: Option<String>,
    #[arg(short = 'k', long)]
    insecure: bool,
    #[arg(short = 'x', long)]
    proxy: Option<String>,
    #[arg(long)]
    resolve: Vec<String>,
    #[arg(long)]
    cacert: Option<PathBuf>,
    #[arg(short = 'E', long)]
    cert: Option<PathBuf>,
    #[arg(long)]
    key: Option<PathBuf>,
    #[arg(long = "tlsv1.2")]
    tls_1_2: bool,
    #[arg(long = "tlsv1.3")]
    tls_1_3: bool,
    #[arg(short = 'L', long)]
    location: bool,
    #[arg(short = '4', long)]
    ipv4: bool,
    #[arg(short = '6', long)]
    ipv6: bool,
    #[arg(long)]
    unix_socket: Option<PathBuf>,
    #[arg(long)]
    interface: Option<IpAddr>,
    #[arg(short = 'X', long)]
    request: Option<String>,
    #[arg(short = 'I', long)]
    head: bool,
    #[arg(short = 'm', long, value_parser = seconds)]
    max_time: Option<Duration>,
    #[arg(long, value_parser = seconds)]
    connect_timeout: Option<Duration>,
    #[arg(short = 'T', long, allow_hyphen_values = true)]
    upload_file: Vec<String>,
    #[command(flatten)]
    aside: Aside,
}

/// Accepted without effect: the upgrade, or wsp's own output, takes their place.
#[derive(Debug, Default, clap::Args)]
struct Aside {
    #[arg(long)]
    compressed: bool,
    #[arg(long = "http1.1")]
    http_1_1: bool,
    #[arg(short = 'G', long)]
    get: bool,
    #[arg(short = 'g', long)]
    globoff: bool,
    #[arg(short, long)]
    silent: bool,
    #[arg(short = 'S', long)]
    show_error: bool,
    #[arg(short, long)]
    verbose: bool,
    #[arg(short, long, alias = "show-headers")]
    include: bool,
    #[arg(short = 'N', long)]
    no_buffer: bool,
    #[arg(short = '#', long)]
    progress_bar: bool,
    #[arg(long)]
    no_progress_meter: bool,
    #[arg(long)]
    path_as_is: bool,
    #[arg(short, long)]
    fail: bool,
    #[arg(long)]
    fail_with_body: bool,
    #[arg(long)]
    http2: bool,
    #[arg(long)]
    http2_prior_knowledge: bool,
    #[arg(long)]
    http3: bool,
    #[arg(long)]
    basic: bool,
    #[arg(short = 'q', long)]
    disable: bool,
    #[arg(long)]
    tcp_nodelay: bool,
    #[arg(long)]
    no_keepalive: bool,
    #[arg(long)]
    keepalive_time: Option<String>,
    #[arg(short = 'O', long)]
    remote_name: bool,
    #[arg(short, long)]
    output: Vec<String>,
    #[arg(short = 'D', long)]
    dump_header: Option<String>,
    #[arg(short = 'c', long)]
    cookie_jar: Option<String>,
    #[arg(short = 'w', long, allow_hyphen_values = true)]
    write_out: Option<String>,
    #[arg(long)]
    stderr: Option<String>,
    #[arg(long)]
    retry: Option<String>,
    #[arg(long)]
    retry_delay: Option<String>,
    #[arg(long)]
    retry_max_time: Option<String>,
    #[arg(long)]
    retry_all_errors: bool,
    #[arg(long)]
    retry_connrefused: bool,
}

/// Reads curl's seconds, such as `2.5`.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "invalid number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Lays what `--curl` says under the flags of the user's own.
///
/// # Errors
/// A line that is not a curl command, or asks for what a WebSocket connection cannot do.
pub(crate) fn import(args: &ConnectArgs) -> Result<ConnectArgs, Error> {
    let mut args = args.clone();
    if let Some(text) = args.curl.take() {
        let bytes = file_or_text(&text).map_err(|error| fault(&error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| fault("the file is not UTF-8"))?;
        let line = parse(&text)?;
        if args.urls.is_empty() {
            args.urls.push(line.only_url()?);
        }
        line.lay_under(&mut args.connection)?;
    }
    Ok(args)
}

fn fault(what: &str) -> Error {
    Error::usage(
        format!("--curl: {what}"),
        "in the browser's network panel: Copy, Copy as cURL (bash), then --curl 'curl …' or --curl @FILE",
    )
}

fn unknown(option: &str) -> Error {
    Error::usage(
        format!("--curl: curl's {option} is not supported"),
        "remove it; wsp connect --help lists the connection options",
    )
}

fn parse(text: &str) -> Result<CurlLine, Error> {
    if let Some(what) = other_language(text) {
        return Err(fault(&format!("this is {what}, not a curl line for bash or cmd")));
    }
    let words = words(text).map_err(fault)?;
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    if !matches!(program.rsplit(['/', '\\']).next(), Some("curl" | "curl.exe")) {
        return Err(fault("the line does not begin with curl"));
    }
    let matches = CurlLine::command().try_get_matches_from(words).map_err(|error| describe(&error))?;
    CurlLine::from_arg_matches(&matches).map_err(|error| describe(&error))
}

/// clap quotes what it was given; only the option's name is no secret.
fn describe(error: &clap::Error) -> Error {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) if error.kind() == clap::error::ErrorKind::UnknownArgument => {
            let name = option.split(['=', ' ']).next().unwrap_or_default();
            unknown(if name.starts_with("--") { name } else { name.get(..2).unwrap_or(name) })
        }
        Some(ContextValue::String(option)) => fault(&format!("cannot parse the value of curl's {option}")),
        _ => fault("cannot parse its options"),
    }
}

impl CurlLine {
    fn only_url(&self) -> Result<String, Error> {
        let mut urls = self.urls.iter().chain(&self.url);
        match (urls.next(), urls.next()) {
            (Some(url), None) => Ok(url.clone()),
            (None, _) => Err(fault("it contains no URL")),
            (Some(_), Some(_)) => Err(fault("it contains more than one URL or command")),
        }
    }

    /// What a WebSocket connection cannot do, or this program not in curl's words.
    fn check(&self) -> Result<(), Error> {
        let asked = self.request.as_deref().or(self.head.then_some("HEAD"));
        if let Some(method) = asked.filter(|method| *method != "GET") {
            return Err(fault(&format!("a WebSocket handshake uses GET, not {}", method.escape_debug())));
        }
        // What standard input holds is sent anyway.
        if self.upload_file.iter().any(|file| !matches!(file.as_str(), "-" | ".")) {
            return Err(Error::usage("--curl: curl's -T FILE is not supported", "remove it; -x @FILE sends a file"));
        }
        if self.cookies.iter().any(|cookie| !cookie.contains('=')) {
            return Err(unknown("-b FILE (a file of cookies)"));
        }
        if self.cert.as_deref().is_some_and(has_password) {
            return Err(Error::usage(
                "--curl: curl's --cert FILE:PASSWORD is not supported",
                "remove the password; pass it with --passphrase-env VAR",
            ));
        }
        if self.headers.iter().any(|header| !header.starts_with(':') && parse_header(header).is_err()) {
            return Err(fault("a header in it is malformed"));
        }
        Ok(())
    }

    fn lay_under(mut self, own: &mut ConnectionArgs) -> Result<(), Error> {
        self.check()?;
        self.lay_headers(own);
        // curl takes several addresses, and `+` before the host for those that time out.
        for entry in &self.resolve {
            let mut addresses = entry.split(',');
            let first = addresses.next().unwrap_or_default().trim_start_matches('+');
            let place = first.splitn(3, ':').take(2).collect::<Vec<_>>().join(":");
            own.resolve.push(first.to_owned());
            own.resolve.extend(addresses.map(|address| format!("{place}:{address}")));
        }
        own.proxy = own.proxy.take().or(self.proxy);
        // curl takes 0 for no limit.
        own.timeout = own.timeout.or(self.max_time.filter(|limit| !limit.is_zero()));
        if let Some(limit) = self.connect_timeout.filter(|limit| !limit.is_zero() && own.connect_timeout == CONNECT) {
            own.connect_timeout = limit;
        }
        own.insecure |= self.insecure;
        own.location |= self.location;
        if !own.ipv4 && !own.ipv6 {
            own.ipv4 = self.ipv4;
            own.ipv6 = self.ipv6 && !self.ipv4;
        }
        own.cacert = own.cacert.take().or(self.cacert);
        if own.pkcs12.is_none() {
            own.cert = own.cert.take().or(self.cert);
            own.key = own.key.take().or(self.key);
        }
        own.unix_socket = own.unix_socket.take().or(self.unix_socket);
        own.interface = own.interface.or(self.interface);
        if self.tls_1_2 || self.tls_1_3 {
            own.tls_min.get_or_insert(if self.tls_1_3 { TlsMin::V1_3 } else { TlsMin::V1_2 });
        }
        Ok(())
    }

    /// Everything that becomes a header: the user's own of the same name win, cookies add up.
    fn lay_headers(&mut self, own: &mut ConnectionArgs) {
        let usual_host = self.only_url().ok().and_then(|url| Some(WsTarget::parse(&url).ok()?.host_header()));
        let authorized = [&own.user, &own.user_env, &own.bearer, &own.bearer_env, &own.bearer_command]
            .into_iter()
            .any(Option::is_some);
        if !authorized {
            own.user = self.user.take();
            own.bearer = self.bearer.take();
        }
        let is_own = |name: &str| own.headers.iter().any(|mine| has_name(mine, name));
        let mut headers = Vec::new();
        let mut cookies = Vec::new();
        let mut protocols = Vec::new();
        for header in std::mem::take(&mut self.headers) {
            let (name, value) = header.split_once([':', ';']).unwrap_or((&header, ""));
            let (name, value) = (name.trim(), value.trim());
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            match () {
                // HTTP/2 has its own names for the request line; they begin with a colon.
                () if name.is_empty() || OF_THE_UPGRADE.iter().any(|other| is(other)) || is_own(name) => {}
                () if is("Authorization") && authorized => {}
                () if is("Sec-WebSocket-Protocol") => protocols.extend(value.split(',').map(|one| one.trim().into())),
                () if is("Origin") => own.origin = own.origin.take().or_else(|| Some(value.to_owned())),
                () if is("Cookie") => cookies.extend(pairs(value)),
                () if is("Host") => {
                    let other = Some(value.to_owned()).filter(|host| usual_host.as_ref() != Some(host));
                    own.host = own.host.take().or(other);
                }
                () => headers.push(header),
            }
        }
        for (name, value) in [("User-Agent", self.user_agent.take()), ("Referer", self.referer.take())] {
            if let Some(value) = value.filter(|_| !is_own(name)) {
                headers.retain(|header| !has_name(header, name));
                headers.push(format!("{name}: {value}"));
            }
        }
        cookies.extend(self.cookies.iter().flat_map(|cookies| pairs(cookies)));
        cookies.retain(|cookie| !own.cookies.iter().flat_map(|mine| pairs(mine)).any(|mine| key(&mine) == key(cookie)));
        if own.subprotocols.is_empty() {
            own.subprotocols = protocols;
        }
        own.headers.splice(0..0, headers);
        own.cookies.splice(0..0, cookies);
    }
}

/// `FILE:PASSWORD`, where no file has that name.
fn has_password(cert: &Path) -> bool {
    cert.to_string_lossy().contains(':') && !cert.exists()
}

fn has_name(header: &str, name: &str) -> bool {
    header.split([':', ';']).next().unwrap_or_default().trim().eq_ignore_ascii_case(name)
}

/// `a=1; b=2` in its parts.
fn pairs(cookies: &str) -> Vec<String> {
    cookies.split(';').map(str::trim).filter(|pair| !pair.is_empty()).map(str::to_owned).collect()
}

fn key(cookie: &str) -> &str {
    cookie.split('=').next().unwrap_or_default()
}

/// What a line is that browsers copy, too, and that is not read here.
fn other_language(text: &str) -> Option<&'static str> {
    let text = text.trim_start();
    let begins = |start: &str| text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    let is_powershell = ["Invoke-WebRequest", "Invoke-RestMethod", "iwr ", "irm ", "$session", "[Net."];
    match () {
        () if is_powershell.iter().any(|start| begins(start)) => Some("PowerShell"),
        () if text.lines().rev().skip(1).any(|line| line.trim_end().ends_with(" `")) => Some("PowerShell"),
        () if begins("fetch(") || begins("await fetch(") => Some("a fetch() call"),
        () => None,
    }
}

/// The words of the line, as bash splits them, or as cmd.exe and Windows' programs do where its quotes are seen.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let text = text.trim().replace("\r\n", "\n");
    if cmd::is_cmd(&text) {
        return cmd::words(&text);
    }
    shell_words::split(&without_dollar_quotes(&text)?).map_err(|_| OPEN)
}

/// Writes bash's `$'…'` in plain single quotes: the library that splits words does not know it.
fn without_dollar_quotes(text: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None | Some('"'), '\\') => {
                out.push(c);
                out.extend(chars.next());
                continue;
            }
            (None, '$') if chars.next_if_eq(&'\'').is_some() => {
                let inner = dollar_quoted(&mut chars)?;
                out.push('\'');
                out.push_str(&inner.replace('\'', r"'\''"));
                out.push('\'');
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        out.push(c);
    }
    Ok(out)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// The text of a `$'…'` whose opening has been read, its end included (ANSI-C quoting, bash(1)).
fn dollar_quoted(chars: &mut Chars<'_>) -> Result<String, &'static str> {
    const NO_CHARACTER: &str = "invalid escape in $'…'";
    let mut bytes = Vec::new();
    loop {
        let c = match chars.next().ok_or(OPEN)? {
            '\'' => return String::from_utf8(bytes).map_err(|_| NO_CHARACTER),
            '\\' => chars.next().ok_or(OPEN)?,
            c => {
                push(&mut bytes, c);
                continue;
            }
        };
        match c {
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'e' | 'E' => bytes.push(27),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(11),
            '\\' | '\'' | '"' | '?' => push(&mut bytes, c),
            'x' => match digits(chars, 16, 2, 0) {
                (code, 1..) => bytes.push(code.to_le_bytes()[0]),
                _ => return Err(NO_CHARACTER),
            },
            'u' | 'U' => match digits(chars, 16, if c == 'u' { 4 } else { 8 }, 0) {
                (code, 1..) => push(&mut bytes, char::from_u32(code).ok_or(NO_CHARACTER)?),
                _ => return Err(NO_CHARACTER),
            },
            // Bash cuts off what is over a byte.
            '0'..='7' => bytes.push(digits(chars, 8, 2, c.to_digit(8).unwrap_or_default()).0.to_le_bytes()[0]),
            other => {
                bytes.push(b'\\');
                push(&mut bytes, other);
            }
        }
    }
}

/// Reads at most `most` digits behind those whose value is `start`: the value, and how many there were.
fn digits(chars: &mut Chars<'_>, radix: u32, most: usize, start: u32) -> (u32, usize) {
    let mut value = start;
    for count in 0..most {
        let Some(digit) = chars.peek().and_then(|c| c.to_digit(radix)) else { return (value, count) };
        chars.next();
        value = value.wrapping_mul(radix) + digit;
    }
    (value, most)
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
#[path = "curl_tests.rs"]
mod tests;
