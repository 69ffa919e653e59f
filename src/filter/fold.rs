//! State kept from message to message: `--fold`, with a state of its own for each value of `--state-key`.
//!
//! Owns the program's contract (`[STATE, OUTPUT…]`) and the bounded table of states. Leaves it to the caller when a change
//! counts, and where states are kept. Invariants: a message that the fold fails on changes nothing; the table holds at most
//! so many states, and the one that was not used for the longest time goes first.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::jq::{Filter, Json};

/// States that work done apart reads while the code that changes them waits for it.
pub(crate) type SharedStates = Arc<Mutex<States>>;

/// The states; a thread that panicked has left them whole.
pub(crate) fn lock(states: &SharedStates) -> MutexGuard<'_, States> {
    states.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fold as the user wrote it. Any thread may run it.
#[derive(Debug, Clone)]
pub(crate) struct Fold {
    /// Chooses the state; without it there is one.
    pub key: Option<Filter>,
    /// Compiled by [`Filter::compile_fold`].
    pub program: Filter,
    /// The state before the first message of a key.
    pub first: Json,
    pub most: usize,
    /// Whether the program may ask for `$prev`.
    pub names_prev: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub key: Arc<str>,
    /// The state from now on.
    pub state: Json,
    /// What `$prev` is for the next message of the key.
    pub prev: Json,
}

impl Change {
    /// The state and `$prev` as [`States::restore`] reads them.
    pub(crate) fn to_bytes(&self, used: u64) -> Vec<u8> {
        let mut bytes = used.to_le_bytes().to_vec();
        Json::array([self.state.clone(), self.prev.clone()]).write_compact(&mut bytes);
        bytes
    }
}

impl Fold {
    /// Returns whether key or program may ask for `$meta`.
    pub(crate) fn names_meta(&self) -> bool {
        self.program.names_meta() || self.key.as_ref().is_some_and(Filter::names_meta)
    }

    /// Runs the fold on one of the values that a message yields, on top of what those before it change; the change is added
    /// to theirs. Returns the outputs.
    ///
    /// # Errors
    /// As [`Fold::run`].
    pub(crate) fn step(
        &self,
        input: &Json,
        meta: &Json,
        states: &SharedStates,
        changes: &mut Vec<Change>,
    ) -> Result<Vec<Json>, String> {
        let known = |key: &str| match changes.iter().rev().find(|change| *change.key == *key) {
            Some(change) => Some((change.state.clone(), change.prev.clone())),
            None => lock(states).get(key),
        };
        let (change, outputs) = self.run(input, meta, known)?;
        changes.push(change);
        Ok(outputs)
    }

    /// Runs the fold on a value; `known` returns the state and `$prev` of a key. Returns what changes, and the outputs.
    ///
    /// # Errors
    /// The key or the program fails, or yields something else than one key and one array `[STATE, OUTPUT…]`.
    pub(crate) fn run(
        &self,
        input: &Json,
        meta: &Json,
        known: impl FnOnce(&str) -> Option<(Json, Json)>,
    ) -> Result<(Change, Vec<Json>), String> {
        let null = Json::null();
        let key: Arc<str> = match &self.key {
            None => "null".into(),
            Some(filter) => match only(filter, input, meta, &null).map_err(|error| format!("--state-key: {error}"))? {
                Some(key) => key.to_compact_string().into(),
                None => return Err("--state-key yields nothing".to_owned()),
            },
        };
        let (state, prev) = known(&key).unwrap_or_else(|| (self.first.clone(), Json::null()));
        let yielded = only(&self.program.with_state(&state), input, meta, &prev);
        let (state, outputs) = match yielded.map_err(|error| format!("--fold: {error}"))? {
            // A message that is passed over leaves the state as it is.
            None => (state, Vec::new()),
            Some(value) => {
                let mut items = value.items().unwrap_or_default().into_iter();
                let Some(state) = items.next() else {
                    let what = if value.kind() == "array" { "an empty array" } else { value.kind() };
                    return Err(format!("--fold must yield [STATE, OUTPUT...], not {what}"));
                };
                (state, items.collect())
            }
        };
        let prev = if self.names_prev { input.clone() } else { Json::null() };
        // Both are kept in an array, which the next run has to be able to read.
        if let Some(what) = [("a state", &state), ("$prev", &prev)]
            .iter()
            .find_map(|(what, value)| value.is_too_deep_to_read(1).then_some(what))
        {
            return Err(format!("--fold: {what} is nested too deeply to keep"));
        }
        Ok((Change { key, state, prev }, outputs))
    }
}

