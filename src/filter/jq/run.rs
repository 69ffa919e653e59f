//! Runs of a program: where it stands when it is quick, else apart, where it has limits.
//!
//! Invariants: what a run yields is the same wherever it is done; a value that leaves a run is nested and as large as the
//! rest of the program can bear.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use jaq_core::{Ctx, Exn, Vars, load};

use super::engine::Value;
use super::faults::{error_text, too_deep_message};
use super::rewrite::MAX_TEXT;
use super::{Compiled, Data, Filter, Json, MAX_OUTPUTS, STATE, Variables, value};
use crate::filter::apart::{self, Begun, NotQuick, Stopped, begin};

/// Outputs in order, and how the run ended.
type Outcome = (Vec<Json>, Result<(), String>);

/// A program that is looked after while it runs.
pub(super) struct Bounded {
    source: Box<str>,
    compiled: OnceLock<Option<Compiled>>,
}

impl Bounded {
    pub(super) fn new(source: &str) -> Self {
        Self { source: source.into(), compiled: OnceLock::new() }
    }

    pub(super) fn set(&self, compiled: Compiled) {
        let _ = self.compiled.set(Some(compiled));
    }

    fn get(&self, variables: &Variables) -> Option<&Compiled> {
        let compile = || {
            let program = load::parse(&self.source, |p| p.term())?;
            Filter::rewritten(&self.source, program, true, variables).ok()
        };
        self.compiled.get_or_init(compile).as_ref()
    }
}

impl Filter {
    /// Returns the same program with this value of `$state`.
    #[must_use]
    pub(crate) fn with_state(&self, state: &Json) -> Self {
        let set = |(name, value): &(String, Value)| {
            let value = if name == STATE { Value(state.0.clone()) } else { value.clone() };
            (name.clone(), value)
        };
        Self { variables: self.variables.iter().map(set).collect(), ..self.clone() }
    }

    /// Whether a run on this input is done where it stands, in a time too short to matter.
    fn is_quick(&self, input: &Json, prev: &Json) -> bool {
        let state = self.variables.first().filter(|(name, _)| name == STATE).map(|(_, value)| &value.0);
        self.quick.as_ref().is_some_and(|(_, up_to)| {
            let left = |room| state.map_or(room, |state| value::left_of(state, room));
            value::left_of(&prev.0, left(value::left_of(&input.0, *up_to))) > 0
        })
    }

    /// Runs the program on a value, handing every output to `out` until that breaks off. To be called in work that was
    /// begun with [`apart::begin`], which a run that is not quick ends; else it waits for the run.
    ///
    /// # Errors
    /// When the program raises an error, yields more than [`MAX_OUTPUTS`] values, or one nested too deeply, or
    /// goes past a limit. Outputs handed over before stand. `halt` ends the outputs and is not an error.
    pub(crate) fn run(
        &self,
        input: &Json,
        meta: &Json,
        prev: &Json,
        out: &mut dyn FnMut(Json) -> ControlFlow<()>,
    ) -> Result<(), String> {
        self.run_up_to(MAX_OUTPUTS + 1, input, meta, prev, out)
    }

    /// Runs the program where it stands, without `$meta` and `$prev`; `None` where that could take long.
    pub(super) fn run_quick(
        &self,
        input: &Json,
        out: &mut dyn FnMut(Json) -> ControlFlow<()>,
    ) -> Option<Result<(), String>> {
        let null = Json::null();
        let (compiled, _) = self.quick.as_ref().filter(|_| self.is_quick(input, &null))?;
        run_here(compiled, &self.variables, input, &null, &null, out).ok()
    }

    fn run_up_to(
        &self,
        most: usize,
        input: &Json,
        meta: &Json,
        prev: &Json,
        out: &mut dyn FnMut(Json) -> ControlFlow<()>,
    ) -> Result<(), String> {
        let mut given = 0_usize;
        if let Some((compiled, _)) = self.quick.as_ref().filter(|_| self.is_quick(input, prev)) {
            let mut counted = |value| {
                given += 1;
                out(value)
            };
            if let Ok(result) = run_here(compiled, &self.variables, input, meta, prev, &mut counted) {
                return result;
            }
        }
        if apart::is_apart() {
            return self.run_bounded(input, meta, prev, out);
        }
        apart::leave();
        #[cfg(not(test))]
        debug_assert!(apart::is_apart(), "a filter not started with apart::begin blocks its thread");
        let (filter, input, meta, prev) = (self.clone(), input.clone(), meta.clone(), prev.clone());
        let (outputs, result) = apart::start(move || filter.collect(most, &input, &meta, &prev)).wait()?;
        if outputs.into_iter().skip(given).any(|value| out(value).is_break()) {
            return Ok(());
        }
        result
    }

