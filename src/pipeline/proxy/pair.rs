//! What both sides of a proxied session know of each other.
//!
//! Leaves messages to lanes. Invariant: pings and pongs that wait are bounded; the oldest make room.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::listen::mailbox::Mailbox;
use crate::net::connection::CloseReason;
use crate::session::Outgoing;

/// Pings and pongs that may wait.
const CONTROL_FRAMES: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    Closed(CloseReason),
    Lost,
}

/// Two connections that are one session.
pub(super) struct Pair {
    near: Rc<Mailbox>,
    near_ended: RefCell<Option<Ending>>,
    far_ended: RefCell<Option<Ending>>,
    to_far: RefCell<VecDeque<Outgoing>>,
    far_waker: RefCell<Option<Waker>>,
    near_is_gone: Cell<bool>,
    far_is_gone: Cell<bool>,
}

impl Pair {
    /// Both are there.
    pub(super) fn new(near: Rc<Mailbox>) -> Self {
        Self {
            near,
            near_ended: RefCell::default(),
            far_ended: RefCell::default(),
            to_far: RefCell::default(),
            far_waker: RefCell::default(),
            near_is_gone: Cell::new(false),
            far_is_gone: Cell::new(false),
        }
    }

    /// A ping or pong for the client.
    pub(super) fn control_to_near(&self, frame: Outgoing) {
        self.near.push_control(frame);
    }

    /// A ping or pong for what is behind.
    pub(super) fn control_to_far(&self, frame: Outgoing) {
        let mut frames = self.to_far.borrow_mut();
        if frames.len() >= CONTROL_FRAMES {
            frames.pop_front();
        }
        frames.push_back(frame);
        drop(frames);
        self.wake_far();
    }

    /// The next ping or pong for what is behind; the waker is called when something changes.
    pub(super) fn poll_control_to_far(&self, cx: &mut Context<'_>) -> Option<Outgoing> {
        self.watch_from_far(cx);
        self.to_far.borrow_mut().pop_front()
    }

    /// The far side's waker is called when something changes.
    pub(super) fn watch_from_far(&self, cx: &Context<'_>) {
        let mut waker = self.far_waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn wake_far(&self) {
        if let Some(waker) = self.far_waker.take() {
            waker.wake();
        }
    }

    /// The client said Close.
    pub(super) fn near_closes(&self, close: &CloseReason) {
        self.near_ended.borrow_mut().get_or_insert_with(|| Ending::Closed(close.clone()));
    }

    pub(super) fn far_closes(&self, close: &CloseReason) {
        self.far_ended.borrow_mut().get_or_insert_with(|| Ending::Closed(close.clone()));
    }

    /// The client's session is over.
    pub(super) fn near_goes(&self) {
        self.near_is_gone.set(true);
        self.wake_far();
    }

    /// The connection behind is over.
    pub(super) fn far_goes(&self) {
        self.far_is_gone.set(true);
        self.near.wake();
    }

    /// Whether the client's session is over.
    pub(super) fn near_is_gone(&self) -> bool {
        self.near_is_gone.get()
    }

    /// Whether the connection behind is over.
    pub(super) fn far_is_gone(&self) -> bool {
        self.far_is_gone.get()
    }

    pub(super) fn near_ending(&self) -> Ending {
        self.near_ended.borrow().clone().unwrap_or(Ending::Lost)
    }

    pub(super) fn far_ending(&self) -> Ending {
        self.far_ended.borrow().clone().unwrap_or(Ending::Lost)
    }
}
