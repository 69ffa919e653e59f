//! Settings: the order of their layers, the origin each keeps, profiles, and what is said when they are wrong.
//!
//! Owns `wsp config`, `@PROFILE` and `WSP_*`. Leaves what each option does to the module of its subcommand.

use serde_json::Value;

use crate::support::{FakeServer, Frame, Run, Server, closed_port, events, listen, run, scratch, text, write, wsp};

/// A home for settings with this file in it.
struct Home(tempfile::TempDir);

impl Home {
    fn with(file: &str) -> Self {
        let home = scratch();
        let directory = home.path().join("wscat-plus");
        std::fs::create_dir(&directory).expect("a directory");
        std::fs::write(directory.join("config.toml"), file).expect("a file");
        Self(home)
    }

    fn wsp(&self, arguments: &[&str]) -> Run {
        wsp(arguments).env("XDG_CONFIG_HOME", self.0.path())
    }

    /// `wsp config show --json` with these arguments: option, value and origin of each row.
    fn shown(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Vec<Value> {
        let mut run = self.wsp(&["config", "show", "--json"]).args(arguments);
        for (name, value) in variables {
            run = run.env(name, value);
        }
        events(run.input("").exits(0).stdout())
    }
}

/// The value and origin of an option's only row.
fn row(rows: &[Value], option: &str) -> (String, String) {
    let mut found = rows.iter().filter(|row| row["option"] == option);
    let row = found.next().unwrap_or_else(|| panic!("no {option} in {rows:?}"));
    assert!(found.next().is_none(), "{option} once: {rows:?}");
    (row["value"].as_str().expect("text").to_owned(), row["origin"].as_str().expect("text").to_owned())
}

type Words = &'static [&'static str];
type Variables<'a> = &'a [(&'static str, &'static str)];

