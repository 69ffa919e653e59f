//! Client sessions: connect, say what comes first, keep alive, connect again, resume, close.
//!
//! [`run`] leads the sessions of one run, each with a [`peer`] that knows what its messages mean; [`input`] hands out what
//! is to be sent through an [`inbox`] each, [`control`] is the run as others see and steer it. Leaves flags to `command/`,
//! the terminal to whoever opens a console, and the loop of a connection to `session/`.

pub(crate) mod control;
pub(crate) mod inbox;
pub(crate) mod info;
pub(crate) mod input;
mod judge;
mod peer;
pub(crate) mod plan;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod shared;
mod unread;
mod verbose;
