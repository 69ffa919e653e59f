//! Screens as they look: keys in, a screen out.

use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use super::draw;
use super::theme::Theme;
use crate::host::{Depth, Display};
use crate::observe::control::{BatchReading, FoldReading, QueueReading};
use crate::observe::snapshot::Snapshot;
use crate::tui::keymap::tests::keys;
use crate::tui::model::tests::model;
use crate::tui::model::{Link, Look, Model};

const PLAIN: Display = Display { depth: Depth::None, ascii: false, light: false, dumb: false };
const SIXTEEN: Display = Display { depth: Depth::Sixteen, ascii: false, light: false, dumb: false };
const ASCII: Display = Display { depth: Depth::None, ascii: true, light: false, dumb: false };
const TRUE: Display = Display { depth: Depth::True, ascii: false, light: false, dumb: false };

fn press(model: &mut Model, typed: &str) {
    for key in keys(typed) {
        let _ = model.key(key);
    }
    while model.messages.step() {}
}

fn buffer(model: &Model, (width, height): (u16, u16), display: Display) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let theme = Theme::new(display, model.light);
    terminal.draw(|frame| draw(frame, model, &theme)).expect("a frame");
    terminal.backend().buffer().clone()
}

/// The screen after these keys.
fn screen(typed: &str, size: (u16, u16), display: Display) -> String {
    let mut model = model();
    model.rows = usize::from(size.1);
    press(&mut model, typed);
    text(&buffer(&model, size, display))
}

fn text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let mut row = String::new();
        let mut skip = 0;
        for x in 0..buffer.area.width {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            let symbol = buffer[(x, y)].symbol();
            skip = super::text::columns(symbol).saturating_sub(1);
            row.push_str(symbol);
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// Runs of cells that look alike, row by row.
fn styles(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let mut runs: Vec<(String, String)> = Vec::new();
        for x in 0..buffer.area.width {
            let cell = &buffer[(x, y)];
            let mut style = match cell.fg {
                Color::Reset => String::new(),
                colour => colour.to_string(),
            };
            for (modifier, name) in
                [(Modifier::BOLD, "+bold"), (Modifier::REVERSED, "+reversed"), (Modifier::UNDERLINED, "+underlined")]
            {
                if cell.modifier.contains(modifier) {
                    style.push_str(name);
                }
            }
            match runs.last_mut() {
                Some((last, symbols)) if *last == style => symbols.push_str(cell.symbol()),
                _ => runs.push((style, cell.symbol().to_owned())),
            }
        }
        let row = runs.iter().filter(|(style, symbols)| !style.is_empty() && !symbols.trim().is_empty());
        let row: Vec<String> = row.map(|(style, symbols)| format!("{style}[{}]", symbols.trim())).collect();
        text.push_str(&row.join(" "));
        text.push('\n');
    }
    text
}

#[test]
fn all_panes_at_80_by_24() {
    insta::assert_snapshot!(screen("", (80, 24), PLAIN));
}

#[test]
fn all_panes_on_a_large_screen() {
    insta::assert_snapshot!(screen("", (160, 44), PLAIN));
}

#[test]
fn states_and_the_batch_that_waits_are_beside_the_queue() {
    let mut model = model();
    let mut snapshot = model.sources[0].snapshot.clone();
    snapshot.folds = Some(FoldReading { states: 812, most: 100_000, evicted: 5 });
    let gathering = Some(BatchReading { messages: 1037, age_ms: 1249.0 });
    snapshot.queues = vec![QueueReading {
        name: "kafka://localhost:9092/ticks".into(),
        depth: 90,
        capacity: 10_000,
        batches: Some(1204),
        gathering,
        ..QueueReading::default()
    }];
    model.saw(0, Look { snapshot: Some(snapshot), ..Look::default() }, Timestamp::from_second(4).expect("a time"));
    let screens = [(80, 24), (160, 44)].map(|size| {
        model.rows = usize::from(size.1);
        text(&buffer(&model, size, PLAIN))
    });
    for screen in &screens {
        for told in ["dropped queue-full 12", "812/100k states, 5 evicted", "batch of 1,037 waits 1.2s"] {
            assert!(screen.contains(told), "{told}: {screen}");
        }
    }
    insta::assert_snapshot!(screens.join("\n"));
}

#[test]
fn one_pane_at_a_time_at_40_by_10() {
    let panes = ["1", "2", "3", "4"].map(|pane| screen(pane, (40, 10), PLAIN));
    insta::assert_snapshot!(panes.join("\n"));
}

#[test]
fn all_panes_in_ascii() {
    let shown = screen("", (80, 24), ASCII);
    let ours = shown.lines().filter(|line| !line.contains("EUR") && !line.contains("日") && !line.contains("ש"));
    assert!(ours.clone().all(str::is_ascii), "{shown}");
    insta::assert_snapshot!(shown);
}

