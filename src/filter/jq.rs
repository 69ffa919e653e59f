//! jq programs: compiled once, run on every message.
//!
//! Owns compilation. Beneath it `faults` says what went wrong, `run` owns runs and where they are done, `cost` what
//! they can cost, `rewrite` how they are stopped, `value` the JSON values, `reader` how they are read, `engine` and
//! `operators` what is done to them, `natives`, `rows` and `definitions.jq` what is called by name, `arguments` the
//! variables. Nothing outside this module sees jaq. Invariants: no program can end the process, read a file or another
//! input; the environment is seen by the programs of the user of this process, and by none that a peer supplies; a run
//! yields at most [`MAX_OUTPUTS`] values, none nested past a fixed depth, and has limits of time, memory and stack.

mod arguments;
mod cost;
mod engine;
mod faults;
mod natives;
mod operators;
mod peer;
mod reader;
mod rewrite;
mod rows;
mod run;
mod surrogates;
mod value;

use std::fmt;
use std::sync::Arc;

use jaq_core::data;
use jaq_core::load::parse::{Def, Term};
use jaq_core::load::{self, Arena, File, Loader};
use jaq_json::Val;

use engine::Value;
use faults::{check_size, describe_load, describe_undefined};
use rewrite::Rewrite;
use surrogates::{Pairs, readable};

pub(crate) use arguments::Arguments;
pub(crate) use faults::FilterError;
pub(crate) use peer::PeerFilter;
pub(crate) use reader::{MAX_INPUT_DEPTH, TOO_DEEP};
pub(crate) use value::Json;

/// Most values one run may yield; a program that goes on is stopped with an error.
pub(crate) const MAX_OUTPUTS: usize = 100_000;
/// The variable of a fold, before all others.
const STATE: &str = "$state";
/// What a program is called beneath.
const PROGRAM: &str = "wsp_program";

/// Definitions of ours, beside those of jaq and in place of some. `halt_error` raises its input as an error instead of
/// ending the program.
const DEFINITIONS: &str = include_str!("jq/definitions.jq");
/// Definitions of jaq that functions of ours, or nothing, stand in for.
const LEFT_OUT: [&str; 7] = ["halt_error", "nan", "infinite", "tonumber", "toboolean", "join", "delpaths"];

type Data = data::JustLut<Value>;

type Compiled = Arc<jaq_core::Filter<Data>>;
/// Variables that a program knows beside `$meta` and `$prev`.
type Variables = Arc<[(String, Value)]>;

/// A compiled jq program. Cloning shares it; any thread may run it.
#[derive(Clone)]
pub(crate) struct Filter {
    /// Runs where it stands, on values up to this size.
    quick: Option<(Compiled, usize)>,
    /// Runs apart, where it can be stopped; made when it is first needed.
    bounded: Arc<run::Bounded>,
    /// Whether the program may ask for `$meta`, which takes as long to make as many a program runs.
    names_meta: bool,
    /// What else it knows by name.
    variables: Variables,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}

impl Filter {
    /// Compiles a program of the user of this process; `$meta`, `$prev`, `$ENV` and `$ARGS` are known in it.
    ///
    /// # Errors
    /// When the program is not jq, or names something that is not there.
    pub(crate) fn compile(source: &str) -> Result<Self, FilterError> {
        Self::compile_with(source, &Arguments::default())
    }

    /// Compiles a program as [`Filter::compile`] does; named values are variables in it.
    ///
    /// # Errors
    /// As [`Filter::compile`].
    pub(crate) fn compile_with(source: &str, arguments: &Arguments) -> Result<Self, FilterError> {
        Self::compile_knowing(source, arguments.used_by(source))
    }

    /// Compiles a program that knows `$state` too, which [`Filter::with_state`] sets.
    ///
    /// # Errors
    /// As [`Filter::compile`].
    pub(crate) fn compile_fold(source: &str, arguments: &Arguments) -> Result<Self, FilterError> {
        let state = (STATE.to_owned(), Value(Val::Null));
        Self::compile_knowing(source, std::iter::once(state).chain(arguments.used_by(source)).collect())
    }

    fn compile_knowing(source: &str, variables: Vec<(String, Value)>) -> Result<Self, FilterError> {
        check_size(source)?;
        let variables: Variables = variables.into();
        let compile = |pairs| Self::compile_plain(&readable(source, pairs), &variables);
        // What is wrong is told with its place in what was written.
        compile(Pairs::Joined).or_else(|error| compile(Pairs::Replaced).and(Err(error)))
    }

