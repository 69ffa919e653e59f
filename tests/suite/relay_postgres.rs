//! `postgres://` as TO of `wsp relay`, against a real PostgreSQL: rows and their types, rows that are refused, conflicts,
//! restarts, TLS, and what is said of an address that does not work.

use serde_json::Value;

use crate::support::balance::Balance;
use crate::support::certs::Authority;
use crate::support::files::read;
use crate::support::stores::{Postgres, SOON};
use crate::support::{Output, closed_port, require, run, scratch, text, wsp};

/// Runs a relay of these lines into an address.
fn relay(url: &str, more: &[&str], input: &str) -> Output {
    run(&[&["relay", "-", url], more, &SOON[..]].concat(), input)
}

#[test]
fn each_field_becomes_the_column_of_its_name_in_its_type() {
    if !require("postgres") {
        return;
    }
    let server = Postgres::shared();
    let table = server.table(
        "id int8, price numeric, at timestamptz, day timestamp, tags text[], grid int[], doc jsonb, raw json, \
         bytes bytea, u uuid, ok boolean DEFAULT true, f float8, \"Odd \"\"name\" text",
    );
    let input = concat!(
        r#"{"id":9007199254740993,"price":1.10,"at":"2026-01-02T03:04:05+01:00","day":"2026-01-02 03:04:05.5","#,
        r#""tags":["a","b\"c\\",null],"grid":[[1,2],[3,4]],"doc":{"b":[1,{"c":null}]},"raw":"x","bytes":"\\x00ff","#,
        r#""u":"6a2f41a3-c54c-fce8-32d2-0324e1c32e22","ok":false,"f":1e-3,"Odd \"name":"ä'; DROP TABLE x"}"#,
        "\n{\"id\":2.0,\"doc\":null,\"f\":null}\n"
    );
    let output = relay(&server.url(&format!("/{table}")), &[], input).exits(0);
    assert_eq!(Balance::of(&output), Balance::all_delivered(2));
    let rows = server.ask(&format!("SET timezone = 'UTC'; SELECT * FROM {table} ORDER BY id DESC"));
    let expected = "9007199254740993|1.10|2026-01-02 02:04:05+00|2026-01-02 03:04:05.5|{a,\"b\\\"c\\\\\",NULL}|\
                    {{1,2},{3,4}}|{\"b\": [1, {\"c\": null}]}|\"x\"|\\x00ff|6a2f41a3-c54c-fce8-32d2-0324e1c32e22|f|\
                    0.001|ä'; DROP TABLE x\n2||||||||||t||";
    assert_eq!(rows, expected);
}

#[test]
fn columns_and_placeholders_are_what_filters_yield() {
    if !require("postgres") {
        return;
    }
    let server = Postgres::shared();
    let table = server.table("symbol text, mid numeric, kind text, note text DEFAULT 'none'");
    let url = server.url(&format!("/public.{table}?columns=symbol,mid=((.bid+.ask)/2),kind=$meta.type,note=empty"));
    relay(&url, &[], "{\"symbol\":\"A,B\",\"bid\":1,\"ask\":2}\n").exits(0);
    assert_eq!(server.ask(&format!("SELECT * FROM {table}")), "A,B|1.5|text|");
    let url =
        server.url(&format!("?sql=UPDATE {table} SET mid = $1 WHERE symbol = $2&params=.mid,([.a,.b]|join(\",\"))"));
    relay(&url, &[], "{\"mid\":7,\"a\":\"A\",\"b\":\"B\"}\n").exits(0);
    assert_eq!(server.ask(&format!("SELECT symbol, mid FROM {table}")), "A,B|7");
    // Text that is no JSON is a string where that is asked for.
    let url = server.url(&format!("/{table}?columns=note=."));
    relay(&url, &["--raw-input"], "plain text\n").exits(0);
    assert_eq!(server.ask(&format!("SELECT note FROM {table} WHERE symbol IS NULL")), "plain text");
}

