//! What a peer's program may do, and that every run of one ends soon.

use super::*;
use proptest::prelude::*;
use std::time::Duration;

fn run(source: &str, message: &str) -> Result<bool, String> {
    let filter = PeerFilter::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    filter.matches(&Json::parse(message.as_bytes()).unwrap())
}

fn processor_time() -> Duration {
    nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID.now().expect("a clock").into()
}

const TRADE: &str = r#"{"type":"trade","price":101.5,"symbol":"ABC","tags":["a","b"],"legs":[{"q":3},{"q":7}],"at":"2026-01-02T03:04:05Z"}"#;

#[test]
fn chooses_as_jq_does() {
    for (source, wanted) in [
        (".", true),
        (".price > 100", true),
        (".price > 102", false),
        ("select(.price > 100)", true),
        ("select(.price > 100 and .symbol == \"ABC\") | .symbol", true),
        ("select(.type == \"quote\")", false),
        ("empty", false),
        (".missing", false),
        (".missing // .price", true),
        (".tags | any(. == \"b\")", true),
        (".tags[] | select(. == \"b\")", true),
        ("any(.legs[]; .q > 5)", true),
        ("all(.legs[]; .q > 5)", false),
        ("[.legs[] | select(.q > 5)] | length == 1", true),
        (".legs | map(.q * 2 + 1) | max == 15", true),
        (".symbol | IN(\"XYZ\", \"ABC\")", true),
        (".symbol | test(\"^ab\"; \"i\")", true),
        (".symbol | test(\"^b\")", false),
        (".symbol | startswith(\"A\") and endswith(\"C\") and contains(\"B\")", true),
        (".tags | contains([\"b\"])", true),
        ("has(\"price\") and (has(\"cost\") | not)", true),
        ("if .price > 100 then .legs[0].q == 3 else false end", true),
        (".legs[-1].q as $q | $q > .price", false),
        (".at | fromdate > 1700000000", true),
        ("(.price | tostring) == \"101.5\"", true),
        ("\"\\(.type)-\\(.symbol)\" == \"trade-ABC\"", true),
        ("{type, s: .symbol} == {type: \"trade\", s: \"ABC\"}", true),
        ("-(.price) < 0", true),
        ("[..] | length > 5", true),
        ("try error(\"x\") catch true", true),
        ("(.price | .x)? // true", true),
        (".legs[0:1] | length == 1", true),
        ("$prev == null", true),
    ] {
        assert_eq!(run(source, TRADE), Ok(wanted), "{source}");
    }
    assert!(run(".price.x", TRADE).unwrap_err().contains("Cannot index"));
    assert!(run(".symbol * 1000", TRADE).unwrap_err().contains("takes too long"));
}

#[test]
fn what_a_peer_may_not_use_is_named() {
    for (source, named) in [
        ("def f: f; f", "definitions"),
        ("reduce .[] as $x (0; . + $x)", "reduce"),
        ("foreach .[] as $x (0; . + $x)", "foreach"),
        ("label $out | break $out", "labels"),
        (".a = 1", "assignments"),
        (".a |= 1", "assignments"),
        (".a += 1", "assignments"),
        ("range(10)", "range/1"),
        ("repeat(.)", "repeat/1"),
        ("recurse(.)", "recurse/1"),
        ("until(false; .)", "until/2"),
        ("limit(3; .[])", "limit/2"),
        ("halt", "halt/0"),
        ("input", "input/0"),
        ("env", "env/0"),
        ("charge", "charge/0"),
        ("guarded", "guarded/0"),
        ("$x", "unknown variable $x"),
        ("nope(1)", "nope/1"),
        ("@base64 \"x\\(.)\"", "formats"),
        ("@json", "@json/0"),
        ("test(.pattern)", "regular expressions"),
        ("test(\"a{9}\")", "regular expressions"),
        ("test(\"a\\u007b9}\")", "regular expressions"),
        (". as [$a] | $a", "patterns"),
        ("{(.a)}", "expected"),
        (".a |", "expected"),
        ("include \"x\"; .", "modules"),
    ] {
        let error = PeerFilter::compile(source).expect_err(source).to_string();
        assert!(error.contains(named), "{source}: {error}");
    }
    assert!(PeerFilter::compile(&" ".repeat(MAX_SOURCE + 1)).unwrap_err().to_string().contains("2048"));
}

