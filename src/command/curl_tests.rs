//! Lines as browsers copy them, and what happens to each option.

use clap::Parser;

use super::*;

/// As Chrome copies it for bash.
const CHROME: &str = r"curl 'wss://stream.example.com:9443/ws?stream=a%20b' \
  -H 'Upgrade: websocket' \
  -H 'Origin: https://app.example.com' \
  -H 'Cache-Control: no-cache' \
  -H 'Accept-Language: en-GB,en;q=0.9' \
  -b 'session=abc123; theme=dark' \
  -H 'Pragma: no-cache' \
  -H 'Connection: Upgrade' \
  -H 'Sec-WebSocket-Key: c29tZSBrZXkgaGVyZSEhIQ==' \
  -H $'X-Note: it\'s \u0021' \
  -H 'User-Agent: Mozilla/5.0 (X11; Linux x86_64)' \
  -H 'Sec-WebSocket-Version: 13' \
  -H 'Sec-WebSocket-Protocol: chat, superchat' \
  -H 'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits'";

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    connect: ConnectArgs,
}

fn import_with(line: &str, own: &[&str]) -> Result<ConnectArgs, Error> {
    let arguments = ["connect", "--curl", line].into_iter().chain(own.iter().copied());
    import(&Cli::try_parse_from(arguments).expect("arguments").connect)
}

fn imported(line: &str) -> ConnectArgs {
    import_with(line, &[]).expect("a line of curl's")
}

fn error(line: &str) -> String {
    import_with(line, &[]).expect_err(line).to_string()
}

#[test]
fn chromes_line_for_bash() {
    let args = imported(CHROME);
    assert_eq!(args.urls, ["wss://stream.example.com:9443/ws?stream=a%20b"]);
    let connection = args.connection;
    assert_eq!(
        connection.headers,
        [
            "Cache-Control: no-cache",
            "Accept-Language: en-GB,en;q=0.9",
            "Pragma: no-cache",
            "X-Note: it's !",
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
        ]
    );
    assert_eq!(connection.origin.as_deref(), Some("https://app.example.com"));
    assert_eq!(connection.cookies, ["session=abc123", "theme=dark"]);
    assert_eq!(connection.subprotocols, ["chat", "superchat"]);
    assert_eq!(connection.host, None);
}

