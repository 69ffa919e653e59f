//! The `--template` language: values filled into messages as they are sent.
//!
//! A reply may also use `value`, what its filter made of the message it answers.
//! Owns the names a template may use and what they yield. Leaves counting messages to the caller
//! and, by injection, the environment too; minijinja is seen here alone.
//! Invariants: every use of a name yields a fresh value; an unknown name or an unset variable is
//! an error, never an empty string; the text around the braces is unchanged, newline at the end
//! included.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Object, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

use crate::message::event::push_time;
use crate::message::uuid;

const NAME: &str = "message";

/// What every name yields, for error messages.
const KNOWN: &str = "seq, uuid, now, now_ms, env.NAME, rand(FROM, TO)";

/// How a template looks up an environment variable.
pub(crate) type Lookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A compiled template. Cloning shares it and its random numbers.
#[derive(Clone)]
pub(crate) struct Template {
    environment: Arc<Environment<'static>>,
    shared: Arc<Shared>,
    is_reply: bool,
    counts: bool,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template")
    }
}

/// Why a template does not compile or cannot be filled in: one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TemplateError(String);

impl Template {
    /// Compiles a template that sees the environment of the process.
    ///
    /// # Errors
    /// When it is malformed, or names something unknown or unset.
    pub(crate) fn compile(source: &str) -> Result<Self, TemplateError> {
        Self::compile_with(source, of_this_process())
    }

    /// Compiles a template that may use `value` too; see [`Template::render_reply`].
    ///
    /// # Errors
    /// As [`Template::compile`].
    pub(crate) fn compile_reply(source: &str) -> Result<Self, TemplateError> {
        Self::build(source, of_this_process(), true)
    }

    /// Compiles a template that looks variables up with the function given.
    ///
    /// # Errors
    /// When it is malformed, or names something unknown or unset.
    pub(crate) fn compile_with(source: &str, lookup: Lookup) -> Result<Self, TemplateError> {
        Self::build(source, lookup, false)
    }

    fn build(source: &str, lookup: Lookup, is_reply: bool) -> Result<Self, TemplateError> {
        let counts = !is_reply || source.contains("seq");
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        environment.set_syntax(syntax.map_err(|e| describe(&e))?);
        environment.add_template_owned(NAME, source.to_owned()).map_err(|e| describe(&e))?;
        let shared = Shared { random: Mutex::new(fastrand::Rng::new()), lookup };
        let template = Self { environment: Arc::new(environment), shared: Arc::new(shared), is_reply, counts };
        // Names are only looked up when the template is filled in: try it once.
        template.fill(1, is_reply.then_some("1"))?;
        Ok(template)
    }

    /// Whether filling it in takes the next number: a reply does only where it shows it.
    pub(crate) fn counts(&self) -> bool {
        self.counts
    }

    /// The same template with `uuid` and `rand` drawn from a seed, starting anew.
    #[must_use]
    pub(crate) fn with_seed(self, seed: u64) -> Self {
        let shared =
            Shared { random: Mutex::new(fastrand::Rng::with_seed(seed)), lookup: Arc::clone(&self.shared.lookup) };
        Self { shared: Arc::new(shared), ..self }
    }

    /// Fills the template in; `seq` is the number of the message.
    ///
    /// # Errors
    /// When a name is unknown or unset in a part that had not been reached before.
    pub(crate) fn render(&self, seq: u64) -> Result<String, TemplateError> {
        self.fill(seq, None)
    }

    /// As [`Template::render`], with what the filter yielded as `value`.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub(crate) fn render_reply(&self, seq: u64, value: &str) -> Result<String, TemplateError> {
        self.fill(seq, Some(value).filter(|_| self.is_reply))
    }

    fn fill(&self, seq: u64, value: Option<&str>) -> Result<String, TemplateError> {
        let missing = Arc::new(Mutex::new(None));
        let names = Names {
            seq,
            value: value.map(str::to_owned),
            shared: Arc::clone(&self.shared),
            missing: Arc::clone(&missing),
        };
        let template = self.environment.get_template(NAME).map_err(|e| describe(&e))?;
        template.render(Value::from_object(names)).map_err(|error| {
            let name = lock(&missing).take();
            match (error.kind(), name) {
                (ErrorKind::UndefinedError, Some(Missing::Variable(name))) => {
                    TemplateError(format!("environment variable {name} is not set"))
                }
                (ErrorKind::UndefinedError, Some(Missing::Name(name))) => {
                    let value = if self.is_reply { ", value" } else { "" };
                    TemplateError(format!("unknown name `{name}` (known are {KNOWN}{value})"))
                }
                _ => describe(&error),
            }
        })
    }
}