#[test]
fn every_run_ends_soon() {
    let many = format!("[{}]", vec!["1"; 20_000].join(","));
    let text = format!("\"{}\"", "a".repeat(100_000));
    let product = ".[] as $a | ".repeat(50) + "empty";
    let commas = format!("{}empty", "(.,.)|".repeat(50));
    let doubling = format!("{}.", ".+.|".repeat(50));
    let squares = format!("(.[0]+1)|{}.", ".*.|".repeat(50));
    let nests = format!("{}.", "[.,.]|".repeat(40));
    let equal = format!("{}. == .", "[.,.]|".repeat(40));
    let objects = format!("{}.", "{a:.,b:.}|".repeat(40));
    let strings = format!("{}.", "\"\\(.)\\(.)\"|".repeat(40));
    let sums = format!("{}.[]", ".[]+".repeat(50));
    let keys = format!("{{{}}}", (0..60).map(|i| format!("k{i}:(1,2)")).collect::<Vec<_>>().join(","));
    let tries = format!("{}.{}", "(".repeat(30), "|.[],.[])?".repeat(30));
    for (source, message) in [
        (product.as_str(), &many),
        (commas.as_str(), &many),
        ("any(.[]; any($prev, 1; false)) | any(.[]?; .)", &many),
        ("any([.,.,.,.][][]; false), any(.[] as $a | .[] | . == $a | not; false)", &many),
        (doubling.as_str(), &many),
        (doubling.as_str(), &text),
        (squares.as_str(), &many),
        (nests.as_str(), &many),
        (equal.as_str(), &many),
        (objects.as_str(), &many),
        (strings.as_str(), &text),
        (sums.as_str(), &many),
        (keys.as_str(), &many),
        (tries.as_str(), &many),
        ("any(.[] as $a | . == [.[]]; false)", &many),
        ("any(.[] as $a | sort; false)", &many),
        ("any(.[] as $a | tojson; false)", &many),
        ("contains(.)", &many),
        ("any(.. | ..; false)", &many),
        ("test(\"(a*)*(a*)*(a*)*(a*)*b\")", &text),
        ("[.,.,.,.]|map(ascii_downcase|split(\"\"))", &text),
    ] {
        // What could take long for any message is refused.
        let Ok(filter) = PeerFilter::compile(source) else { continue };
        let json = Json::parse(message.as_bytes()).unwrap();
        // Time on a processor: a machine that is busy with other things does not count.
        let start = processor_time();
        let result = filter.matches(&json);
        let took = processor_time().saturating_sub(start);
        let shown = &source[..source.len().min(40)];
        assert!(took < Duration::from_secs(10), "{shown}: {took:?}, {result:?}");
    }
}

#[test]
fn a_program_that_can_take_long_is_refused_or_does_not_run_on_what_is_too_large() {
    for source in [". as $a | [$a, $a] | .. | .. | .. | .. | ..", "[.,.]|".repeat(40).as_str()] {
        let source = format!("{source} .").replace(". .", ".");
        let error = PeerFilter::compile(&source).expect_err(&source).to_string();
        assert!(error.contains("must be fast"), "{source}: {error}");
    }
    let filter = PeerFilter::compile("try ([.[] as $a | .[] as $b | 1] | true) catch true // true").unwrap();
    let large = Json::parse(format!("[{}]", vec!["1"; 20_000].join(",")).as_bytes()).unwrap();
    let small = Json::parse(b"[1,2]").unwrap();
    let deep = Json::parse(format!("{}{}", "[".repeat(40), "]".repeat(40)).as_bytes()).unwrap();
    for _ in 0..3 {
        for too_much in [&large, &deep] {
            assert_eq!(filter.matches(too_much), Err("the filter takes too long for this message".to_owned()));
        }
        assert_eq!(filter.matches(&small), Ok(true));
    }
}

#[test]
fn a_large_message_can_be_chosen_by_its_fields() {
    let large = format!(r#"{{"a":5,"list":[{}]}}"#, vec!["1"; 500_000].join(","));
    for source in [".a == 5", "select(.a > 1)", ".list[-1] == 1", ".list | length == 500000"] {
        assert_eq!(run(source, &large), Ok(true), "{source}");
    }
}

#[test]
fn deep_programs_do_not_exhaust_the_stack() {
    for source in [
        format!("{}1", "-".repeat(MAX_SOURCE - 1)),
        format!("{}.", "try ".repeat(500)),
        format!("{}.{}", "if . then ".repeat(140), " end".repeat(140)),
        format!("{}.", ".|".repeat(1000)),
        format!("{}.", ".,".repeat(1000)),
        format!("{}1", "1+".repeat(1000)),
        format!("{}.", ".|".repeat(60)),
        format!("[{}1] | length == 1000", "1,".repeat(999)),
        format!("{}1", "1==1 and ".repeat(60)),
        format!("{}1", ".//".repeat(60)),
        format!(".{}", "[0]".repeat(600)),
        format!(".{}", "?".repeat(2000)),
        format!("{}.", ". as $x|".repeat(250)),
        format!("{}.{}", "[".repeat(128), "]".repeat(128)),
    ] {
        if let Ok(filter) = PeerFilter::compile(&source) {
            let _ = filter.matches(&Json::parse(b"[[1]]").unwrap());
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_programs_never_panic(source in "[.a0-9|,+*/()\\[\\]{}\"$? -]{0,40}|(\\.a|\\.\\[\\]|\\||,|select\\(|\\)|==|1){0,12}") {
        if let Ok(filter) = PeerFilter::compile(&source) {
            let _ = filter.matches(&Json::parse(br#"{"a":[1,"x",{"a":null}]}"#).unwrap());
        }
    }
}