#[test]
fn chromes_line_for_cmd() {
    let line = concat!(
        "curl ^\"wss://example.com/ws?a=1^&b=%^20c^\" ^\r\n",
        "  -H ^\"X-Json: ^{^\\^\"a^\\^\":1^}^\" ^\r\n",
        "  -H ^\"Origin: https://example.com^\" --insecure"
    );
    let args = imported(line);
    assert_eq!(args.urls, ["wss://example.com/ws?a=1&b=%20c"]);
    assert_eq!(args.connection.headers, [r#"X-Json: {"a":1}"#]);
    assert_eq!(args.connection.origin.as_deref(), Some("https://example.com"));
    assert!(args.connection.insecure);
}

#[test]
fn firefoxes_line() {
    let line = "curl 'https://example.com/ws' --compressed --http1.1 -H 'Host: example.com' \
                -H 'Cookie: a=1; b=2' -H 'DNT: 1' -H 'Accept-Encoding: gzip, deflate, br'";
    let args = imported(line);
    assert_eq!(args.urls, ["https://example.com/ws"]);
    assert_eq!(args.connection.cookies, ["a=1", "b=2"]);
    assert_eq!(args.connection.headers, ["DNT: 1", "Accept-Encoding: gzip, deflate, br"]);
    assert_eq!(args.connection.host, None, "it is the URL's");
}

#[test]
fn each_option_has_its_place() {
    let connection = |options: &str| imported(&format!("curl ws://h/ {options}")).connection;
    assert_eq!(connection("-u me:secret").user.as_deref(), Some("me:secret"));
    assert_eq!(connection("--oauth2-bearer T").bearer.as_deref(), Some("T"));
    assert_eq!(connection("-A agent").headers, ["User-Agent: agent"]);
    assert_eq!(connection("-H 'user-agent: a' -A b").headers, ["User-Agent: b"]);
    assert_eq!(connection("-e http://r/").headers, ["Referer: http://r/"]);
    assert_eq!(connection("-H 'Host: other'").host.as_deref(), Some("other"));
    assert_eq!(connection("-H 'X-Empty;'").headers, ["X-Empty;"]);
    assert_eq!(connection("-H ':authority: h'").headers, [""; 0]);
    assert_eq!(connection("--resolve +h:80:127.0.0.1,[::1]").resolve, ["h:80:127.0.0.1", "h:80:[::1]"]);
    let files = connection("--cacert ca --cert c --key k");
    assert_eq!((files.cacert, files.cert, files.key), (Some("ca".into()), Some("c".into()), Some("k".into())));
    let flags = connection("-ksSL -6 --tlsv1.3");
    assert!(flags.insecure && flags.location && flags.ipv6 && !flags.ipv4);
    assert_eq!(flags.tls_min, Some(TlsMin::V1_3));
    assert_eq!(imported("/usr/bin/curl -X GET --url ws://h/x").urls, ["ws://h/x"]);
}

#[test]
fn what_browsers_and_burp_and_people_add_is_taken() {
    // As Burp copies it.
    let burp =
        "curl --path-as-is -i -s -k -X $'GET' -H $'Host: h' -H $'Origin: http://o' -b $'a=1; b=2' $'https://h/x/../y'";
    let args = imported(burp);
    assert_eq!((args.urls, args.connection.insecure), (vec!["https://h/x/../y".to_owned()], true));
    assert_eq!(args.connection.cookies, ["a=1", "b=2"]);
    for options in [
        "--no-progress-meter -N -sS -f --fail-with-body -g -v -#",
        "--http2 --http2-prior-knowledge --http3 --http1.1 --compressed --tcp-nodelay --no-keepalive \
         --keepalive-time 2",
        "-o /dev/null -D - -c jar -w '%{http_code}' --stderr log -O -q --basic",
        "--retry 3 --retry-delay 1 --retry-max-time 10 --retry-all-errors --retry-connrefused",
        "-T . --upload-file -",
    ] {
        assert_eq!(imported(&format!("curl ws://h/ {options}")).urls, ["ws://h/"], "{options}");
    }
    let limits = imported("curl ws://h/ -m 2.5 --connect-timeout 3").connection;
    assert_eq!((limits.timeout, limits.connect_timeout), (Some(Duration::from_millis(2500)), Duration::from_secs(3)));
    let own = import_with("curl ws://h/ -m 2 --connect-timeout 3", &["--timeout", "9", "--connect-timeout", "7"]);
    let own = own.expect("a line of curl's").connection;
    assert_eq!((own.timeout, own.connect_timeout), (Some(Duration::from_secs(9)), Duration::from_secs(7)));
    assert_eq!(imported("curl ws://h/ -m 0 --connect-timeout 0").connection.timeout, None);
    for (line, what) in [
        ("Invoke-WebRequest -UseBasicParsing -Uri \"https://h/\" `\n-Headers @{}", "this is PowerShell"),
        ("$session = New-Object Microsoft.PowerShell.Commands.WebRequestSession\nx", "this is PowerShell"),
        ("curl.exe 'https://h/' `\n -H 'A: SECRET'", "this is PowerShell"),
        ("fetch(\"https://h/\", {})", "this is a fetch() call"),
        ("curl ws://h/ -I", "GET, not HEAD"),
        ("curl ws://h/ -T SECRET", "-T FILE is not supported"),
        ("curl ws://h/ -m SECRET", "--max-time"),
    ] {
        let error = error(line);
        assert!(error.contains(what) && !error.contains("SECRET"), "{line}: {error}");
    }
}

#[test]
fn flags_of_ones_own_win() {
    let line = "curl ws://h/ -u a:b -H 'Origin: http://o' -H 'X-A: 1' -H 'X-B: 1' -b 'c=1; d=1' \
                -H 'Authorization: Basic x' -H 'Sec-WebSocket-Protocol: p'";
    let own = ["ws://mine/", "--bearer", "T", "-o", "http://mine", "-H", "x-a: 2", "--cookie", "d=2", "-s", "q"];
    let args = import_with(line, &own).expect("a line of curl's");
    assert_eq!(args.urls, ["ws://mine/"]);
    let connection = args.connection;
    assert_eq!((connection.user, connection.bearer.as_deref()), (None, Some("T")));
    assert_eq!(connection.origin.as_deref(), Some("http://mine"));
    assert_eq!(connection.headers, ["X-B: 1", "x-a: 2"]);
    assert_eq!(connection.cookies, ["c=1", "d=2"]);
    assert_eq!(connection.subprotocols, ["q"]);
}

#[test]
fn what_cannot_be_carried_over_is_named_and_no_secret_with_it() {
    let table = [
        ("wget ws://h/", "does not begin with curl"),
        ("", "does not begin with curl"),
        ("curl", "no URL"),
        ("curl ws://h/ | jq .", "more than one URL"),
        ("curl 'ws://h/", "a quote is not closed"),
        ("curl $'ws://h/", "a quote is not closed"),
        ("curl ws://h/ --data-raw SECRET", "--data-raw is not supported"),
        ("curl ws://h/ --form=SECRET", "--form is not supported"),
        ("curl ws://h/ -dSECRET", "-d is not supported"),
        ("curl ws://h/ -X POST", "GET, not POST"),
        ("curl ws://h/ -H SECRET", "header in it is malformed"),
        ("curl ws://h/ -b SECRET", "-b FILE"),
        ("curl ws://h/ --cert none:SECRET", "FILE:PASSWORD"),
        ("curl ws://h/ --interface SECRET", "--interface"),
        ("curl ws://h/ -H", "--header"),
    ];
    for (line, expected) in table {
        let error = error(line);
        assert!(error.contains(expected), "{line}: {error}");
        assert!(!error.contains("SECRET") && !error.contains('\n'), "{line}: {error}");
    }
}

#[test]
fn words_are_split_as_bash_does() {
    let table: [(&str, &[&str]); 12] = [
        (r"a 'b c' d", &["a", "b c", "d"]),
        (r#"a "b \" $ c""#, &["a", "b \" $ c"]),
        ("a \\\n  b", &["a", "b"]),
        ("a \\\r\n  b", &["a", "b"]),
        (r"$'a\'b'", &["a'b"]),
        (r"x$'\n'y", &["x\ny"]),
        (r"$'\u00e9\xc3\xa9\303\251\U0001f600'", &["ééé😀"]),
        (r"$'\\ \t \a\b\e\f\r\v \? \q'", &["\\ \t \u{7}\u{8}\u{1b}\u{c}\r\u{b} ? \\q"]),
        (r"'$'\''x'", &["$'x"]),
        (r#""$'x'""#, &["$'x'"]),
        (r"\$'x y'", &["$x y"]),
        (r"''", &[""]),
    ];
    for (line, expected) in table {
        assert_eq!(
            words(line).as_deref(),
            Ok(expected.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice()),
            "{line}"
        );
    }
    for line in [r"$'\xff'", r"$'\ud800'", r"$'\x'", r"$'\u'", "'a", "\"a", r"$'a\"] {
        assert!(words(line).is_err(), "{line}");
    }
}
