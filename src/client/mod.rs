//! Client sessions: connect, say what comes first, keep alive, connect again, resume, close.
//!
//! The [`engine`] is the life of any client session, [`opening`] and [`voice`] what one says by itself, [`outage`] what
//! a loss cost. The rest is a run of sessions for a person, a pipe or a script: [`run`] leads them, each has a [`peer`]
//! that knows what its messages mean, and [`life`] tells how it fares; [`input`] hands out what is to be sent through
//! an [`inbox`] each, [`control`] is the run as others see and steer it. Leaves flags to `command/`, the terminal to
//! the code that opens a console, and the loop of a connection to `session/`.

pub(crate) mod control;
pub(crate) mod engine;
pub(crate) mod events;
mod heartbeat;
pub(crate) mod inbox;
pub(crate) mod info;
pub(crate) mod input;
mod judge;
mod life;
pub(crate) mod opening;
pub(crate) mod outage;
mod peer;
pub(crate) mod plan;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod shared;
mod unread;
mod verbose;
pub(crate) mod voice;