/// The one value that a filter yields, if any.
fn only(filter: &Filter, input: &Json, meta: &Json, prev: &Json) -> Result<Option<Json>, String> {
    let (mut first, mut is_alone) = (None, true);
    filter.run(input, meta, prev, &mut |value| {
        is_alone = first.is_none();
        first.get_or_insert(value);
        if is_alone { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if is_alone { Ok(first) } else { Err("more than one value".to_owned()) }
}

#[derive(Debug)]
struct Entry {
    state: Json,
    prev: Json,
    used: u64,
}

/// The states of a run, by key.
#[derive(Debug, Default)]
pub(crate) struct States {
    most: usize,
    entries: HashMap<Arc<str>, Entry>,
    by_use: BTreeMap<u64, Arc<str>>,
    last_use: u64,
    evicted: u64,
}

impl States {
    /// An empty table that holds at most so many states.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), ..Self::default() }
    }

    /// Returns the state of a key and its `$prev`.
    pub(crate) fn get(&self, key: &str) -> Option<(Json, Json)> {
        self.entries.get(key).map(|entry| (entry.state.clone(), entry.prev.clone()))
    }

    /// Returns the number of states.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns how many states there may be.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Returns how many states had to go for others.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Sets the state of a key. Returns the number of this use, which grows from use to use, and the key that had to go.
    pub(crate) fn set(&mut self, change: Change) -> (u64, Option<Arc<str>>) {
        let used = self.last_use + 1;
        (used, self.insert(change, used))
    }

    /// Takes a state in that was kept in an earlier run, as [`Change::to_bytes`] wrote it. Returns the key that had to go.
    ///
    /// # Errors
    /// The bytes are not what it wrote.
    pub(crate) fn restore(&mut self, key: &str, bytes: &[u8]) -> Result<Option<Arc<str>>, String> {
        let (used, json) = bytes.split_first_chunk().ok_or("it is cut short")?;
        let items = Json::parse(json)?.items().ok_or("not an array")?;
        let [state, prev] = <[Json; 2]>::try_from(items).map_err(|_| "not a pair")?;
        Ok(self.insert(Change { key: key.into(), state, prev }, u64::from_le_bytes(*used)))
    }

    fn insert(&mut self, change: Change, used: u64) -> Option<Arc<str>> {
        self.last_use = self.last_use.max(used);
        let Change { key, state, prev } = change;
        let before = self.entries.insert(Arc::clone(&key), Entry { state, prev, used });
        if let Some(before) = before {
            self.by_use.remove(&before.used);
        }
        self.by_use.insert(used, key);
        if self.entries.len() <= self.most {
            return None;
        }
        let (_, oldest) = self.by_use.pop_first()?;
        self.entries.remove(&oldest);
        self.evicted += 1;
        Some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Arguments;
    use super::*;

    fn fold(key: Option<&str>, program: &str, first: &str) -> Fold {
        Fold {
            key: key.map(|source| Filter::compile(source).expect("a key")),
            program: Filter::compile_fold(program, &Arguments::default()).expect("a fold"),
            first: Json::parse(first.as_bytes()).expect("JSON"),
            most: 2,
            names_prev: program.contains("prev"),
        }
    }

    /// What is yielded for each of these messages in turn.
    fn outputs(fold: &Fold, states: &mut States, messages: &[&str]) -> Vec<String> {
        let step = |message: &&str| {
            let input = Json::parse(message.as_bytes()).expect("JSON");
            match fold.run(&input, &Json::null(), |key| states.get(key)) {
                Err(error) => error,
                Ok((change, outputs)) => {
                    states.set(change);
                    Json::array(outputs).to_compact_string()
                }
            }
        };
        messages.iter().map(step).collect()
    }

    #[test]
    fn each_key_has_its_state_and_its_message_before() {
        let change = fold(Some(".s"), "[$state + 1, {s, n: $state, d: (.p - ($prev.p // .p))}]", "0");
        let mut states = States::new(9);
        let messages = [r#"{"s":"A","p":10}"#, r#"{"s":"B","p":5}"#, r#"{"s":"A","p":12}"#, r#"{"s":"B","p":4}"#];
        assert_eq!(
            outputs(&change, &mut states, &messages),
            [
                r#"[{"s":"A","n":0,"d":0}]"#,
                r#"[{"s":"B","n":0,"d":0}]"#,
                r#"[{"s":"A","n":1,"d":2}]"#,
                r#"[{"s":"B","n":1,"d":-1}]"#
            ]
        );
    }

    #[test]
    fn a_failing_message_changes_nothing_and_one_passed_over_leaves_the_state() {
        let sum =
            fold(None, "if . == 0 then empty elif . < 0 then error(\"low\") else [$state + ., $state + .] end", "0");
        let mut states = States::new(1);
        let expected = ["[1]", "--fold: low", "[]", "[3]"];
        assert_eq!(outputs(&sum, &mut states, &["1", "-1", "0", "2"]), expected);
    }

    #[test]
    fn what_is_no_array_is_an_error() {
        for (program, expected) in [
            (".", "--fold must yield [STATE, OUTPUT...], not number"),
            ("[]", "--fold must yield [STATE, OUTPUT...], not an empty array"),
            ("[1], [2]", "--fold: more than one value"),
            ("null", "--fold must yield [STATE, OUTPUT...], not null"),
        ] {
            assert_eq!(outputs(&fold(None, program, "null"), &mut States::new(1), &["7"]), [expected], "{program}");
        }
        let nothing = fold(Some("empty"), "[1]", "null");
        assert_eq!(outputs(&nothing, &mut States::new(1), &["7"]), ["--state-key yields nothing"]);
        let wrong = fold(Some(".a"), "[1]", "null");
        assert!(outputs(&wrong, &mut States::new(1), &["7"])[0].starts_with("--state-key: Cannot index number"));
    }

    #[test]
    fn the_longest_unused_state_goes_and_the_rest_survives_a_restart() {
        let count = fold(Some("."), "[$state + 1, $state + 1]", "0");
        let mut states = States::new(2);
        assert_eq!(
            outputs(&count, &mut states, &["1", "2", "1", "3", "1", "2"]),
            ["[1]", "[1]", "[2]", "[1]", "[3]", "[1]"]
        );
        assert_eq!((states.len(), states.evicted()), (2, 2));
        let change = Change { key: "9".into(), state: Json::parse(b"5").expect("JSON"), prev: Json::null() };
        let mut again = States::new(2);
        for (used, key) in [(7, "1"), (9, "9"), (8, "2")] {
            again.restore(key, &change.to_bytes(used)).expect("a state");
        }
        assert_eq!(again.get("9"), Some((Json::parse(b"5").expect("JSON"), Json::null())));
        assert_eq!((again.get("1"), again.len()), (None, 2), "the oldest has gone");
        assert_eq!(outputs(&count, &mut again, &["9", "4", "2"]), ["[6]", "[1]", "[1]"]);
        assert!(again.restore("x", b"short").is_err() && again.restore("x", b"12345678[1]").is_err());
    }

    #[test]
    fn a_state_that_the_next_run_could_not_read_is_refused() {
        let nest = fold(None, "[[$state], 1]", "null");
        let mut states = States::new(1);
        let mut step = || outputs(&nest, &mut states, &["0"]).concat();
        let kept = (0..2000).take_while(|_| step() == "[1]").count();
        assert_eq!(kept, 511);
        assert_eq!(step(), "--fold: a state is nested too deeply to keep");
        let (state, prev) = states.get("null").expect("the last one that could be kept");
        let bytes = Change { key: "null".into(), state, prev }.to_bytes(1);
        States::new(1).restore("null", &bytes).expect("it can be read");
    }

    #[test]
    fn the_state_is_known_to_a_fold_alone() {
        assert!(Filter::compile("$state").is_err());
        let error = Filter::compile_fold("$x", &Arguments::default()).expect_err("unknown").to_string();
        assert!(error.contains("known are $state, $meta, $prev"), "{error}");
        let program = "def f: $state; [f + 1, f]";
        assert_eq!(outputs(&fold(None, program, "1"), &mut States::new(1), &["0", "0"]), ["[1]", "[2]"]);
    }
}