#[test]
fn a_row_that_is_refused_is_alone_a_dead_letter_with_the_reason() {
    if !require("postgres") {
        return;
    }
    let server = Postgres::shared();
    let table = server.table("id int PRIMARY KEY, price numeric(6,2) CHECK (price >= 0)");
    server.ask(&format!(
        "CREATE FUNCTION refuse_{table}() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF NEW.id = 13 THEN RAISE EXCEPTION ''not thirteen''; END IF; RETURN NEW; END'; \
         CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_{table}()"
    ));
    let directory = scratch();
    let dead = text(&directory.path().join("dead"));
    let refused = [
        ("{\"id\":\"x\"}", "22P02"),
        ("{\"id\":1}", "duplicate key value violates unique constraint"),
        ("{\"id\":2,\"price\":-1}", "23514"),
        ("{\"id\":3,\"price\":12345}", "22003"),
        ("{\"id\":13}", "not thirteen (SQLSTATE P0001)"),
        ("{\"price\":1}", "23502"),
        ("{\"id\":4,\"more\":1}", "column \"more\" of relation"),
        ("[4]", "not a JSON object"),
        ("hello", "not JSON"),
    ];
    let input: String =
        refused.iter().enumerate().map(|(n, (line, _))| format!("{{\"id\":{}}}\n{line}\n", n + 20)).collect();
    let url = server.url(&format!("/{table}"));
    let output = relay(&url, &["--dead-letter", &dead], &format!("{{\"id\":1}}\n{input}")).exits(30);
    let expected = Balance { delivered: 10, dead_lettered: 9, ..Balance::all_delivered(19) };
    assert_eq!(Balance::of(&output), expected);
    assert_eq!(server.ask(&format!("SELECT count(*), max(id) FROM {table}")), "10|28");
    let letters: Vec<Value> =
        read(dead.as_ref()).lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    assert_eq!(letters.len(), refused.len());
    for (message, reason) in refused {
        let letter = letters.iter().find(|letter| letter["text"] == message).expect(message);
        assert!(letter["error"].as_str().is_some_and(|error| error.contains(reason)), "{letter}");
    }
}

#[test]
fn constraints_that_are_checked_at_the_end_refuse_their_rows_alone() {
    if !require("postgres") {
        return;
    }
    let server = Postgres::shared();
    let parents = server.table("id int PRIMARY KEY");
    server.ask(&format!("INSERT INTO {parents} VALUES (1)"));
    let table = server.table(&format!("id int, parent int REFERENCES {parents} DEFERRABLE INITIALLY DEFERRED"));
    let input = "{\"id\":1,\"parent\":1}\n{\"id\":2,\"parent\":9}\n{\"id\":3,\"parent\":1}\n";
    let output = relay(&server.url(&format!("/{table}")), &[], input).exits(0);
    assert!(output.stderr.contains("dropped 1 (rejected 1)") && output.stderr.contains("23503"), "{}", output.stderr);
    assert_eq!(server.ask(&format!("SELECT string_agg(id::text, ',' ORDER BY id) FROM {table}")), "1,3");
}

#[test]
fn a_conflict_keeps_the_row_or_overwrites_it() {
    if !require("postgres") {
        return;
    }
    let server = Postgres::shared();
    let table = server.table("a int, b int, c text, PRIMARY KEY (a, b)");
    let input = "{\"a\":1,\"b\":1,\"c\":\"x\"}\n{\"a\":1,\"b\":1,\"c\":\"y\"}\n{\"a\":1,\"b\":2,\"c\":\"z\"}\n";
    let rows = || server.ask(&format!("SELECT * FROM {table} ORDER BY b"));
    for (conflict, expected) in
        [("nothing", "1|1|x\n1|2|z"), ("update&key=a,b", "1|1|y\n1|2|z"), ("nothing&key=a,b", "1|1|y\n1|2|z")]
    {
        let output = relay(&server.url(&format!("/{table}?conflict={conflict}")), &[], input).exits(0);
        assert_eq!(Balance::of(&output), Balance::all_delivered(3), "{conflict}");
        assert_eq!(rows(), expected, "{conflict}");
    }
    let output = relay(&server.url(&format!("/{table}?conflict=update&key=c")), &[], input).exits(30);
    assert!(output.stderr.contains("42P10"), "{}", output.stderr);
}