#[test]
fn a_flag_beats_a_variable_that_beats_a_profile_that_beats_the_default() {
    let home = Home::with("[profile.p]\nurl = 'ws://h/'\nconnect-timeout = '3s'\n");
    let variable = [("WSP_CONNECT_TIMEOUT", "4s")];
    let cases: [(Words, Variables<'_>, &str, &str); 4] = [
        (&["@p", "--connect-timeout", "5s"], &variable, "5s", "flag"),
        (&["@p"], &variable, "4s", "env"),
        (&["@p"], &[], "3s", "profile"),
        (&["ws://h/"], &[], "10s", "default"),
    ];
    for (arguments, variables, value, origin) in cases {
        let rows = home.shown(arguments, variables);
        assert_eq!(row(&rows, "connect-timeout"), (value.to_owned(), origin.to_owned()), "{arguments:?}");
    }
    let rows = home.shown(&["@p"], &[]);
    let timeout = rows.iter().find(|row| row["option"] == "connect-timeout").expect("a row");
    assert!(timeout["from"].as_str().expect("a path").ends_with("wscat-plus/config.toml"), "{timeout}");
    assert_eq!((&timeout["line"], row(&rows, "url").1.as_str()), (&Value::from(3), "profile"));
}

#[test]
fn a_profile_connects_with_its_options_and_headers_add_up_by_name() {
    for (arguments, agent, extra) in [
        (&["@p"][..], "mine", None),
        (&["connect", "@p"], "mine", None),
        (&["connect", "@p", "-H", "user-agent: other", "-H", "X-More: 1"], "other", Some("1")),
    ] {
        let server = FakeServer::once(move |request| {
            assert_eq!(request.header("authorization"), Some("Bearer s3cret"));
            assert_eq!(request.header("user-agent"), Some(agent));
            assert_eq!(request.header("x-more"), extra);
            assert_eq!(request.header("sec-websocket-extensions"), None);
            assert_eq!(request.target(), "/feed");
            let mut socket = request.accept();
            assert_eq!(socket.read_text(), "subscribe");
            assert_eq!(socket.read_text(), "hello");
            socket.say(Frame::text("welcome"));
            socket.answer_close();
        });
        let home = Home::with(&format!(
            "[profile.p]\nurl = '{}feed'\nheader = ['Authorization: Bearer s3cret', 'User-Agent: mine']\n\
             init = ['subscribe']\ncompress = false\ncount = 1\n",
            server.url
        ));
        home.wsp(arguments).input("hello\n").exits(0).prints("welcome\n");
        server.join();
    }
}

#[test]
fn credentials_of_the_command_line_take_the_place_of_the_profiles() {
    let home =
        Home::with("[profile.p]\nurl = 'ws://h/'\nheader = ['Authorization: Basic eDp5', 'X-A: 1']\nuser = 'a:b'\n");
    let rows = home.shown(&["@p", "--bearer", "t"], &[]);
    assert_eq!(row(&rows, "bearer"), ("[redacted]".to_owned(), "flag".to_owned()));
    assert_eq!(row(&rows, "header"), ("X-A: 1".to_owned(), "profile".to_owned()));
    assert!(rows.iter().all(|row| row["option"] != "user"), "{rows:?}");
}

#[test]
fn what_is_excluded_by_something_higher_gives_way() {
    let home = Home::with("[profile.p]\nurl = 'ws://h/'\ncompress = true\nexecute = ['x']\ninsecure = true\n");
    let rows = home.shown(&["@p", "--no-compress", "--echo"], &[("WSP_INSECURE", "false")]);
    for gone in ["compress", "execute", "insecure"] {
        assert!(rows.iter().all(|row| row["option"] != gone), "{gone}: {rows:?}");
    }
    assert_eq!(row(&rows, "no-compress").1, "flag");
    // The server's modes are a group of which one is chosen.
    let rows = home.shown(&["listen", "--sink"], &[("WSP_BROADCAST", "true"), ("WSP_NO_SELF", "1")]);
    assert!(rows.iter().all(|row| row["option"] != "broadcast" && row["option"] != "no-self"), "{rows:?}");
    assert_eq!(row(&rows, "sink").1, "flag");
}

#[test]
fn a_variable_holds_for_every_subcommand_that_has_the_option() {
    let server = wsp(["listen", "127.0.0.1:0"]).env("WSP_ECHO", "true").env("WSP_NON_JSON", "drop").spawn();
    let line = server.wait_for_stderr("listening on ");
    let url = line.split("listening on ").nth(1).expect("an address");
    wsp(["connect", url, "-x", "hello"])
        .env("WSP_COUNT", "1")
        .env("WSP_QUEUE_SIZE", "5")
        .input("")
        .exits(0)
        .prints("hello\n");
    wsp(["connect", url, "-w", "0"])
        .env("WSP_INIT", "one\ntwo")
        .env("WSP_COUNT", "2")
        .env("WSP_WAIT", "-1")
        .input("")
        .exits(0);
    wsp(["connect", url])
        .env("WSP_INIT", "one\ntwo")
        .env("WSP_COUNT", "2")
        .env("WSP_WAIT", "-1")
        .input("")
        .exits(0)
        .prints("one\ntwo\n");
}

#[test]
fn unknown_names_are_2_with_the_nearest_known_one() {
    let home = Home::with("[profile.p]\nurl = 'ws://h/'\nconect-timeout = 1\n\n[profile.q]\ninsecur = true\n");
    let output = home.wsp(&["connect", "@p"]).env("WSP_RETRY_DELAYS", "1").input("").exits(2).prints("");
    let lines: Vec<_> = output.stderr.lines().collect();
    assert_eq!(lines.len(), 4, "every fault, each with its hint: {lines:?}");
    assert!(
        lines[0].starts_with("wsp: ") && lines[0].contains("config.toml:3: [profile.p] conect-timeout"),
        "{lines:?}"
    );
    assert_eq!(lines[1], "hint: did you mean 'connect-timeout'?");
    assert!(lines[2].contains("config.toml:6: [profile.q] insecur"), "{lines:?}");
    assert_eq!(lines[3], "hint: did you mean 'insecure'?");
    wsp(["connect", "ws://127.0.0.1:1/"])
        .env("WSP_CONECT_TIMEOUT", "3s")
        .input("")
        .exits(2)
        .complains("WSP_CONECT_TIMEOUT")
        .complains("hint: did you mean WSP_CONNECT_TIMEOUT?");
    let home = Home::with("[profile.production]\nurl = 'ws://h/'\n");
    home.wsp(&["@prodution"]).input("").exits(2).complains("did you mean @production?");
    wsp(["@nowhere"]).input("").exits(2).complains("no profile 'nowhere'").complains("wsp config sample");
}

#[test]
fn variables_the_command_line_names_are_the_users_own() {
    let server = listen(&["--echo"]);
    wsp(["connect", &server.url, "-n", "1", "--bearer-env", "WSP_MY_TOKEN"])
        .env("WSP_MY_TOKEN", "t")
        .env("WSP_TEST_SOMETHING", "1")
        .input("hello\n")
        .exits(0)
        .prints("hello\n");
    let template = "{{env.WSP_GREETING}}";
    wsp(["connect", &server.url, "-n", "1", "--template", "-x", template])
        .env("WSP_GREETING", "hi")
        .input("")
        .exits(0)
        .prints("hi\n");
}

#[test]
fn wrong_values_name_where_they_stand() {
    let home = Home::with(
        "[profile.p]\nurl = 'ws://h/'\nconnect-timeout = 'soon'\nnon-json = 'maybe'\nwithin = 5\njson = true\nformat \
         = 'raw'\n",
    );
    let output = home.wsp(&["connect", "@p"]).env("WSP_INSECURE", "perhaps").input("").exits(2);
    for part in [
        "wsp: WSP_INSECURE: invalid value 'perhaps'",
        "config.toml:3: [profile.p] connect-timeout: invalid duration 'soon'",
        "config.toml:4: [profile.p] non-json: invalid value 'maybe'; use one of drop, pass, error",
        "config.toml:5: [profile.p] within: requires expect",
        "config.toml:7: [profile.p] format: cannot be combined with json",
    ] {
        assert!(output.stderr.contains(part), "{part}: {}", output.stderr);
    }
    wsp(["connect", "ws://127.0.0.1:1/"]).env("WSP_COUNT", "0").input("").exits(2).complains("wsp: WSP_COUNT: ");
    // What shows only later names its origin too.
    wsp(["connect", "ws://127.0.0.1:1/"]).env("WSP_JQ", ".[").input("").exits(7).complains("it was set by WSP_JQ");
    let home = Home::with("[profile.p]\nurl = 'ws://h/'\njq = '.['\n");
    home.wsp(&["@p"]).input("").exits(7).complains("config.toml:3: [profile.p] jq");
    let home = Home::with("[profile.p]\nurl = 'wss://h/'\ncacert = '/no/such.pem'\n[profile.q]\nurl = 'ftp://h/'\n");
    home.wsp(&["@p"]).input("").exits(8).complains("/no/such.pem").complains("config.toml:3: [profile.p] cacert");
    home.wsp(&["@q"]).input("").exits(2).complains("config.toml:5: [profile.q] url: unknown scheme 'ftp'");
}

#[test]
fn errors_of_the_command_line_itself_stay_what_they_were() {
    let home = Home::with("[profile.p]\nurl = 'ws://h/'\ninsecure = true\n");
    let output = home.wsp(&["connect", "@p", "--no-such"]).input("").exits(2).complains("--no-such");
    assert!(!output.stderr.contains("--insecure"), "{}", output.stderr);
    let output = home.wsp(&["connect", "--no-such"]).input("").exits(2);
    assert!(!output.stderr.contains("-- --no-such"), "{}", output.stderr);
    home.wsp(&["connect", "@p", "--timeout", "soon"]).input("").exits(2).complains("--timeout");
    home.wsp(&["connect", "--help"]).env("WSP_NONSENSE", "1").input("").exits(0);
}

#[test]
fn a_profile_must_say_where_to_and_stands_alone() {
    let home = Home::with("[profile.p]\ninsecure = true\n[profile.q]\nurl = 'ws://h/'\nbearer = 's3cret'\n");
    home.wsp(&["@p"]).input("").exits(2).complains("[profile.p] has no url").complains("hint: ");
    // Its credentials are not for the other server, whichever is named first.
    for targets in [
        &["connect", "@q", "ws://127.0.0.1:1/"][..],
        &["connect", "ws://127.0.0.1:1/", "@q"],
        &["connect", "@q", "@p"],
        &["@q", "127.0.0.1:1"],
        &["@q", "-n", "1", "@q"],
        &["config", "show", "@q", "@p"],
    ] {
        let output = home.wsp(targets).input("").exits(2).prints("");
        output.complains("@q cannot be combined with other URLs").complains("hint: give its URL and options as flags");
    }
    let home = Home::with("[profile.p]\nbearer = s3cret\n");
    let output = home.wsp(&["@p"]).input("").exits(2).complains("config.toml:2: ");
    assert!(!output.stderr.contains("s3cret"), "{}", output.stderr);
}

#[test]
fn no_secret_is_shown() {
    let home = Home::with(
        "[profile.p]\nurl = 'wss://me:s3cret@h/?access_token=s3cret'\n\
         header = ['Authorization: Bearer s3cret', 'Cookie: a=s3cret', 'X-Plain: seen']\ncookie = ['id=s3cret']\n",
    );
    for form in [&["@p"][..], &["--json", "@p"], &[], &["connect", "wss://a:s3cret@h/", "-u", "a:s3cret"]] {
        let run = home.wsp(&["config", "show"]).args(form);
        let output = run.env("WSP_USER", "me:s3cret").env("WSP_BEARER", "s3cret").input("").exits(0);
        let shown = output.stdout();
        assert!(!shown.contains("s3cret") && shown.contains("[redacted]"), "{form:?}: {shown}");
    }
    let shown = home.wsp(&["config", "show", "@p"]).input("").exits(0);
    assert!(shown.stdout().contains("X-Plain: seen"), "{}", shown.stdout());
}

#[test]
fn show_lists_the_profiles_and_the_origins() {
    let home = Home::with("[profile.one]\nurl = 'ws://a/'\n[profile.two]\nurl = 'ws://b/'\n");
    let output = home.wsp(&["config", "show"]).env("WSP_ORIGIN", "https://o").input("").exits(0);
    let line = |start: &str| output.stdout().lines().find(|line| line.starts_with(start)).expect(start).to_owned();
    assert!(line("@one").contains("ws://a/") && line("@two").ends_with("config.toml:4: [profile.two]"));
    assert!(line("origin ").contains("https://o") && line("origin ").ends_with("WSP_ORIGIN"));
    assert!(line("ping-interval ").contains("20s") && line("ping-interval ").ends_with("default"));
    let output = home.wsp(&["config", "show", "-k"]).input("").exits(0);
    assert!(output.stdout().lines().any(|line| line.starts_with("insecure ") && line.ends_with("flag")));
    let output = home.wsp(&["config", "show", "listen", "9000", "--echo"]).input("").exits(0);
    assert!(output.stdout().lines().any(|line| line.starts_with("echo ") && line.ends_with("flag")));
}

#[test]
fn retries_without_a_number_read_as_a_word_that_is_taken_too() {
    for wish in ["true", "'unlimited'"] {
        let home = Home::with(&format!("[profile.p]\nurl = 'ws://h/'\nreconnect = {wish}\n"));
        let rows = home.shown(&["@p"], &[]);
        assert_eq!(row(&rows, "reconnect").0, "unlimited");
    }
    run(&["connect", "ws://h/", "--reconnect=many"], "").exits(2).complains("invalid number of retries 'many'");
}

#[test]
fn path_prints_the_path_alone() {
    let home = Home::with("");
    let path = home.0.path().join("wscat-plus/config.toml");
    let output = home.wsp(&["config", "path"]).input("").exits(0).prints(&format!("{}\n", path.display()));
    assert_eq!(output.stderr, "");
    wsp(["config", "path"])
        .env("XDG_CONFIG_HOME", "")
        .env("HOME", "/h")
        .input("")
        .exits(0)
        .prints("/h/.config/wscat-plus/config.toml\n")
        .complains("wsp config sample");
}

#[test]
fn every_key_of_the_sample_is_known_and_no_option_is_missing() {
    let sample = wsp(["config", "sample"]).input("").exits(0);
    // As it is it can be used.
    let rows = Home::with(sample.stdout()).shown(&["@local"], &[]);
    assert_eq!(row(&rows, "url").0, "ws://localhost:8080/");
    // With every key in force.
    let is_key = |line: &&str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
    let keys: Vec<&str> = sample.stdout().lines().filter_map(|line| line.strip_prefix("# ").filter(is_key)).collect();
    let with_keys = |more: &str| format!("[profile.all]\nurl = 'ws://h/'\n{}\n{more}", keys.join("\n"));
    Home::with(&with_keys("")).wsp(&["config", "show"]).input("").exits(0);
    Home::with(&with_keys("no-such-key = 1\n")).wsp(&["config", "show"]).input("").exits(2);
    for command in ["connect", "listen"] {
        let help = wsp([command, "--help"]).input("").exits(0);
        let options = help.stdout().lines().filter(|line| line.starts_with("  ") && line.trim_start().starts_with('-'));
        let names: Vec<String> = options
            // What takes two values, such as --arg, has no form in a file.
            .filter(|line| line.matches("> <").count() == 0)
            .filter_map(|line| line.split_once("--"))
            .map(|(_, rest)| rest.split([' ', '[', '=', ',']).next().unwrap_or_default().to_owned())
            .filter(|name| name != "help")
            .collect();
        assert!(names.len() > 20, "{names:?}");
        for name in names {
            let found = keys.iter().any(|key| key.starts_with(&format!("{name} = ")));
            assert!(found, "{command} --{name} is not in the sample");
        }
    }
}

#[test]
fn a_profile_is_an_end_of_a_relay_with_options_of_its_own() {
    let (server, plain) = (listen(&["--json"]), listen(&["--json"]));
    let home = Home::with(&format!("[profile.prod]\nurl = '{}x'\ninit = ['first']\nsubprotocol = ['a']\n", server.url));
    let relay = home.wsp(&["relay", "-", "@prod", &plain.url]).input("1\n2\n");
    assert!(relay.exits(0).stderr.contains("received 2 = delivered 2 "));
    let texts = |server: Server| -> Vec<String> {
        let all = events(server.stop().stdout());
        all.iter().filter(|event| event["type"] == "text").map(|event| event["text"].to_string()).collect()
    };
    assert_eq!(texts(server), ["\"first\"", "\"1\"", "\"2\""]);
    assert_eq!(texts(plain), ["\"1\"", "\"2\""], "the other end is as it was");

    // What is given stands above the profile, which is redacted and known by its address.
    let closed = format!("127.0.0.1:{}", closed_port());
    let home =
        Home::with(&format!("[profile.gone]\nurl = 'ws://u:p@{closed}/'\nreconnect = '5'\nretry-delay = '1h'\n"));
    let output = home.wsp(&["relay", "@gone", "null:", "--reconnect=1", "--retry-delay", "1ms"]).input("").exits(9);
    let output = output.complains(&closed).complains("gave up after 1 retry");
    assert!(!output.stderr.contains("u:p"), "{}", output.stderr);
    home.wsp(&["relay", "@gon", "null:"]).input("").exits(2).complains("did you mean @gone?");
    home.wsp(&["relay", "-", "null:", "--route", ". => @gon"]).input("").exits(2).complains("did you mean @gone?");
    let directory = scratch();
    let file = write(&directory, "relay.toml", "[[pipeline]]\nfrom = '@gon'\nto = 'null:'\n");
    let output = home.wsp(&["relay", "-f", &text(&file), "--check"]).input("").exits(2);
    output.complains("relay.toml:2: pipeline 1: no profile 'gon'").complains("hint: did you mean @gone?");
    let home = Home::with("[profile.odd]\nurl = 'ws://h/'\nreconect = true\n");
    let file = write(&directory, "relay.toml", "[[pipeline]]\nfrom = '-'\nto = '@odd'\n");
    let output = home.wsp(&["relay", "-f", &text(&file), "--check"]).input("").exits(2);
    output.complains("relay.toml:3: pipeline 1: ").complains("hint: did you mean 'reconnect'?");
}

#[test]
fn a_profile_says_how_to_stay_connected() {
    let home = Home::with(
        "[profile.p]\nurl = 'ws://h/'\nreconnect = 5\nretry-on = 'default,401'\nretry-jitter = 'none'\n\
         retry-step = '2s'\nstable-after = '1m'\nresume = '.seq => {{value}}'\nbearer-command = 'vault read'\n\
         init = ['a', 'b']\ninit-wait = ['.a', '.b']\nheader = ['@headers']\n",
    );
    let rows = home.shown(&["@p"], &[]);
    for (name, value) in [
        ("reconnect", "5"),
        ("retry-on", "default,401"),
        ("retry-jitter", "none"),
        ("retry-step", "2s"),
        ("stable-after", "1m"),
        ("resume", ".seq => {{value}}"),
        ("bearer-command", "vault read"),
        ("header", "@headers"),
    ] {
        assert_eq!(row(&rows, name).0, value, "{name}");
    }
    let waits: Vec<_> = rows.iter().filter(|row| row["option"] == "init-wait").map(|row| &row["value"]).collect();
    assert_eq!(waits, [&serde_json::json!([".a", ".b"])]);
}

#[test]
fn a_variable_of_somebody_else_is_said_once_and_stops_nothing() {
    let server = listen(&["--echo"]);
    let run = || wsp(["connect", &server.url, "-n", "1"]).env("WSP_SERVICE_URL", "x").env("WSP_ZONE_42", "y");
    let output = run().input("hello\n").exits(0).prints("hello\n");
    assert_eq!(output.stderr.matches("WSP_").count(), 2, "{}", output.stderr);
    assert!(output.stderr.contains("not a wsp option, ignored"), "{}", output.stderr);
    assert_eq!(run().arg("-q").input("hello\n").exits(0).prints("hello\n").stderr, "");
}
