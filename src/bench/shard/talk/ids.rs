//! `--match jq`: the ids that the filter finds in what is sent and what arrives, in that order.
//!
//! Leaves to the conversation what an id means. Invariants: one payload is looked at after the other, so that an answer meets
//! the ids of all that was sent before it; what waits is bounded.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::filter::apart::{Begun, begin};
use crate::filter::{Filter, Json};
use crate::message::MessageKind;

/// Most payloads that wait for one whose filter takes its time, and their bytes.
const MOST: usize = 256;
const MOST_BYTES: usize = 1024 * 1024;

/// What a filter finds, as text.
pub(super) type Id = Option<Box<[u8]>>;

#[derive(Debug, Clone, Copy)]
pub(super) enum Whose {
    /// Of a message that was sent, by its number.
    Sent(u64),
    /// Of an answer that arrived at this time.
    Arrived(MessageKind, u64),
}

/// Ids that are being looked for.
#[derive(Debug, Default)]
pub(super) struct Ids {
    current: Option<(Whose, Bytes, Begun<Id>)>,
    waiting: VecDeque<(Whose, Bytes)>,
    bytes: usize,
}

impl Ids {
    /// Whether nothing more may be read or sent.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MOST || self.bytes >= MOST_BYTES
    }

    /// The id in a payload; `None` when it is not known yet, and comes out of [`Ids::poll`].
    pub(super) fn look(&mut self, filter: &Filter, whose: Whose, payload: &[u8]) -> Option<Id> {
        if self.current.is_some() {
            self.bytes += payload.len();
            self.waiting.push_back((whose, Bytes::copy_from_slice(payload)));
            return None;
        }
        match begin_id(filter, payload) {
            Begun::Done(id) => Some(id),
            begun @ Begun::Apart(_) => {
                self.current = Some((whose, Bytes::copy_from_slice(payload), begun));
                None
            }
        }
    }

    /// The next id that was not known at once.
    pub(super) fn poll(&mut self, filter: &Filter, cx: &mut Context<'_>) -> Poll<(Whose, Bytes, Id)> {
        if self.current.is_none()
            && let Some((whose, payload)) = self.waiting.pop_front()
        {
            self.bytes -= payload.len();
            let begun = begin_id(filter, &payload);
            self.current = Some((whose, payload, begun));
        }
        let Some((_, _, begun)) = &mut self.current else { return Poll::Pending };
        // Where a filter cannot be stopped the run ends, and says so.
        let id = std::task::ready!(begun.poll_any(cx)).cloned().unwrap_or_default();
        self.current.take().map_or(Poll::Pending, |(whose, payload, _)| Poll::Ready((whose, payload, id)))
    }
}

fn begin_id(filter: &Filter, payload: &[u8]) -> Begun<Id> {
    let Ok(value) = Json::parse(payload) else { return Begun::Done(None) };
    begin(
        || id_of(filter, &value),
        || {
            let (filter, value) = (filter.clone(), value.clone());
            move || id_of(&filter, &value)
        },
    )
}

fn id_of(filter: &Filter, value: &Json) -> Id {
    let null = Json::null();
    let id = filter.find(value, &null, &null)?;
    Some(id.to_compact_string().into_bytes().into())
}
