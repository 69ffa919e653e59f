//! What happens to a message between being received and being delivered.
//!
//! Owns jq programs ([`jq`]), JSON Schema ([`schema`]), the `--template` language ([`template`]) messages written in it ([`draft`]), and state kept
//! from message to message ([`fold`]).
//! Knows nothing of sockets, queues or sessions: text and values in, text and values out.
//! Invariants: jaq is seen below `jq` alone, minijinja in `template` and jsonschema in `schema` alone; what is compiled
//! once can be run any number of times, from any thread; what is not quick is done [`apart`].

pub(crate) mod apart;
pub(crate) mod draft;
pub(crate) mod fold;
pub(crate) mod jq;
pub(crate) mod schema;
pub(crate) mod template;

pub(crate) use draft::{Draft, DraftError, Filler};
pub(crate) use fold::{Change, Fold, SharedStates, States};
pub(crate) use jq::{Arguments, Filter, FilterError, Json, PeerFilter};
pub(crate) use schema::{Schema, SchemaError};
pub(crate) use template::Template;
