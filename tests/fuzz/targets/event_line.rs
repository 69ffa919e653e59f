//! Event lines: whatever the line, reading it ends with an event or an error, never a panic.
//!
//! Held: what was read and is written again is one line without raw control characters, and reads
//! as the same event; control frames asked for by an input line can be sent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wscat_plus::internals::{EventLine, InputEvent, parse_input_line};

fuzz_target!(|line: &[u8]| {
    if let Ok(event) = EventLine::parse(line) {
        let mut written = Vec::new();
        event.write_line(&mut written);
        assert_eq!(written.pop(), Some(b'\n'));
        assert!(written.iter().all(|byte| *byte >= b' '), "one line, nothing a terminal acts on");
        let again = EventLine::parse(&written).expect("what is written can be read");
        let mut twice = Vec::new();
        again.write_line(&mut twice);
        assert_eq!(twice.pop(), Some(b'\n'));
        assert_eq!(written, twice, "nothing changes on the way");
        assert_eq!((again.session, again.dir, again.body), (event.session, event.dir, event.body));
    }
    match parse_input_line(line).map(|line| line.event) {
        Ok(InputEvent::Ping(payload) | InputEvent::Pong(payload)) => assert!(payload.len() <= 125),
        Ok(InputEvent::Close { code, reason }) => {
            assert!(reason.len() <= 123);
            assert!(code.is_some() || reason.is_empty(), "a reason follows a code");
        }
        Ok(InputEvent::Message(_) | InputEvent::Ignored) | Err(_) => {}
    }
});