#[test]
fn a_server_that_is_killed_in_the_middle_loses_nothing() {
    const COUNT: u32 = 30_000;

    if !require("postgres") {
        return;
    }
    let mut server = Postgres::start();
    let table = server.table("id int PRIMARY KEY");
    let url = server.url(&format!("/{table}?columns=id=.&conflict=nothing"));
    let mut relay = wsp(["relay", "-", &url, "--batch", "100"]).args(SOON).args(["--reconnect=1000"]).spawn();
    let mut input = relay.take_input();
    let feeding = std::thread::spawn(move || {
        let lines: String = (1..=COUNT).map(|number| format!("{number}\n")).collect();
        std::io::Write::write_all(&mut input, lines.as_bytes()).expect("all is fed");
    });
    for part in 1..=3 {
        let enough = COUNT / 6 * part;
        crate::support::files::wait_until("some rows", || {
            let count: u32 = server.ask(&format!("SELECT count(*) FROM {table}")).parse().expect("a number");
            (count >= enough).then_some(())
        });
        server.kill();
        relay.wait_for_stderr("retrying in");
        server.go();
    }
    feeding.join().expect("all is fed");
    let output = relay.outcome().exits(0);
    assert_eq!(Balance::of(&output), Balance::all_delivered(u64::from(COUNT)));
    assert_eq!(server.ask(&format!("SELECT count(*), min(id), max(id) FROM {table}")), format!("{COUNT}|1|{COUNT}"));
}

#[test]
fn a_server_that_comes_later_gets_what_waited() {
    if !require("postgres") {
        return;
    }
    let mut server = Postgres::start();
    let table = server.table("id int");
    server.kill();
    let url = server.url(&format!("/{table}?columns=id=."));
    let mut relay = wsp(["relay", "-", &url, "--reconnect=1000"]).args(SOON).spawn();
    relay.send("1\n2\n");
    relay.wait_for_stderr("refused");
    server.go();
    assert_eq!(Balance::of(&relay.finish().exits(0)), Balance::all_delivered(2));
    assert_eq!(server.ask(&format!("SELECT count(*) FROM {table}")), "2");
}

#[test]
fn who_may_not_come_in_is_told_and_no_password_is_shown() {
    if !require("postgres") {
        return;
    }
    let server = Postgres::shared();
    let table = server.table("id int");
    server
        .ask(&format!("CREATE ROLE guest_{table} LOGIN PASSWORD 'hunter2'; GRANT INSERT ON {table} TO guest_{table}"));
    let place = format!("127.0.0.1:{}/postgres/{table}?columns=id=.", server.port);
    relay(&format!("postgres://guest_{table}:hunter2@{place}"), &[], "1\n").exits(0);
    let by_variable = format!("postgres://guest_{table}@{place}&password-env=PW");
    wsp(["relay", "-", &by_variable]).env("PW", "hunter2").input("2\n").exits(0);
    wsp(["relay", "-", &format!("postgres://guest_{table}@{place}")])
        .env("PGPASSWORD", "hunter2")
        .input("3\n")
        .exits(0);
    assert_eq!(server.ask(&format!("SELECT count(*) FROM {table}")), "3");
    let wrong = relay(&format!("postgres://guest_{table}:hunter3@{place}"), &["-v"], "1\n").exits(30);
    assert!(wrong.stderr.contains("28P01") && wrong.stderr.contains("password-env"), "{}", wrong.stderr);
    let none = relay(&format!("postgres://guest_{table}@{place}"), &[], "1\n").exits(30);
    assert!(none.stderr.contains("password"), "{}", none.stderr);
    for output in [wrong, none] {
        assert!(!output.stderr.contains("hunter"), "{}", output.stderr);
    }
    server.ask(&format!("REVOKE INSERT ON {table} FROM guest_{table}"));
    let output = relay(&format!("postgres://guest_{table}:hunter2@{place}"), &[], "1\n").exits(30);
    assert!(output.stderr.contains("permission denied for table"), "{}", output.stderr);
}