    fn compile_plain(source: &str, variables: &Variables) -> Result<Self, FilterError> {
        let Some(program) = load::parse(source, |p| p.term()) else {
            // What is wrong with it is said by the compiler.
            Self::build(source, source, Rewrite { ticks: false }, None, Some(variables))?;
            return Err(FilterError("cannot parse the jq program".to_owned()));
        };
        let up_to = cost::quick_size(&program, cost::IN_PLACE);
        let bounded = Arc::new(run::Bounded::new(source));
        let compiled = Self::rewritten(source, program, up_to == 0, variables)?;
        let quick = (up_to > 0).then(|| (Arc::clone(&compiled), up_to));
        if quick.is_none() {
            bounded.set(compiled);
        }
        Ok(Self { quick, bounded, names_meta: source.contains("meta"), variables: Arc::clone(variables) })
    }

    /// Compiles a program of a peer, which is quick up to this size and runs on nothing larger.
    fn quick(source: &str, program: Term<&str>, up_to: usize) -> Result<Self, FilterError> {
        let rewrite = Rewrite { ticks: false };
        let program = Def { name: PROGRAM, args: Vec::new(), body: rewrite.term(program) };
        let compiled = Self::build(source, PROGRAM, rewrite, Some(program), None)?;
        let bounded = Arc::new(run::Bounded::new(source));
        Ok(Self { quick: Some((compiled, up_to)), bounded, names_meta: false, variables: Arc::default() })
    }

    fn rewritten(
        source: &str,
        program: Term<&str>,
        ticks: bool,
        variables: &Variables,
    ) -> Result<Compiled, FilterError> {
        let rewrite = Rewrite { ticks };
        let program = Def { name: PROGRAM, args: Vec::new(), body: rewrite.term(program) };
        Self::build(source, PROGRAM, rewrite, Some(program), Some(variables))
    }

    /// Compiles `code`, which may use this definition and these variables beside the usual ones (none
    /// where a peer supplies it); errors name their place in `source`.
    fn build<'s>(
        source: &'s str,
        code: &'s str,
        rewrite: Rewrite,
        definition: Option<Def<&'s str>>,
        variables: Option<&Variables>,
    ) -> Result<Compiled, FilterError> {
        let defs = self::definitions()
            .map(|def: Def| -> Def<&'s str> {
                if rewrite.ticks { rewrite.definition(def) } else { def }
            })
            .chain(definition);
        let funs = natives::functions().chain(rows::functions()).chain(rewrite::functions());
        let arena = Arena::default();
        let modules =
            Loader::new(defs).load(&arena, File { code, path: () }).map_err(|errors| describe_load(source, &errors))?;
        // Data files would be variables without a value.
        load::import(&modules, |_| Err(String::new())).map_err(|errors| describe_load(source, &errors))?;
        let named = variables.into_iter().flat_map(|variables| variables.iter());
        let filter = jaq_core::Compiler::default()
            .with_funs(funs)
            .with_global_vars(["$meta", "$prev"].into_iter().chain(named.map(|(name, _)| &**name)))
            .compile(modules)
            .map_err(|errors| describe_undefined(source, &errors, variables))?;
        Ok(Arc::new(filter))
    }

    /// Whether the program may ask for `$meta`.
    pub(crate) fn names_meta(&self) -> bool {
        self.names_meta
    }

    /// The value of `$meta` for a run: made where the program may ask for it, `null` where it cannot.
    pub(crate) fn meta(&self, make: impl FnOnce() -> Json) -> Json {
        if self.names_meta { make() } else { Json::null() }
    }
}

/// What a program may call beside functions.
fn definitions() -> impl Iterator<Item = Def<&'static str>> {
    jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs())
        .filter(|def| !LEFT_OUT.contains(&def.name))
        .chain(load::parse(DEFINITIONS, |p| p.defs()).unwrap_or_default())
}