    /// Up to so many outputs of a run, when already running apart.
    fn collect(&self, most: usize, input: &Json, meta: &Json, prev: &Json) -> Outcome {
        let mut outputs = Vec::new();
        let result = self.run_bounded(input, meta, prev, &mut |value| {
            outputs.push(value);
            if outputs.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        (outputs, result)
    }

    fn run_bounded(
        &self,
        input: &Json,
        meta: &Json,
        prev: &Json,
        out: &mut dyn FnMut(Json) -> ControlFlow<()>,
    ) -> Result<(), String> {
        let failed = || Err("cannot run the filter".to_owned());
        let Some(compiled) = self.bounded.get(&self.variables) else { return failed() };
        run_here(compiled, &self.variables, input, meta, prev, out).unwrap_or_else(|NotQuick| failed())
    }

    /// Whether the first output is neither `false` nor `null`; an error does not match.
    pub(crate) fn matches(&self, input: &Json, meta: &Json, prev: &Json) -> bool {
        self.find(input, meta, prev).is_some()
    }

    /// The first output, if there is one.
    ///
    /// # Errors
    /// As [`Filter::run`].
    pub(crate) fn first(&self, input: &Json, meta: &Json) -> Result<Option<Json>, String> {
        let mut first = None;
        self.run_up_to(1, input, meta, &Json::null(), &mut |value| {
            first = Some(value);
            ControlFlow::Break(())
        })?;
        Ok(first)
    }

    /// Begins to look for the first output.
    pub(crate) fn begin_first(&self, input: &Json, meta: &Json) -> Begun<Result<Option<Json>, String>> {
        begin(
            || self.first(input, meta),
            || {
                let (filter, input, meta) = (self.clone(), input.clone(), meta.clone());
                move || filter.first(&input, &meta)
            },
        )
    }

    /// The first output where it is neither `false` nor `null`; an error does not count.
    pub(crate) fn find(&self, input: &Json, meta: &Json, prev: &Json) -> Option<Json> {
        let mut first = None;
        let result = self.run_up_to(1, input, meta, prev, &mut |value| {
            first = Some(value);
            ControlFlow::Break(())
        });
        first.filter(|value| value.is_truthy() && result.is_ok())
    }
}

/// Runs a program on this thread.
fn run_here(
    compiled: &Compiled,
    variables: &Variables,
    input: &Json,
    meta: &Json,
    prev: &Json,
    out: &mut dyn FnMut(Json) -> ControlFlow<()>,
) -> Result<Result<(), String>, NotQuick> {
    let own = [meta, prev].map(|value| Value(value.0.clone()));
    let context = Ctx::<Data>::new(
        &compiled.lut,
        Vars::new(own.into_iter().chain(variables.iter().map(|(_, value)| value.clone()))),
    );
    // A run that is stopped ends by unwinding, and a few functions of jaq panic when asked for the impossible: that
    // is the program's failure, not ours. After it the iterator is dropped, never used again.
    let run = AssertUnwindSafe(|| {
        let mut outputs = compiled.id.run((context, Value(input.0.clone())));
        for count in 0.. {
            let value = match outputs.next() {
                None => break,
                Some(Ok(Value(value))) => value,
                Some(Err(exception)) => return end_of_run(exception),
            };
            if count >= MAX_OUTPUTS {
                return Err(format!("the filter yields more than {MAX_OUTPUTS} values for one message"));
            }
            if value::too_deep(&value, value::MAX_OUTPUT_DEPTH) {
                return Err(too_deep_message());
            }
            if apart::is_apart() && value::left_of(&value, MAX_TEXT) == 0 {
                return Err(format!("the filter yields a value larger than {} MiB", MAX_TEXT / (1024 * 1024)));
            }
            if out(Json(value)).is_break() {
                break;
            }
        }
        Ok(())
    });
    match catch_unwind(run) {
        Ok(result) => Ok(result),
        Err(payload) if payload.is::<NotQuick>() => Err(NotQuick),
        Err(payload) => Ok(Err(match payload.downcast::<Stopped>() {
            Ok(stopped) => stopped.to_string(),
            Err(_) => "the filter failed with an internal error".to_owned(),
        })),
    }
}

/// What an exception means for the run. `halt` is matched here and nowhere handed on: jaq's own
/// unwrapping would end the process.
fn end_of_run(exception: Exn<'_, Value>) -> Result<(), String> {
    match exception.get_err() {
        Ok(error) => Err(error_text(error.into_val().0)),
        Err(other) => match other.get_halt() {
            Ok(_code) => Ok(()),
            Err(_) => Err("break outside its label".to_owned()),
        },
    }
}
