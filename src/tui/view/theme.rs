//! Colours by what they mean, for every depth of colour and both kinds of background (pure).
//!
//! Invariant: nothing is told by colour alone; without colours it is told by words, signs and bold.

use ratatui::style::{Color, Modifier, Style};

use crate::host::{Depth, Display};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Theme {
    /// Only ASCII is drawn.
    pub ascii: bool,
    /// The head of the screen.
    pub head: Style,
    /// The title of a pane.
    pub title: Style,
    /// The title of the pane that keys go to.
    pub focus: Style,
    pub dim: Style,
    /// Heads of columns.
    pub column: Style,
    /// The line under the cursor.
    pub cursor: Style,
    pub good: Style,
    /// To look at.
    pub warn: Style,
    pub bad: Style,
    /// Charts and bars.
    pub chart: Style,
    pub incoming: Style,
    pub outgoing: Style,
    /// Keys of JSON.
    pub key: Style,
    pub string: Style,
    pub number: Style,
    /// true, false and null.
    pub literal: Style,
}

impl Theme {
    /// For what the terminal can show.
    #[must_use]
    pub(crate) fn new(display: Display, light: bool) -> Self {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        let reversed = plain.add_modifier(Modifier::REVERSED);
        if display.depth == Depth::None {
            return Self {
                ascii: display.ascii,
                head: bold,
                title: plain,
                focus: bold,
                dim: plain,
                column: plain.add_modifier(Modifier::UNDERLINED),
                cursor: reversed,
                good: plain,
                warn: bold,
                bad: bold,
                chart: plain,
                incoming: plain,
                outgoing: plain,
                key: plain,
                string: plain,
                number: plain,
                literal: plain,
            };
        }
        // Dark background, light background: of the sixteen, of 256, and exactly.
        let of = |dark: [Color; 3], on_light: [Color; 3]| {
            let choice = if light { on_light } else { dark };
            let place = match display.depth {
                Depth::None | Depth::Sixteen => 0,
                Depth::Many => 1,
                Depth::True => 2,
            };
            plain.fg(choice[place])
        };
        let rgb = Color::Rgb;
        let i = Color::Indexed;
        let red = of([Color::LightRed, i(203), rgb(243, 108, 108)], [Color::Red, i(124), rgb(176, 20, 20)]);
        let yellow = of([Color::Yellow, i(221), rgb(240, 200, 90)], [Color::Magenta, i(130), rgb(150, 90, 0)]);
        let green = of([Color::Green, i(114), rgb(126, 211, 120)], [Color::Green, i(28), rgb(10, 120, 40)]);
        let cyan = of([Color::Cyan, i(80), rgb(95, 205, 220)], [Color::Blue, i(25), rgb(0, 85, 160)]);
        let magenta = of([Color::Magenta, i(176), rgb(206, 147, 216)], [Color::Magenta, i(90), rgb(130, 20, 130)]);
        let blue = of([Color::LightBlue, i(111), rgb(130, 170, 255)], [Color::Blue, i(26), rgb(20, 70, 190)]);
        let grey = of([Color::DarkGray, i(245), rgb(138, 145, 158)], [Color::DarkGray, i(243), rgb(105, 110, 120)]);
        Self {
            ascii: display.ascii,
            head: bold,
            title: grey,
            focus: cyan.add_modifier(Modifier::BOLD),
            dim: grey,
            column: grey.add_modifier(Modifier::UNDERLINED),
            cursor: reversed,
            good: green,
            warn: yellow,
            bad: red.add_modifier(Modifier::BOLD),
            chart: cyan,
            incoming: green,
            outgoing: blue,
            key: cyan,
            string: green,
            number: yellow,
            literal: magenta,
        }
    }
}