#[cfg(test)]
mod conformance_tests;

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::faults::MAX_ERROR;
    use super::*;

    fn try_run(source: &str, input: &str) -> (Vec<String>, Result<(), String>) {
        let filter = Filter::compile(source).unwrap();
        let meta = Json::meta("s1", "ws://h/", "t", "text", input.len(), 3);
        let prev = Json::parse(br#"{"n":1}"#).unwrap();
        let mut out = Vec::new();
        let result = filter.run(&Json::parse(input.as_bytes()).unwrap(), &meta, &prev, &mut |value| {
            out.push(value.to_compact_string());
            ControlFlow::Continue(())
        });
        (out, result)
    }

    fn run(source: &str, input: &str) -> String {
        let (out, result) = try_run(source, input);
        assert_eq!(result, Ok(()));
        out.join(" ")
    }

    fn compile_error(source: &str) -> String {
        let text = Filter::compile(source).unwrap_err().to_string();
        assert!(!text.contains('\n'), "{text}");
        text
    }

    #[test]
    fn runs_programs() {
        assert_eq!(run("select(.price>100)|.symbol", r#"{"price":101,"symbol":"A"}"#), r#""A""#);
        assert_eq!(run("select(.price>100)|.symbol", r#"{"price":1,"symbol":"A"}"#), "");
        assert_eq!(run(".a[], (.a|add)", r#"{"a":[1,2]}"#), "1 2 3");
        assert_eq!(run("test(\"T1\")", r#""xT12""#), "true");
        assert_eq!(run("@csv, @tsv", r#"["a\"b",1,null,"t\tx"]"#), r#""\"a\"\"b\",1,,\"t\tx\"" "a\"b\t1\t\tt\\tx""#);
        assert_eq!(run("IN(1,2), toarray, INDEX(.[]?; .), (65|ascii)", "1"), r#"true [1] {} "A""#);
        assert_eq!(run("tojson, (tojson|fromjson), tostring, \"\\(.)\"", "[1.0]"), r#""[1.0]" [1.0] "[1.0]" "[1.0]""#);
    }

    #[test]
    fn a_row_of_a_table_takes_time_that_grows_with_its_length() {
        let many = "\"".repeat(2_000_000);
        let input = Json(Val::Arr(vec![Val::from(many)].into())).to_compact_string();
        assert_eq!(run("@csv | length", &input), "4000002");
        assert_eq!(run("@tsv | length", &input), "2000000");
        assert_eq!(run("@csv \"x\\(.)\"", r#"["a",true,-1.50]"#), r#""x\"a\",true,-1.50""#);
        for source in ["@csv", "@tsv"] {
            assert!(try_run(source, "[[1]]").1.unwrap_err().contains("is not valid in a"), "{source}");
            assert!(try_run(source, "1").1.unwrap_err().contains("only an array can be"), "{source}");
        }
    }

    #[test]
    fn global_variables() {
        assert_eq!(run("$meta.session, $meta.seq, $prev.n", "null"), r#""s1" 3 1"#);
        assert_eq!(run("def f: $prev; [1]|map(f.n + .)", "null"), "[2]");
    }

    #[test]
    fn numbers_are_unchanged_unless_calculated_with() {
        let text = r#"{"a":12345678901234567890123,"b":1.0,"c":-0,"d":1e1000}"#;
        assert_eq!(run(".", text), text);
        assert_eq!(run(".a + 1", text), "12345678901234567890124");
        assert_eq!(run("[nan, infinite, -infinite]", "0"), "[null,null,null]");
        assert_eq!(run("tojson", r#"["x",1.50]"#), r#""[\"x\",1.50]""#);
        assert_eq!(run("{(1|tostring): 2}", "0"), r#"{"1":2}"#);
    }

    #[test]
    fn halt_ends_the_outputs_not_the_process() {
        assert_eq!(run("1, halt, 2", "0"), "1");
        assert_eq!(run("1, halt(3), 2", "0"), "1");
        assert_eq!(try_run("1, halt_error, 2", r#""bad""#), (vec!["1".into()], Err("bad".into())));
        assert_eq!(try_run("halt_error(2)", r#"{"a":1}"#), (vec![], Err(r#"{"a":1}"#.into())));
    }

    #[test]
    fn nothing_outside_can_be_reached() {
        assert!(compile_error("$__prog_args").starts_with("unknown"));
        // A message is the only input of its run.
        assert_eq!(try_run("input", "1").1, Err("No more inputs".to_owned()));
        assert_eq!(run("[inputs], input_filename, input_line_number", "1"), "[] null 0");
        assert!(compile_error("include \"x\"; .").contains("modules"));
        assert!(compile_error("import \"x\" as x; x::f").contains("modules"));
        assert!(compile_error("import \"x\" as $x; $x").contains("modules"));
        // Neither prints anything, since the log goes nowhere.
        assert_eq!(run("debug, stderr", "1"), "1 1");
    }

    #[test]
    fn errors_end_the_run_and_earlier_outputs_stand() {
        assert_eq!(try_run("1, error(\"no\"), 2", "0"), (vec!["1".into()], Err("no".into())));
        assert_eq!(try_run("error({a:1})", "0").1, Err(r#"{"a":1}"#.into()));
        assert!(try_run(".a.b", r#"{"a":[1]}"#).1.unwrap_err().contains("Cannot index array with string"));
        assert_eq!(run(".a?", "1"), "");
        assert_eq!(run("try error(\"x\") catch .", "1"), r#""x""#);
        let long = try_run("error(\"a\n\" * 10000)", "0").1.unwrap_err();
        assert!(long.chars().count() <= MAX_ERROR + 1 && !long.contains('\n'));
    }

    #[test]
    fn endless_outputs_are_capped() {
        for source in ["repeat(.)", "range(infinite)", "recurse(.)"] {
            let (out, result) = try_run(source, "0");
            assert_eq!(out.len(), MAX_OUTPUTS, "{source}");
            assert!(result.unwrap_err().contains("100000"), "{source}");
        }
        assert_eq!(try_run("range(100000)", "0").1, Ok(()));
    }

    #[test]
    fn a_panic_inside_is_an_error_of_the_run() {
        let (_, result) = try_run(". * 9223372036854775807", r#""abc""#);
        assert!(result.unwrap_err().contains("too long"));
        assert_eq!(run("[1,2|.*(10,20)], (\"ab\" * .)", "300 "), format!("[10,20,20,40] \"{}\"", "ab".repeat(300)));
        assert_eq!(run(".a *= .b", r#"{"a":3,"b":4}"#), r#"{"a":12,"b":4}"#);
        // Whether sorting what has no order panics is its own business, as long as it is caught.
        let _ = try_run("[range(200) | if . % 3 == 0 then nan else 100 - . end] | sort", "0");
    }

    #[test]
    fn a_consumer_can_stop_an_endless_filter() {
        let filter = Filter::compile("repeat(.)").unwrap();
        let mut seen = 0;
        let null = Json::null();
        let result = filter.run(&null, &null, &null, &mut |_| {
            seen += 1;
            if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((seen, result), (3, Ok(())));
    }

    #[test]
    fn depth_is_bounded_on_the_way_out_and_in_strings() {
        let (_, result) = try_run("reduce range(1500) as $i (0; [.])", "0");
        assert!(result.unwrap_err().contains("nested deeper"));
        assert!(try_run("recurse([.])", "0").1.unwrap_err().contains("nested deeper"));
        let (_, result) = try_run("reduce range(1500) as $i (0; [.]) | tojson", "0");
        assert!(result.unwrap_err().contains("nested deeper"));
        let bomb = format!("\"{}\"", "[".repeat(100_000));
        assert!(try_run("fromjson", &bomb).1.unwrap_err().contains("nested too deeply"));
        assert_eq!(run("fromjson", r#""[1]""#), "[1]");
        assert!(try_run("fromjson", r#""NaN""#).1.is_err());
        let deepest = format!("{}{}", "[".repeat(512), "]".repeat(512));
        assert_eq!(run("[.]", &deepest), format!("[{deepest}]"));
    }

    #[test]
    fn matches_is_about_the_first_output() {
        let null = Json::null();
        let matches = |source: &str| Filter::compile(source).unwrap().matches(&null, &null, &null);
        assert!(matches("true") && matches("0") && matches("true, error(\"x\")"));
        assert!(!matches("false") && !matches("null") && !matches("empty") && !matches("error(true)"));
    }

    #[test]
    fn compile_errors_say_what_and_where() {
        assert_eq!(compile_error(".a | foo(1)"), "unknown filter foo/1 at column 6");
        assert_eq!(
            compile_error(".\n| $x"),
            "unknown variable $x at line 2, column 3 (known are $meta, $prev, $ENV and those of --arg)"
        );
        assert_eq!(compile_error(".a |"), "expected term at column 5, but the filter ends there");
        assert_eq!(compile_error("(.a"), "expected closing parenthesis at column 4, but the filter ends there");
        assert_eq!(compile_error(".a ]"), "unexpected `]` at column 4");
        assert_eq!(compile_error("1 2"), "unexpected `2` at column 3");
        assert_eq!(compile_error("reduce ."), "expected `as` at column 9, but the filter ends there");
        assert!(compile_error("if . then 1").contains("expected"));
        assert!(compile_error("").contains("expected"));
        assert!(compile_error(&"(".repeat(100_000)).contains("longer"));
        assert!(compile_error(&"[".repeat(10_000)).contains("deeper"));
    }

    #[test]
    fn is_shared_between_threads() {
        let filter = Filter::compile(". + 1").unwrap();
        let threads: Vec<_> = (0..4)
            .map(|i: usize| {
                let filter = filter.clone();
                std::thread::spawn(move || {
                    let input = Json::parse(i.to_string().as_bytes()).unwrap();
                    filter.matches(&input, &Json::null(), &Json::null())
                })
            })
            .collect();
        assert!(threads.into_iter().all(|t| t.join().unwrap()));
    }
}