#[test]
fn tls_is_by_the_flags_of_all_ends() {
    if !require("postgres") {
        return;
    }
    let authority = Authority::new();
    let server = Postgres::secure(&authority.server(&["127.0.0.1"]));
    let table = server.table("id int, encrypted boolean");
    let is_encrypted = "INSERT INTO %t SELECT $1::int, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let url = server.url(&format!("?params=.&sql={}", is_encrypted.replace("%t", &table)));
    let ca = authority.ca();
    // Where the server offers it, it is used; whoever insists on it checks the certificate.
    relay(&url, &[], "1\n").exits(0);
    relay(&url, &["--cacert", &ca], "2\n").exits(0);
    relay(&url, &["-k"], "3\n").exits(0);
    relay(&format!("{url}&sslmode=disable"), &[], "4\n").exits(0);
    assert_eq!(server.ask(&format!("SELECT * FROM {table} ORDER BY id")), "1|t\n2|t\n3|t\n4|f");
    let output = relay(&format!("{url}&sslmode=verify-full"), &[], "5\n").exits(30);
    assert!(output.stderr.contains("certificate") && output.stderr.contains("--cacert"), "{}", output.stderr);
    let output = relay(&url, &["--cacert", &ca, "--sni", "other.test"], "5\n").exits(30);
    assert!(output.stderr.contains("mismatch"), "{}", output.stderr);
    let plain = Postgres::shared();
    let output = relay(&plain.url("?sql=SELECT 1&sslmode=require"), &[], "5\n").exits(30);
    assert!(output.stderr.contains("server does not support TLS"), "{}", output.stderr);
}

#[test]
fn what_does_not_work_is_named() {
    if !require("postgres") {
        return;
    }
    let server = Postgres::shared();
    let table = server.table("id int");
    let failing = [
        (server.url(&format!("/{table}?columns=id=.,nope=.")), "column \"nope\" of relation"),
        (server.url("/no_such_table?columns=id=."), "relation \"no_such_table\" does not exist (SQLSTATE 42P01)"),
        (server.url("?sql=INSERT INTO x&params=."), "42601"),
        (server.url(&format!("?sql=INSERT INTO {table} VALUES ($1, $2)&params=.")), "42601"),
        (
            server.url(&format!("?sql=INSERT INTO {table} VALUES ($1)&params=.,.")),
            "1 placeholders and ?params 2 filters",
        ),
        (
            server.url(&format!("/{table}?columns=id=.")).replace("/postgres/", "/nowhere/"),
            "database \"nowhere\" does not exist",
        ),
        (format!("postgres://wsp@127.0.0.1:{}/db/t", closed_port()), "refused"),
    ];
    for (url, reason) in failing {
        // Before the first message, unless the server may only be late.
        let output = relay(&url, &[], "1\n").exits(30);
        assert!(output.stderr.contains(reason), "{url}: {}", output.stderr);
        assert_eq!(Balance::of(&output).waiting, 1, "{url}");
    }
    for (url, reason) in [
        ("postgres://me@h/db/t?colums=a", "unknown parameter ?colums"),
        ("postgres://me@h/db/t?conflict=update", "requires ?key"),
        ("postgres://h", "no database"),
    ] {
        run(&["relay", "-", url], "").exits(2).complains(reason);
    }
    run(&["relay", "-", "postgres://me@h/db/t?columns=a=.b["], "").exits(7).complains("?columns");
    run(&["relay", "postgres://me@h/db/t", "-"], "").exits(2).complains("provides no messages");
}
