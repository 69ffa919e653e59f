//! How deep the queues were, over time (pure).
//!
//! Owns the samples and the highest depth. Leaves drawing to the view. Invariant: memory is bounded in samples and queues.

use std::collections::VecDeque;

use crate::observe::control::{BatchReading, QueueReading};

/// Samples of each queue.
const SAMPLES: usize = 600;
/// Most queues that are distinguished.
const QUEUES: usize = 64;

/// A queue over time.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    pub source: usize,
    pub name: String,
    pub capacity: usize,
    /// Payload bytes in it.
    pub bytes: usize,
    /// The most that was in it.
    pub high: usize,
    /// Messages made of several from it, where that is done.
    pub batches: Option<u64>,
    /// The batch that is being gathered from it, where messages wait for others.
    pub gathering: Option<BatchReading>,
    /// What was in it, the newest last.
    pub depths: VecDeque<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Queues {
    tracks: Vec<Track>,
    /// The one that is shown; none is all together.
    shown: Option<usize>,
}

impl Queues {
    /// The queues of a source as they are now.
    pub(crate) fn set(&mut self, source: usize, readings: &[QueueReading]) {
        self.tracks.retain(|track| track.source != source || readings.iter().any(|now| now.name == track.name));
        for reading in readings {
            let place = self.tracks.iter().position(|track| track.source == source && reading.name == track.name);
            if place.is_none() && self.tracks.len() >= QUEUES {
                continue;
            }
            let place = place.unwrap_or_else(|| {
                self.tracks.push(Track {
                    source,
                    name: reading.name.to_string(),
                    capacity: 0,
                    bytes: 0,
                    high: 0,
                    batches: None,
                    gathering: None,
                    depths: VecDeque::new(),
                });
                self.tracks.len() - 1
            });
            let track = &mut self.tracks[place];
            track.capacity = reading.capacity;
            track.bytes = reading.bytes;
            (track.batches, track.gathering) = (reading.batches, reading.gathering);
            track.high = track.high.max(reading.depth);
            if track.depths.len() >= SAMPLES {
                track.depths.pop_front();
            }
            track.depths.push_back(reading.depth);
        }
        self.shown = self.shown.filter(|place| *place < self.tracks.len());
    }

    /// Shows the next one.
    pub(crate) fn next(&mut self) {
        let next = self.shown.map_or(0, |place| place + 1);
        self.shown = (next < self.tracks.len() && self.tracks.len() > 1).then_some(next);
    }

    /// The one that is shown, or all together.
    #[must_use]
    pub(crate) fn shown(&self) -> Track {
        if let Some(track) = self.shown.and_then(|place| self.tracks.get(place)) {
            return track.clone();
        }
        if let [only] = &self.tracks[..] {
            return only.clone();
        }
        let longest = self.tracks.iter().map(|track| track.depths.len()).max().unwrap_or_default();
        let mut total = Track {
            source: 0,
            name: "all".to_owned(),
            capacity: self.tracks.iter().map(|track| track.capacity).sum(),
            bytes: self.tracks.iter().map(|track| track.bytes).sum(),
            high: 0,
            batches: self.tracks.iter().filter_map(|track| track.batches).reduce(|sum, one| sum + one),
            gathering: self.tracks.iter().filter_map(|track| track.gathering).reduce(|sum, one| BatchReading {
                messages: sum.messages + one.messages,
                age_ms: sum.age_ms.max(one.age_ms),
            }),
            depths: VecDeque::from(vec![0; longest]),
        };
        for track in &self.tracks {
            let offset = longest - track.depths.len();
            for (place, depth) in track.depths.iter().enumerate() {
                total.depths[offset + place] += depth;
            }
        }
        total.high = total.depths.iter().copied().max().unwrap_or_default();
        total
    }

    pub(crate) fn len(&self) -> usize {
        self.tracks.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &'static str, depth: usize) -> QueueReading {
        QueueReading { name: name.into(), depth, capacity: 100, bytes: depth * 10, ..QueueReading::default() }
    }

    #[test]
    fn queues_are_shown_one_by_one_and_together() {
        let mut queues = Queues::default();
        queues.set(0, &[queue("a", 5)]);
        queues.set(0, &[queue("a", 3), queue("b", 20)]);
        let all = queues.shown();
        assert_eq!((all.name.as_str(), all.capacity, all.high), ("all", 200, 23));
        assert_eq!(all.depths, [5, 23]);
        queues.next();
        assert_eq!((queues.shown().name.as_str(), queues.shown().high), ("a", 5));
        queues.next();
        assert_eq!(queues.shown().name, "b");
        queues.next();
        assert_eq!(queues.shown().name, "all");
        // What is gathered is added up, and of its age the greatest is shown.
        let gathers = |name, messages, age_ms| QueueReading {
            gathering: Some(BatchReading { messages, age_ms }),
            batches: Some(messages + 1),
            ..queue(name, 1)
        };
        queues.set(0, &[gathers("a", 3, 40.0), gathers("b", 4, 20.0)]);
        let all = queues.shown();
        assert_eq!((all.gathering, all.batches), (Some(BatchReading { messages: 7, age_ms: 40.0 }), Some(9)));
        queues.next();
        assert_eq!(queues.shown().gathering, Some(BatchReading { messages: 3, age_ms: 40.0 }));
        (0..2 * SAMPLES).for_each(|_| queues.set(0, &[queue("b", 1)]));
        assert_eq!((queues.len(), queues.shown().depths.len()), (1, SAMPLES));
    }
}