fn of_this_process() -> Lookup {
    Arc::new(|name| std::env::var(name).ok())
}

fn describe(error: &Error) -> TemplateError {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let hint = match error.kind() {
        ErrorKind::UnknownFunction => format!(" (known are {KNOWN})"),
        _ => String::new(),
    };
    let place = error.line().filter(|line| *line > 1).map(|line| format!(" at line {line}")).unwrap_or_default();
    TemplateError(format!("{what}{place}{hint}").replace(char::is_control, " "))
}

/// A poisoned lock holds nothing that could be half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Shared {
    random: Mutex<fastrand::Rng>,
    lookup: Lookup,
}

impl Shared {
    fn uuid(&self) -> String {
        uuid::of_random(lock(&self.random).u128(..))
    }
}

/// What was asked for last and is not there.
enum Missing {
    Name(String),
    Variable(String),
}

/// The names of one rendering. Each look-up makes its value anew.
struct Names {
    seq: u64,
    value: Option<String>,
    shared: Arc<Shared>,
    missing: Arc<Mutex<Option<Missing>>>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names")
    }
}

impl Object for Names {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        *lock(&self.missing) = None;
        match key {
            "seq" => Some(Value::from(self.seq)),
            "value" if self.value.is_some() => self.value.as_deref().map(Value::from),
            "uuid" => Some(Value::from(self.shared.uuid())),
            "now" => {
                let mut text = Vec::with_capacity(27);
                push_time(&mut text, Timestamp::now());
                Some(Value::from(String::from_utf8_lossy(&text).into_owned()))
            }
            "now_ms" => Some(Value::from(Timestamp::now().as_millisecond())),
            "env" => {
                let variables =
                    Variables { lookup: Arc::clone(&self.shared.lookup), missing: Arc::clone(&self.missing) };
                Some(Value::from_object(variables))
            }
            "rand" => {
                let shared = Arc::clone(&self.shared);
                Some(Value::from_function(move |from: i64, to: i64| {
                    if from > to {
                        return Err(Error::new(
                            ErrorKind::InvalidOperation,
                            format!("rand({from}, {to}): the first must not be above the second"),
                        ));
                    }
                    Ok(lock(&shared.random).i64(from..=to))
                }))
            }
            _ => {
                *lock(&self.missing) = Some(Missing::Name(key.to_owned()));
                None
            }
        }
    }
}

/// `env`: variables, looked up one at a time; they cannot be listed.
struct Variables {
    lookup: Lookup,
    missing: Arc<Mutex<Option<Missing>>>,
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("env")
    }
}

impl Object for Variables {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let value = (self.lookup)(key);
        *lock(&self.missing) = match value {
            Some(_) => None,
            None => Some(Missing::Variable(key.to_owned())),
        };
        value.map(Value::from)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("env")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(source: &str) -> Result<Template, TemplateError> {
        Template::compile_with(source, Arc::new(|name| (name == "SET").then(|| "<v>&\"".to_owned())))
    }

    fn render(source: &str) -> String {
        compile(source).unwrap().render(7).unwrap()
    }

    fn error(source: &str) -> String {
        let text = compile(source).unwrap_err().to_string();
        assert!(!text.contains('\n'), "{text}");
        text
    }

    #[test]
    fn text_is_unchanged() {
        for text in ["", "plain\n", "a\n\n", "{\"a\":{\"b\":1}}", "<&'\">", "é\r\n", "{ {x} }", "  x  "] {
            assert_eq!(render(text), text);
        }
    }

