//! What programs written for jq expect, in rows: program, input, outputs.

use std::ops::ControlFlow;

use super::*;

fn outputs(source: &str, input: &str) -> String {
    let filter = Filter::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let input = Json::parse(input.as_bytes()).unwrap_or_else(|error| panic!("{input}: {error}"));
    let (null, mut out) = (Json::null(), Vec::new());
    let result = filter.run(&input, &null, &null, &mut |value| {
        out.push(value.to_compact_string());
        ControlFlow::Continue(())
    });
    out.extend(result.err().map(|error| format!("!{error}")));
    out.join(" ")
}

fn check(rows: &[(&str, &str, &str)]) {
    for (source, input, expected) in rows {
        assert_eq!(outputs(source, input), *expected, "{source} on {input}");
    }
}

#[test]
fn an_assignment_makes_what_its_path_lacks() {
    check(&[
        (".a.b = 1", "null", r#"{"a":{"b":1}}"#),
        (".user.name |= (. // \"x\")", r#"{"n":1}"#, r#"{"n":1,"user":{"name":"x"}}"#),
        (".[2] = 1", "null", "[null,null,1]"),
        (".list[1].x += 2", r#"{"list":[{"x":1}]}"#, r#"{"list":[{"x":1},{"x":2}]}"#),
        ("(.a, .b) = 7", "null", r#"{"a":7,"b":7}"#),
        ("setpath([\"a\", 0]; 5)", "null", r#"{"a":[5]}"#),
        ("reduce (1, 2) as $n (null; .sum += $n)", "null", r#"{"sum":3}"#),
        (".[1:2] = [8, 9]", "[1,2,3]", "[1,8,9,3]"),
        (".a |= empty", r#"{"a":1,"b":2,"c":3}"#, r#"{"b":2,"c":3}"#),
        ("try (.[-1] = 1) catch .", "[]", r#""Out of bounds negative array index""#),
        ("try (.[99999999] = 1) catch .", "[]", r#""Array index too large""#),
        ("try (.[0] = 1) catch .", "{}", r#""Cannot index object with number (0)""#),
        ("try (.[0:1] = 1) catch .", "[1]", r#""A slice of an array can only be assigned another array""#),
    ]);
}

#[test]
fn indices_slices_and_deleting() {
    check(&[
        ("[.[1.7], .[-1], .[9], .[nan]]", "[1,2,3]", "[2,3,null,null]"),
        (".[0.5:1.5]", "[1,2,3]", "[1,2]"),
        ("[.[1:3]?]", "null", "[null]"),
        ("[.a, .[0], .[\"b\"]]", "null", "[null,null,null]"),
        ("[path(.[1:])]", "[1,2]", r#"[[{"start":1,"end":null}]]"#),
        ("del(.[0, 2, -1])", "[1,2,3,4]", "[2]"),
        ("del(.a.b, .c)", r#"{"a":{"b":1,"d":2},"c":3}"#, r#"{"a":{"d":2}}"#),
        ("del(.a[1:])", r#"{"a":[1,2,3]}"#, r#"{"a":[1]}"#),
        ("delpaths([[\"x\", \"y\"], [\"a\"]])", r#"{"a":1}"#, "{}"),
        ("pick(.a, .l[1])", r#"{"a":1,"b":2,"l":[3,4,5]}"#, r#"{"a":1,"l":[null,4]}"#),
        ("[has(0, 5, nan)]", "[1]", "[true,false,false]"),
    ]);
}

#[test]
fn arithmetic_refuses_what_has_no_result() {
    check(&[
        ("5 % 3, -5 % 3, 5.9 % 2.1, (5 % infinite)", "null", "2 -2 1 5"),
        ("try (1 / .) catch .", "0", r#""number (1) and number (0) cannot be divided because the divisor is zero""#),
        (
            "try (1 % 0) catch .",
            "0",
            r#""number (1) and number (0) cannot be divided (remainder) because the divisor is zero""#,
        ),
        ("try (. - 1) catch .", r#""abc""#, r#""string (\"abc\") and number (1) cannot be subtracted""#),
        (
            "try -. catch .",
            r#""a long text that is cut off somewhere""#,
            r#""string (\"a long text that is cut ...\") cannot be negated""#,
        ),
        ("\"ab\" * 2.5, (\"ab\" * -1)", "null", r#""abab" null"#),
        ("try (. * 1e12) catch .", r#""x""#, r#""Repeat string result too long""#),
        ("9007199254740993 + 1, 100000000000000000000 * 10", "null", "9007199254740994 1000000000000000000000"),
        ("try {(1): 2} catch .", "null", r#""Cannot use number (1) as object key""#),
        ("try .a catch .", "5", r#""Cannot index number with string (\"a\")""#),
        ("try .[] catch .", "5", r#""Cannot iterate over number (5)""#),
        ("[infinite, -infinite, nan | isinfinite, isnan]", "null", "[true,false,true,false,false,true]"),
    ]);
}

#[test]
fn functions_people_use_daily_are_there() {
    check(&[
        ("[tostream]", r#"{"a":[1,{}]}"#, r#"[[["a",0],1],[["a",1],{}],[["a",1]],[["a"]]]"#),
        ("fromstream(tostream) == .", r#"[0,{"a":[],"b":{"c":null}},"x"]"#, "true"),
        ("[fromstream((1, [2]) | tostream)]", "null", "[1,[2]]"),
        ("[1 | truncate_stream(([[0, \"a\"], 1], [[0, \"a\"]], [[0]]))]", "null", r#"[[["a"],1],[["a"]]]"#),
        ("fromstream(1 | truncate_stream([[0, \"a\"], 1], [[0, \"a\"]], [[0]]))", "null", r#"{"a":1}"#),
        ("trimstr(\"ab\"), ltrimstr(\"ab\"), rtrimstr(\"ab\")", r#""abxab""#, r#""x" "xab" "abx""#),
        (
            "from_entries",
            r#"[{"name":"a","value":1},{"key":false,"value":2},{"k":3,"v":4}]"#,
            r#"{"a":1,"false":2,"3":4}"#,
        ),
        ("with_entries(.value += 1)", r#"{"a":1}"#, r#"{"a":2}"#),
        ("join(\"-\")", r#"["a",null,1,true]"#, r#""a--1-true""#),
        ("try join(\",\") catch .", r#"["a",[1]]"#, r#""string (\"a,\") and array ([1]) cannot be added""#),
        ("@base32, (@base32 | @base32d)", r#""wsp é""#, r#""O5ZXAIGDVE======" "wsp é""#),
        ("@base64d", r#""d3Nw""#, r#""wsp""#),
        ("@base64d", r#""d3NwIQ""#, r#""wsp!""#),
        ("try @base64d catch .", r#""?""#, r#""string (\"?\") is not valid base64 data""#),
        ("@urid", r#""a%20b%C3%A9""#, r#""a bé""#),
        ("try @urid catch .", r#""%f""#, r#""string (\"%f\") is not a valid uri encoding""#),
        ("tonumber", r#""-.5e1""#, "-5.0"),
        ("try tonumber catch .", r#""1 ""#, r#""string (\"1 \") cannot be parsed as a number""#),
        ("try toboolean catch .", "1", r#""number (1) cannot be parsed as a boolean""#),
        ("implode", "[119,128512]", r#""w😀""#),
        ("flatten(1)", "[1,[2,[3]]]", "[1,2,[3]]"),
        (
            "[limit(2; .[])], [skip(2; .[])], nth(1; .[]), try limit(-1; .) catch .",
            "[1,2,3]",
            r#"[1,2] [3] 2 "limit doesn't support negative count""#,
        ),
        ("[JOIN({\"1\": \"one\"}; .[]; .[0] | tostring)]", "[[1],[2]]", r#"[[[1],"one"],[[2],null]]"#),
        ("[match(\"(a)(?<n>b)\").captures[].name]", r#""ab""#, r#"[null,"n"]"#),
        ("test([\"A\", \"i\"]), [match([\"a\", \"g\"]).offset]", r#""aa""#, "true [0,1]"),
        ("mktime, strftime(\"%Y-%m-%d\")", "[2024,8,21]", r#"1726876800 "2024-09-21""#),
        ("builtins | contains([\"map/1\"]) and contains([\"tostream/0\"])", "null", "true"),
        ("[leaf_paths]", r#"{"a":[1]}"#, r#"[["a",0]]"#),
        (r#""\ud83d\ude00", "\\ud83d""#, "null", r#""😀" "\\ud83d""#),
    ]);
}

#[test]
fn a_message_is_the_one_input_of_its_run() {
    check(&[("input", "1", "!No more inputs"), ("[inputs], [., input?]", "1", "[] [1]"), ("first(inputs)", "1", "")]);
}

#[test]
fn the_environment_and_arguments_are_variables() {
    let mut arguments = Arguments::default();
    arguments.add("name", Json::from_text("x")).unwrap();
    arguments.add("name", Json::from_text("y")).unwrap();
    arguments.add("n", Json::parse(b"[1]").unwrap()).unwrap();
    assert!(arguments.add("prev", Json::null()).unwrap_err().contains("is reserved"));
    assert!(arguments.add("a-b", Json::null()).unwrap_err().contains("invalid variable name"));
    let null = Json::null();
    let run = |source: &str| {
        let filter = Filter::compile_with(source, &arguments).unwrap();
        filter.find(&null, &null, &null).unwrap().to_compact_string()
    };
    assert_eq!(run("[$name, $n[0], $ARGS.named.n, $ARGS.positional]"), r#"["x",1,[1],[]]"#);
    assert_eq!(run("$ENV.PATH == env.PATH and (env.PATH | length > 0)"), "true");
    assert!(Filter::compile("$name").unwrap_err().to_string().starts_with("unknown variable $name at column 1"));
    // A program of a peer knows none of them.
    for source in ["$ENV", "env", "$ARGS", "$name", "input"] {
        assert!(PeerFilter::compile(source).is_err(), "{source}");
    }
}

#[test]
fn a_pair_of_escapes_moves_no_place_in_an_error() {
    let error = Filter::compile(r#""\ud83d\ude00" | nope"#).unwrap_err().to_string();
    assert_eq!(error, "unknown filter nope/0 at column 18");
}
