//! Connections that are not sessions yet: how many there may be, and which must go (pure).
//!
//! Leaves ending them to whoever holds the handles. A connection counts from being accepted until it is a session or has
//! ended; each request it makes whole puts it behind the others. Invariants: there are never more than allowed; the one
//! that goes is the one longest without a whole request; nobody new comes in while all of them are young, so that a burst
//! waits in the system's queue instead of displacing itself.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A connection older than this may be dropped for a new one.
const PATIENCE: Duration = Duration::from_secs(1);
/// As many of one address there may be in any case.
const ADDRESS_AT_LEAST: usize = 16;

/// The connections under way; each has a handle by which it can be ended.
#[derive(Debug)]
pub(crate) struct Openings<H> {
    max: usize,
    max_per_ip: Option<usize>,
    next: u64,
    by_age: BTreeMap<u64, Opening<H>>,
    per_ip: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Opening<H> {
    since: Instant,
    ip: Option<IpAddr>,
    handle: H,
}

impl<H> Openings<H> {
    /// With nobody. At most `max` at a time; of one address twice what it may have as sessions, and never less than 16.
    #[must_use]
    pub(crate) fn new(max: usize, sessions_per_ip: Option<usize>) -> Self {
        let max_per_ip = sessions_per_ip.map(|sessions| sessions.saturating_mul(2).max(ADDRESS_AT_LEAST));
        Self { max: max.max(1), max_per_ip, next: 0, by_age: BTreeMap::new(), per_ip: HashMap::new() }
    }

    /// Makes room for one more, which may cost another its life: that one's handle.
    ///
    /// # Errors
    /// All are young: not before that time.
    pub(crate) fn make_room(&mut self, now: Instant) -> Result<Option<H>, Instant> {
        if self.by_age.len() < self.max {
            return Ok(None);
        }
        let patience_ends = self.by_age.first_key_value().map(|(_, oldest)| oldest.since + PATIENCE);
        match patience_ends {
            Some(end) if now < end => Err(end),
            _ => Ok(self.drop_oldest()),
        }
    }

    /// Drops the one that has been silent longest.
    pub(crate) fn drop_oldest(&mut self) -> Option<H> {
        let id = *self.by_age.first_key_value()?.0;
        self.remove(id)
    }

    /// One more: its number, and whom of the same address it displaces.
    pub(crate) fn begin(&mut self, ip: Option<IpAddr>, handle: H, now: Instant) -> (u64, Option<H>) {
        // Without a limit for each address nothing needs to be known of it.
        let ip = ip.filter(|_| self.max_per_ip.is_some()).map(|ip| ip.to_canonical());
        let of_ip = ip.and_then(|ip| self.per_ip.get(&ip)).copied().unwrap_or(0);
        let displaced = match self.max_per_ip {
            Some(max) if of_ip >= max => {
                let oldest = self.by_age.iter().find(|(_, opening)| opening.ip == ip).map(|(id, _)| *id);
                oldest.and_then(|id| self.remove(id))
            }
            _ => None,
        };
        if let Some(ip) = ip {
            *self.per_ip.entry(ip).or_default() += 1;
        }
        (self.insert(Opening { since: now, ip, handle }), displaced)
    }

    fn insert(&mut self, opening: Opening<H>) -> u64 {
        self.next += 1;
        self.by_age.insert(self.next, opening);
        self.next
    }

    /// A whole request came: it is young again, under another number.
    pub(crate) fn on_request(&mut self, id: u64, now: Instant) -> u64 {
        match self.by_age.remove(&id) {
            Some(opening) => self.insert(Opening { since: now, ..opening }),
            None => id,
        }
    }

    /// It is a session now, or has ended; its handle, unless it was dropped before.
    pub(crate) fn remove(&mut self, id: u64) -> Option<H> {
        let opening = self.by_age.remove(&id)?;
        if let Some(ip) = opening.ip
            && let Some(count) = self.per_ip.get_mut(&ip)
        {
            *count -= 1;
            if *count == 0 {
                self.per_ip.remove(&ip);
            }
        }
        Some(opening.handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn when_all_places_are_taken_the_oldest_goes_but_not_before_its_time() {
        let start = Instant::now();
        let mut openings = Openings::new(2, None);
        let (a, _) = openings.begin(Some(ip(1)), 'a', start);
        assert_eq!(openings.make_room(start), Ok(None));
        openings.begin(Some(ip(1)), 'b', start + PATIENCE / 2);
        assert_eq!(openings.make_room(start + PATIENCE / 2), Err(start + PATIENCE));
        // One that has made a request is behind the other.
        let again = openings.on_request(a, start + PATIENCE / 2);
        assert_ne!(a, again);
        assert_eq!(openings.make_room(start + 2 * PATIENCE), Ok(Some('b')));
        assert_eq!(openings.remove(a), None);
        assert_eq!(openings.remove(again), Some('a'));
        assert_eq!(openings.remove(again), None);
    }

    #[test]
    fn one_address_displaces_itself() {
        let start = Instant::now();
        let mut openings = Openings::new(1000, Some(1));
        let handles: Vec<u32> = (0..20).collect();
        let displaced: Vec<_> =
            handles.iter().filter_map(|handle| openings.begin(Some(ip(1)), *handle, start).1).collect();
        assert_eq!(displaced, [0, 1, 2, 3]);
        assert_eq!(openings.begin(Some(ip(2)), 99, start).1, None);
        assert_eq!(openings.by_age.len(), ADDRESS_AT_LEAST + 1);
        for id in 0..=openings.next {
            openings.remove(id);
        }
        assert!(openings.per_ip.is_empty(), "{openings:?}");
    }
}
