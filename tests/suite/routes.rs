//! `--route`: destinations by content, what each of them is sent, and their form in a file of pipelines.

use crate::support::balance::Balance;
use crate::support::files::read;
use crate::support::{run, scratch, text, write};

#[test]
fn a_route_sends_what_its_own_filter_makes_of_a_message() {
    let directory = scratch();
    let path = |name: &str| text(&directory.path().join(name));
    let (big, dead) = (path("big"), path("dead"));
    let route = format!(r#".n >= 3 => file:{big} => if .n == 5 then error("five") else .n, "=> \($meta.seq)" end"#);
    let input: String = (1..=6).map(|number| format!("{{\"n\":{number}}}\n")).collect();
    let relay = ["relay", "-", "-", "--route", &route, "--dead-letter", &dead];
    let output = run(&relay, input.as_str()).exits(30).prints("{\"n\":1}\n{\"n\":2}\n");
    assert_eq!(read(big.as_ref()), "3\n=> 3\n4\n=> 4\n6\n=> 6\n");
    assert_eq!(Balance::of(&output), Balance { delivered: 5, dead_lettered: 1, ..Balance::all_delivered(6) });
    let dead = read(dead.as_ref());
    assert!(dead.contains("--route: jq: five") && dead.contains(r#""text":"{\"n\":5}""#), "{dead}");
    // What a filter yields nothing for goes nowhere, and is filtered.
    let output = run(&["relay", "-", "-", "--route", ".n == 1 => null: => empty"], input.as_str()).exits(0);
    assert_eq!(Balance::of(&output), Balance { delivered: 5, filtered: 1, ..Balance::all_delivered(6) });
}

#[test]
fn with_all_routes_each_has_its_own_form() {
    let directory = scratch();
    let path = |name: &str| text(&directory.path().join(name));
    let (twice, text_form) = (path("twice"), path("text"));
    // The second one is not known to be quick, and runs apart.
    let routes = [
        format!(". > 1 => file:{twice} => . * 2"),
        format!(". > 1 => file:{text_form} => def f: \"<\\(.)>\"; f"),
        ". > 2 => - => \"third \\(.)\"".to_owned(),
    ];
    let flags: Vec<&str> = routes.iter().flat_map(|route| ["--route", route]).collect();
    let output = run(&[&["relay", "-", "-", "--route-all"], &flags[..]].concat(), "1\n2\n3\n").exits(0);
    assert_eq!(Balance::of(&output), Balance::all_delivered(3));
    output.prints("1\nthird 3\n");
    assert_eq!((read(twice.as_ref()), read(text_form.as_ref())), ("4\n6\n".to_owned(), "<2>\n<3>\n".to_owned()));
    // The first one alone, without it.
    run(&[&["relay", "-", "-"], &flags[..]].concat(), "1\n2\n3\n").exits(0).prints("1\n");
    assert_eq!(read(twice.as_ref()), "4\n6\n4\n6\n");
}

#[test]
fn plain_text_takes_routes_too() {
    let directory = scratch();
    let errors = text(&directory.path().join("errors"));
    let route = format!(r#"test("^ERROR") => file:{errors} => ltrimstr("ERROR ")"#);
    let log = "INFO up\nERROR disk full\n{\"a\":1}\n";
    let relay = ["relay", "-", "-", "--route", &route];
    let output = run(&[&relay[..], &["-R"]].concat(), log).exits(0);
    output.prints("INFO up\n{\"a\":1}\n");
    assert_eq!(read(errors.as_ref()), "disk full\n");
}

#[test]
fn routes_are_tables_of_a_file_as_well() {
    let directory = scratch();
    let path = |name: &str| text(&directory.path().join(name));
    let (odd, big) = (path("odd"), path("big"));
    let file = write(
        &directory,
        "relay.toml",
        format!(
            "[[pipeline]]\nfrom = '-'\nto = '-'\nroute-all = true\n[[pipeline.route]]\nwhen = '. % 2 == 1'\n\
             to = 'file:{odd}'\njq = '{{odd: .}}'\n[[pipeline.route]]\nwhen = '. > 2'\nto = 'file:{big}'\n"
        ),
    );
    run(&["relay", "-f", &text(&file)], "1\n2\n3\n4\n").exits(0).prints("2\n");
    assert_eq!(
        (read(odd.as_ref()), read(big.as_ref())),
        ("{\"odd\":1}\n{\"odd\":3}\n".to_owned(), "3\n4\n".to_owned())
    );
    for (route, code, what) in [
        ("[[pipeline.route]]\nwhen = '.'\n", 2, "r.toml:4: pipeline 1: route: 'when' or 'to' is missing"),
        ("route = ['. => - => (']\n", 7, "r.toml:4: pipeline 1: --route"),
        ("route = ['.']\n", 2, "has no =>"),
        ("route = ['. => ftp://h/ => .']\n", 2, "ftp"),
    ] {
        let file = write(&directory, "r.toml", format!("[[pipeline]]\nfrom = '-'\nto = '-'\n{route}"));
        run(&["relay", "-f", &text(&file)], "").exits(code).complains(what);
    }
}