    #[test]
    fn names() {
        assert_eq!(render("{\"n\":{{seq}}}"), "{\"n\":7}");
        assert_eq!(render("{\"a\":{\"n\":{{ seq }}}}\n"), "{\"a\":{\"n\":7}}\n");
        assert_eq!(render("{{env.SET}}"), "<v>&\"");
        assert_eq!(render("{{ env.UNSET | default('x') }}"), "x");
        assert_eq!(compile("{{seq}}").unwrap().render(u64::MAX).unwrap(), u64::MAX.to_string());
        let now = render("{{now}}");
        assert_eq!(now.len(), 27, "{now}");
        assert!(now.ends_with('Z') && now.parse::<Timestamp>().is_ok());
        let ms: i64 = render("{{now_ms}}").parse().unwrap();
        assert!((Timestamp::now().as_millisecond() - ms).abs() < 60_000);
        assert_eq!(render("{% for i in range(3) %}{{ i }}{% endfor %}{{ 'a' if seq == 7 }}"), "012a");
    }

    #[test]
    fn values_are_fresh_at_each_use() {
        let text = render("{{uuid}} {{uuid}}");
        let (first, second) = text.split_once(' ').unwrap();
        assert_ne!(first, second);
        let parts: Vec<_> = first.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(first.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&first.as_bytes()[19]));
        let many = render("{% for i in range(300) %}{{ rand(1, 3) }}{% endfor %}");
        for digit in ['1', '2', '3'] {
            assert!(many.contains(digit));
        }
        assert!(many.chars().all(|c| ('1'..='3').contains(&c)));
        assert_eq!(render("{{rand(-5,-5)}}"), "-5");
    }

    #[test]
    fn a_seed_repeats() {
        let source = "{{uuid}} {{rand(1,1000000)}}";
        let run = |seed| {
            let template = compile(source).unwrap().with_seed(seed);
            [template.render(1).unwrap(), template.render(2).unwrap()]
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert_ne!(run(1)[0], run(1)[1]);
    }

    #[test]
    fn mistakes_are_found_before_sending() {
        assert_eq!(error("{{env.UNSET}}"), "environment variable UNSET is not set");
        assert!(error("{{sequence}}").starts_with("unknown name `sequence` (known are seq, uuid"));
        assert!(error("{{ seq.x }}").contains("undefined"));
        assert!(error("{{ random(1,2) }}").contains("random"));
        assert!(error("{{ rand(2,1) }}").contains("rand(2, 1)"));
        for source in [
            "{{ rand(1) }}",
            "{{ rand(1,2,3) }}",
            "{{ rand('a','b') }}",
            "{{",
            "{{ seq",
            "{% if %}",
            "{{ seq | nope }}",
        ] {
            assert!(!error(source).is_empty(), "{source}");
        }
        assert!(error("a\n{{ 1 + }}").contains("line 2"));
    }

    #[test]
    fn a_reply_knows_what_it_answers() {
        let reply = Template::compile_reply("{\"pong\":{{value}},\"n\":{{seq}}}").unwrap();
        assert_eq!(reply.render_reply(3, "18212558000").unwrap(), "{\"pong\":18212558000,\"n\":3}");
        assert!(error("{{value}}").starts_with("unknown name `value`"));
        let mistake = Template::compile_reply("{{valeu}}").unwrap_err().to_string();
        assert!(mistake.starts_with("unknown name `valeu`") && mistake.ends_with("value)"), "{mistake}");
    }

    #[test]
    fn a_mistake_behind_a_condition_shows_when_it_is_reached() {
        let template = compile("{{ env.UNSET if seq > 1 else 'ok' }}").unwrap();
        assert_eq!(template.render(1).unwrap(), "ok");
        assert_eq!(template.render(2).unwrap_err().to_string(), "environment variable UNSET is not set");
    }

    #[test]
    fn the_environment_cannot_be_listed() {
        assert_eq!(render("{{ env }}"), "env");
        assert_eq!(render("{% for x in env %}{{ x }}{% endfor %}"), "");
    }

    #[test]
    fn the_environment_of_the_process_is_the_default() {
        let template = Template::compile("{{ env.PATH }}").unwrap();
        assert_eq!(template.render(1).unwrap(), std::env::var("PATH").unwrap());
    }
}
