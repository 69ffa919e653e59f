//! Work with filters for one message: begun in place, and begun again apart where a filter of it is not quick.
//!
//! The work makes a value of values and changes nothing, so that it can be begun twice. In place, the first filter that is
//! not quick for what it is given ends it by unwinding ([`leave`]) to where it was begun. Invariant: the thread that
//! begins work is not held up by it.

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Context, Poll, Waker};

use super::{Task, is_apart, start};

thread_local! {
    /// Work has been begun in place on this thread.
    static BEGUN: Cell<bool> = const { Cell::new(false) };
}

/// Why work in place ends: a filter is not quick.
pub(in crate::filter) struct NotQuick;

/// Work that has been begun.
#[derive(Debug)]
pub(crate) enum Begun<T> {
    Done(T),
    Apart(Task<T>),
}

/// Begins work: `here` in place and, where a filter of it is not quick, what `work` returns apart. Both do the same.
pub(crate) fn begin<T, W>(here: impl FnOnce() -> T, work: impl FnOnce() -> W) -> Begun<T>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    let outer = BEGUN.replace(true);
    let done = catch_unwind(AssertUnwindSafe(here));
    BEGUN.set(outer);
    match done {
        Ok(value) => return Begun::Done(value),
        Err(payload) if payload.is::<NotQuick>() => {}
        Err(payload) => resume_unwind(payload),
    }
    let task = start(work());
    if task.is_done_soon()
        && !task.is_cut_short()
        && let Poll::Ready(Ok(value)) = task.poll(&mut Context::from_waker(Waker::noop()))
    {
        return Begun::Done(value);
    }
    Begun::Apart(task)
}

/// Ends the work that was begun in place on this thread; returns where there is none.
pub(in crate::filter) fn leave() {
    if BEGUN.get() {
        not_quick();
    }
}

/// Ends a run in place that turns out not to be quick; returns where runs may take long.
pub(in crate::filter) fn not_quick() {
    if !is_apart() {
        resume_unwind(Box::new(NotQuick));
    }
}

impl<T> Begun<T> {
    /// The result, once it is there, whole or cut short by the end of the run.
    ///
    /// # Errors
    /// When the work cannot be stopped, and the run ends because of it.
    pub(crate) fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<Result<&T, String>> {
        if let Self::Apart(task) = self {
            *self = Self::Done(std::task::ready!(task.poll(cx))?);
        }
        match self {
            Self::Done(value) => Poll::Ready(Ok(value)),
            Self::Apart(_) => Poll::Pending,
        }
    }

    /// The whole result, once it is there. Work that is cut short has none: the code that waits for it ends with the
    /// run.
    ///
    /// # Errors
    /// As [`Begun::poll_any`].
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<&T, String>> {
        if let Self::Apart(task) = self {
            let result = std::task::ready!(task.poll(cx));
            if task.is_cut_short() {
                return Poll::Pending;
            }
            *self = Self::Done(result?);
        }
        self.poll_any(cx)
    }

    /// As [`Begun::poll`].
    ///
    /// # Errors
    /// As [`Begun::poll`].
    pub(crate) async fn finish(mut self) -> Result<T, String> {
        poll_fn(|cx| self.poll(cx).map_ok(|_| ())).await?;
        match self {
            Self::Done(value) => Ok(value),
            Self::Apart(_) => Err("the filter was stopped".to_owned()),
        }
    }
}

/// Work for what has a number and is asked for again until it is taken.
#[derive(Debug)]
pub(crate) struct Turn<T>(Option<(u64, Begun<T>)>);

impl<T> Default for Turn<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Clone> Turn<T> {
    /// The result of the work for this number, which `begin` begins unless it has been begun.
    ///
    /// # Errors
    /// As [`Begun::poll`].
    pub(crate) fn poll(
        &mut self,
        number: u64,
        cx: &mut Context<'_>,
        begin: impl FnOnce() -> Begun<T>,
    ) -> Poll<Result<T, String>> {
        let (_, work) = match &mut self.0 {
            Some(turn) if turn.0 == number => turn,
            turn => turn.insert((number, begin())),
        };
        work.poll(cx).map_ok(Clone::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::apart::tick;
    use crate::filter::{Filter, Json};

    fn first(filter: &Filter, input: &Json) -> Option<String> {
        filter.find(input, &Json::null(), &Json::null()).map(|value| value.to_compact_string())
    }

    fn begun(source: &str, input: &str) -> Begun<Option<String>> {
        let filter = Filter::compile(source).expect("a filter");
        let input = Json::parse(input.as_bytes()).expect("JSON");
        begin(
            || first(&filter, &input),
            || {
                let (filter, input) = (filter.clone(), input.clone());
                move || {
                    assert!(is_apart());
                    first(&filter, &input)
                }
            },
        )
    }

    fn finish<T>(begun: Begun<T>) -> Result<T, String> {
        match begun {
            Begun::Done(value) => Ok(value),
            Begun::Apart(task) => task.wait(),
        }
    }

    #[test]
    fn work_is_done_in_place_where_it_is_quick_and_again_apart_where_it_is_not() {
        assert!(matches!(begun(".a", r#"{"a":1}"#), Begun::Done(Some(one)) if one == "1"));
        for (source, input, wanted) in [
            ("reduce .[] as $x (0; . + $x)", "[1,2,3]", "6"),
            (".a * .b | length", r#"{"a":"x","b":1000}"#, "1000"),
            (".[] * 1000 | length", r#"["a","b"]"#, "1000"),
        ] {
            assert_eq!(finish(begun(source, input)), Ok(Some(wanted.to_owned())), "{source}");
        }
        assert!(!BEGUN.get());
    }

    #[test]
    fn whoever_begins_work_that_never_ends_is_not_held_up() {
        let task = begun("def f: f; f", "1");
        assert!(matches!(task, Begun::Apart(_)), "{task:?}");
        let mut turn = Turn::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(turn.poll(1, &mut cx, || begun("def f: f; f", "1")).is_pending());
        assert!(turn.poll(1, &mut cx, || Begun::Done(None)).is_pending(), "it was begun before");
        assert_eq!(turn.poll(2, &mut cx, || Begun::Done(None)), Poll::Ready(Ok(None)));
        tick();
    }
}