#[test]
fn a_named_session_is_shown_with_its_name_and_subject() {
    let mut model = model();
    let mut named = crate::tui::model::tests::reading("s1", 5);
    (named.name, named.subject) = (Some("an\u{1b}[31mna".into()), Some("user-1".into()));
    let snapshot = Snapshot { sessions: vec![named], ..Snapshot::default() };
    model.saw(0, Look { snapshot: Some(snapshot), link: Some(Link::Live), ..Look::default() }, model.now);
    let shown = text(&buffer(&model, (100, 24), PLAIN));
    assert!(shown.contains("named an\\u001b[31mna") && shown.contains("subject user-1"), "{shown}");
    assert!(shown.lines().any(|line| line.contains("s1 an\\u001b[31mna")), "{shown}");
    model.sessions.set_filter("user-1");
    assert_eq!(model.sessions.len(), 1);
}

#[test]
fn colours_say_what_words_say() {
    insta::assert_snapshot!(styles(&buffer(&model(), (80, 24), SIXTEEN)));
}

#[test]
fn without_colours_there_are_none() {
    let plain = buffer(&model(), (80, 24), PLAIN);
    assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    let exact = buffer(&model(), (80, 24), TRUE);
    assert!(exact.content.iter().any(|cell| matches!(cell.fg, Color::Rgb(..))));
    assert_eq!(text(&plain), text(&exact), "the words are the same");
}

#[test]
fn a_light_screen_has_colours_of_its_own() {
    let mut light = model();
    press(&mut light, "c");
    assert_ne!(styles(&buffer(&light, (80, 24), TRUE)), styles(&buffer(&model(), (80, 24), TRUE)));
}

#[test]
fn help_shows_the_keys() {
    insta::assert_snapshot!(screen("?", (80, 24), PLAIN));
    let last = screen("?G", (40, 10), PLAIN);
    assert!(last.contains("Ctrl-C"), "{last}");
}

#[test]
fn who_only_looks_is_offered_no_keys_that_act() {
    let mut looking = model().read_only();
    let first = text(&buffer(&looking, (80, 24), PLAIN));
    press(&mut looking, "?");
    let help = text(&buffer(&looking, (80, 44), PLAIN));
    for offered in [
        "i send",
        "x close",
        "send a message",
        "close the session",
        "pause or resume reading",
        "mark the \
    selected",
    ] {
        assert!(!first.contains(offered) && !help.contains(offered), "{offered}");
    }
    for key in ["i", "x", "K", "r", "p", "l", "m"] {
        let mut looking = model().read_only();
        press(&mut looking, key);
        let last = text(&buffer(&looking, (80, 24), PLAIN)).lines().last().unwrap_or_default().to_owned();
        assert!(last.contains("read-only") && last.contains("--control"), "{key}: {last}");
    }
}

#[test]
fn a_long_line_of_the_log_is_read_whole() {
    let mut model = model();
    model.heard("wsp: ws://127.0.0.1:9001/: cannot connect: connection refused; reconnecting in 1.2 s (retry 17)");
    model.heard(&format!("a very long line, {}the end of it", "and on it goes, ".repeat(30)));
    model.pane = crate::tui::model::Pane::Log;
    let wrapped = text(&buffer(&model, (80, 24), PLAIN));
    assert!(wrapped.trim_end().lines().rev().nth(1).is_some_and(|line| line.ends_with('…')), "{wrapped}");
    press(&mut model, "<enter>");
    let whole = text(&buffer(&model, (80, 24), PLAIN));
    press(&mut model, "<esc>kz");
    let zoomed = text(&buffer(&model, (60, 12), PLAIN));
    insta::assert_snapshot!([whole, zoomed].join("\n"));
}

