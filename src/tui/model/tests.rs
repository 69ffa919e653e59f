//! A model with something in it, for the tests of what shows and changes it.

use super::*;
use crate::observe::control::{QueueReading, SessionQueue, SessionReading, SessionState, TrafficReading};

/// A session that has received so many messages.
pub(in crate::tui) fn reading(id: &str, received: u64) -> SessionReading {
    SessionReading {
        id: id.into(),
        name: None,
        subject: None,
        pipeline: None,
        peer: format!("127.0.0.1:{}", 5000 + received),
        state: SessionState::Open,
        target: "/".into(),
        since: "1970-01-01T00:00:00Z".into(),
        received: TrafficReading { messages: received, bytes: received * 100 },
        sent: TrafficReading { messages: 2 * received, bytes: received * 10 },
        queue: SessionQueue { depth: received as usize % 1000, bytes: 0, capacity: 1000 },
        lag: None,
        dropped: 0,
        round_trip_ms: Some(0.25),
        retry_in_ms: None,
        wire: None,
        rate_limit: None,
    }
}

impl Model {
    /// The same for who only looks.
    pub(in crate::tui) fn read_only(self) -> Self {
        Self { control: false, ..self }
    }
}

/// A message of a session at so many seconds.
pub(in crate::tui) fn message(session: &str, seconds: i64, dir: Direction, message: Message) -> Rc<Event> {
    let time = Timestamp::from_second(seconds).expect("a time");
    Rc::new(Event { time, session: session.into(), name: None, dir: Some(dir), body: EventBody::Message(message) })
}

/// A server with three sessions and some messages.
pub(in crate::tui) fn model() -> Model {
    let at = |second| Timestamp::from_second(second).expect("a time");
    let mut model = Model::new("wsp listen ws://127.0.0.1:8080/", vec!["here".into()], true, at(0));
    let mut slow = reading("s2", 950);
    slow.state = SessionState::Throttled;
    slow.dropped = 12;
    let mut retrying = reading("s3", 3);
    retrying.state = SessionState::Retrying;
    retrying.retry_in_ms = Some(3000);
    let queue = |depth| QueueReading {
        name: "send".into(),
        depth,
        capacity: 3000,
        bytes: depth * 80,
        utilization: 0.3,
        ..QueueReading::default()
    };
    for (second, depth) in [(0, 10), (1, 400), (2, 953), (3, 700)] {
        let snapshot = Snapshot {
            mode: "listen".into(),
            received: TrafficReading { messages: 1200 * second, bytes: 120_000 * second },
            sent: TrafficReading { messages: 2400 * second, bytes: 240_000 * second },
            queues: vec![queue(depth)],
            dropped: [("queue-full".to_owned(), 12)].into(),
            sessions: vec![reading("s1", 40 * second), slow.clone(), retrying.clone()],
            ..Snapshot::default()
        };
        let now = at(i64::try_from(second).expect("small"));
        model.saw(0, Look { snapshot: Some(snapshot), link: Some(Link::Live), ..Look::default() }, now);
    }
    let events = vec![
        message("s1", 1, Direction::In, Message::text(r#"{"price":10,"asset":"EUR"}"#)),
        message("s1", 1, Direction::Out, Message::text("plain \u{1b}[31mtext\u{7}\nsecond line")),
        message("s2", 2, Direction::In, Message::text(r#"{"price":99,"asset":"日本円😀é"}"#)),
        message("s3", 3, Direction::In, Message::binary(vec![0, 1, 2, 0xff, b'A'])),
        message("s2", 3, Direction::In, Message::text("שלום עולם")),
    ];
    model.saw(0, Look { events, missed: 12_304, ..Look::default() }, at(3));
    let open = EventBody::Open {
        url: None,
        peer: Some("127.0.0.1:5040".into()),
        path: None,
        subprotocol: None,
        extensions: None,
        handshake_ms: None,
        subject: None,
    };
    let open = Event { time: at(0), session: "s1".into(), name: None, dir: None, body: open };
    let error = EventBody::Error { error: "it broke".into() };
    let error = Event { time: at(2), session: "s3".into(), name: None, dir: None, body: error };
    model.saw(0, Look { events: vec![Rc::new(open), Rc::new(error)], ..Look::default() }, at(3));
    model
}
