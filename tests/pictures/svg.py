#!/usr/bin/env python3
"""Draws what `tmux capture-pane -e` prints as an SVG.

usage: svg.py COLUMNS ROWS TITLE < CAPTURE > PICTURE
"""

import re
import sys
import unicodedata
from html import escape

WIDTH, HEIGHT, SIZE, PAD, BAR = 8.4, 18, 14, 12, 28
BACKGROUND, FOREGROUND = "#14161b", "#d7dae0"
SIXTEEN = (
    "#2b2f38 #f36c6c #7ed378 #f0c85a #82aaff #ce93d8 #5fcddc #d7dae0 "
    "#8a919e #ff8a8a #9be695 #ffdd80 #a6c4ff #e2b1ea #8ae4ef #ffffff"
).split()


def indexed(number):
    """A colour of the table of 256."""
    if number < 16:
        return SIXTEEN[number]
    if number >= 232:
        return "#%02x%02x%02x" % ((8 + 10 * (number - 232),) * 3)
    steps = [0, 95, 135, 175, 215, 255]
    number -= 16
    return "#%02x%02x%02x" % (steps[number // 36], steps[number // 6 % 6], steps[number % 6])


class Style:
    """How the characters that follow look."""

    def __init__(self):
        self.reset()

    def reset(self):
        """As at the beginning."""
        self.fore, self.bold, self.underlined, self.reversed = None, False, False, False

    def take(self, codes):
        """Takes the codes of one escape sequence."""
        codes = [int(code or 0) for code in codes.replace(":", ";").split(";")]
        while codes:
            code = codes.pop(0)
            if code == 0:
                self.reset()
            elif code == 1:
                self.bold = True
            elif code == 4:
                self.underlined = True
            elif code == 7:
                self.reversed = True
            elif code == 22:
                self.bold = False
            elif code == 24:
                self.underlined = False
            elif code == 27:
                self.reversed = False
            elif 30 <= code <= 37:
                self.fore = SIXTEEN[code - 30]
            elif 90 <= code <= 97:
                self.fore = SIXTEEN[code - 82]
            elif code == 39:
                self.fore = None
            elif code in (38, 48) and codes:
                kind = codes.pop(0)
                if kind == 5:
                    colour = indexed(codes.pop(0))
                else:
                    colour = "#%02x%02x%02x" % tuple(codes.pop(0) for _ in range(3))
                if code == 38:
                    self.fore = colour

    def key(self):
        """What makes two characters look alike."""
        return (self.fore, self.bold, self.underlined, self.reversed)


def columns(text):
    """Columns a character takes."""
    if unicodedata.combining(text):
        return 0
    return 2 if unicodedata.east_asian_width(text) in "WF" else 1


def runs(line, style):
    """Pieces of a line that look alike, with the columns they begin at and take."""
    column, pieces = 0, []
    for part in re.split(r"(\x1b\[[0-9;:]*m|\x0e|\x0f)", line):
        if part.startswith("\x1b["):
            style.take(part[2:-1])
            continue
        for character in part:
            if character in "\x0e\x0f":
                continue
            width = columns(character)
            # Wide characters and drawings stand by themselves: fonts differ in how wide they make them.
            alone = width != 1 or ord(character) > 0x2000
            if pieces and pieces[-1][0] == style.key() and not alone and not pieces[-1][4]:
                pieces[-1][2] += character
                pieces[-1][3] += width
            else:
                pieces.append([style.key(), column, character, width, alone])
            column += width
    return pieces


def main():
    """Reads the capture and prints the picture."""
    wide, high, title = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    width, height = wide * WIDTH + 2 * PAD, high * HEIGHT + 2 * PAD + BAR
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
        "".join(
            f'<circle cx="{18 + 18 * place}" cy="16" r="5" fill="{colour}"/>'
            for place, colour in enumerate(["#f36c6c", "#f0c85a", "#7ed378"])
        ),
        f'<g font-family="ui-monospace,Menlo,Consolas,\'DejaVu Sans Mono\',monospace" font-size="{SIZE}" '
        f'fill="{FOREGROUND}" xml:space="preserve">',
    ]
    style = Style()
    for row, line in enumerate(sys.stdin.read().split("\n")[:high]):
        y = PAD + BAR + row * HEIGHT
        for (fore, bold, underlined, is_reversed), column, text, taken, _ in runs(line, style):
            if not text.strip() and not is_reversed:
                continue
            x, length = PAD + column * WIDTH, taken * WIDTH
            colour = fore or FOREGROUND
            if is_reversed:
                out.append(f'<rect x="{x:g}" y="{y:g}" width="{length:g}" height="{HEIGHT}" fill="{colour}"/>')
                colour = BACKGROUND
            # Viewers differ in what they do with spaces: words stand where they stand.
            look = "" if colour == FOREGROUND else f' fill="{colour}"'
            look += ' font-weight="bold"' if bold else ""
            look += ' text-decoration="underline"' if underlined else ""
            for word in re.finditer(r"\S+(?: \S+)*", text):
                before = sum(columns(character) for character in text[: word.start()])
                length = sum(columns(character) for character in word.group()) * WIDTH
                out.append(
                    f'<text x="{x + before * WIDTH:g}" y="{y + 13.5:g}" textLength="{length:g}" '
                    f'lengthAdjust="spacingAndGlyphs"{look}>{escape(word.group())}</text>'
                )
    out += ["</g>", "</svg>"]
    print("\n".join(out))


main()