#[test]
fn the_mouse_finds_what_it_points_at() {
    use crate::tui::model::sessions::Column;
    use crate::tui::model::{Hit, Pane};
    let mut model = model();
    let screen = text(&buffer(&model, (80, 24), PLAIN));
    let rows: Vec<&str> = screen.lines().collect();
    let row = |part: &str| rows.iter().position(|row| row.contains(part)).expect("it is there") as u16;
    let table = [
        ((5, row("s2 ")), Some(Hit::Session(1))),
        ((3, row("state")), Some(Hit::Column(Column::Id))),
        ((78, row("state")), Some(Hit::Column(Column::Age))),
        ((5, row("Sessions")), Some(Hit::Pane(Pane::Sessions))),
        ((5, row("Queues") + 1), Some(Hit::Pane(Pane::Queues))),
        ((40, row("price\":99")), Some(Hit::Message(2))),
        ((5, row("it broke")), Some(Hit::Log(0))),
        ((5, 0), None),
        ((5, 23), None),
        ((200, 200), None),
    ];
    for (at, expected) in table {
        assert_eq!(super::hit((80, 24), &model, at), expected, "{at:?} of\n{screen}");
    }
    model.clicked(Hit::Session(1));
    assert_eq!((model.pane, model.sessions.place()), (Pane::Sessions, Some(1)));
    model.clicked(Hit::Column(Column::In));
    model.clicked(Hit::Column(Column::In));
    assert_eq!(model.sessions.sort(), (Column::In, true));
    model.clicked(Hit::Message(2));
    assert_eq!((model.pane, model.messages.cursor()), (Pane::Messages, Some(2)));
    model.wheeled(Some(Pane::Sessions), -3);
    assert_eq!((model.pane, model.sessions.place()), (Pane::Messages, Some(0)), "the keys stay where they were");
    model.clicked(Hit::Message(2));
    assert!(matches!(model.overlay, crate::tui::model::Overlay::Detail(_)), "a second click looks closer");
    assert_eq!(super::hit((80, 24), &model, (5, row("s2 "))), None, "what lies beneath is not hit");
    press(&mut model, "<esc>");
    model.clicked(Hit::Log(1));
    assert!(matches!(&model.overlay, crate::tui::model::Overlay::LogLine(line, 0) if line.text.contains("open")));
}

#[test]
fn what_compression_saves_is_shown() {
    use crate::message::Message;
    use crate::message::event::Direction;
    use crate::observe::control::{TrafficReading, WireReading};
    use crate::tui::model::{Look, tests};
    let mut model = model();
    let mut reading = tests::reading("s1", 40);
    reading.received = TrafficReading { messages: 10, bytes: 1000 };
    reading.sent = TrafficReading::default();
    reading.wire = Some(WireReading { received: 230, sent: 0 });
    model.sessions.set(0, vec![reading], model.now);
    let compressed = Message::text("x".repeat(12_345)).with_wire(Some(987));
    let events = vec![tests::message("s1", 3, Direction::In, compressed)];
    model.saw(0, Look { events, ..Look::default() }, model.now);
    let screen = text(&buffer(&model, (80, 24), PLAIN));
    assert!(screen.contains("on the wire 23% -"), "{screen}");
    press(&mut model, "<enter>");
    let screen = text(&buffer(&model, (80, 24), PLAIN));
    assert!(screen.contains("in text 12,345 bytes, 987 on the wire (8 %) 1970-"), "{screen}");
}

#[test]
fn a_wrong_filter_is_told_under_the_line() {
    insta::assert_snapshot!(screen("/.price >", (80, 24), PLAIN));
}

#[test]
fn a_filter_and_a_pause_stand_in_the_title() {
    insta::assert_snapshot!(screen("/.price > 5<enter> ", (80, 24), PLAIN));
}

#[test]
fn a_message_in_full() {
    let json = screen("g<enter>", (80, 14), PLAIN);
    let bytes = screen("gjjj<enter>", (80, 14), PLAIN);
    let hex = screen("g<enter>h", (60, 12), PLAIN);
    insta::assert_snapshot!([json, bytes, hex].join("\n"));
}

#[test]
fn questions_stand_at_the_bottom() {
    let bottom = |typed: &str| {
        let screen = screen(typed, (60, 20), PLAIN);
        screen.lines().skip(18).map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(
        ["x", "x99y", "ihello", "i<tab>", "W", "fplain", "K", "l5", "lx<enter>"].map(bottom).join("\n")
    );
}

#[test]
fn sessions_are_sorted_marked_and_filtered() {
    insta::assert_snapshot!(screen("1joooom/s<enter>", (120, 20), PLAIN));
}

#[test]
fn wide_signs_and_other_scripts_break_no_row() {
    let model = model();
    let drawn = buffer(&model, (80, 24), PLAIN);
    for y in 0..24 {
        let width: u16 = {
            let row: String = text(&drawn).lines().nth(y).expect("a row").to_owned();
            super::text::columns(&row)
        };
        assert!(width <= 80, "row {y}");
    }
    let whole: String = drawn.content.iter().map(ratatui::buffer::Cell::symbol).collect();
    assert!(!whole.contains(char::is_control), "nothing drives the terminal");
    assert!(whole.contains("\\u001b[31mtext\\u0007\\nsecond line"), "it is shown instead");
}

#[test]
fn it_draws_at_any_size() {
    let mut model = model();
    for typed in ["", "?", "<esc><enter>", "<esc>/.x", "<esc>x", "<esc>1", "2", "4z"] {
        press(&mut model, typed);
        for width in [0, 1, 2, 5, 13, 40, 61, 115, 140] {
            for height in [0, 1, 2, 3, 5, 16, 17, 41] {
                let _ = buffer(&model, (width, height), SIXTEEN);
            }
        }
    }
}
