"""Lines for a terminal as data: spans of text with a style, measured in columns, cut to fit."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from tito.frozen import Frozen, frozen
from tito.render.escape import one_line, stand_in
from tito.render.words import LOOKS, STONES


class Span(NamedTuple):
    """A run of text in one style (a word of Rich's), perhaps with a link to open."""

    text: str
    style: str = ""
    link: str = ""


Line = tuple[Span, ...]


@frozen
class Charset(Frozen):
    """The characters to draw with; `plain` ones are all ASCII."""

    plain: bool
    rule: str
    branch: str
    last: str
    trunk: str
    full: str
    empty: str
    dot: str
    more: str
    quotes: str

    def stone(self, name: str) -> str:
        """The mark of a module or milestone on the timeline."""
        return STONES[name][self.plain]

    def look(self, status: str) -> str:
        """The mark of a status in one column."""
        return LOOKS[status].plain if self.plain else LOOKS[status].mark

    def text(self, words: str) -> str:
        """A text without what this charset lacks; it may be longer than before."""
        return "".join(map(stand_in, words.translate(_PLAIN))) if self.plain else words


_PLAIN = {ord(a): b for a, b in (("–", "-"), ("’", "'"), ("²", "^2"), ("·", "-"), ("…", "..."))}
_COMMAND = re.compile(r"(?<=: )(?:tito|git|python3?) [^,;:]+$")
UNICODE = Charset(False, "─", "├─ ", "└─ ", "│  ", "█", "░", "·", "…", "“”")
ASCII = Charset(True, "-", "+- ", "`- ", "|  ", "#", ".", "-", "~", '""')


def line(*spans: Span | str) -> Line:
    """A line of spans; bare text has no style."""
    return tuple(Span(s) if isinstance(s, str) else s for s in spans)


def columns(spans: Iterable[Span]) -> int:
    """How many columns a line takes."""
    return sum(cell_len(span.text) for span in spans)


def plain_text(spans: Iterable[Span]) -> str:
    """The text of a line."""
    return "".join(span.text for span in spans)


def cut(text: str, room: int, charset: Charset = UNICODE) -> str:
    """A text cut to so many columns; what is left out leaves a sign."""
    if cell_len(text) <= room:
        return text
    return set_cell_size(text, max(0, room - 1)).rstrip() + charset.more if room > 0 else ""


def fit(spans: Line, room: int, charset: Charset = UNICODE) -> Line:
    """A line cut to so many columns."""
    kept: list[Span] = []
    for span in spans:
        width = cell_len(span.text)
        if width > room:
            return (*kept, span._replace(text=cut(span.text, room, charset)))
        kept.append(span)
        room -= width
    return tuple(kept)


def pad(text: str, room: int, charset: Charset = UNICODE) -> str:
    """A text of exactly so many columns."""
    text = cut(text, room, charset)
    return text + " " * (room - cell_len(text))


def ends(left: Line, right: Line, room: int, charset: Charset = UNICODE) -> Line:
    """A line with one part at each end; the right one goes first when they do not fit."""
    gap = room - columns(left) - columns(right)
    return (*left, Span(" " * gap), *right) if gap > 0 else fit(left, room, charset)


def bar(share: float, room: int, charset: Charset, style: str) -> Line:
    """A bar of so many columns, filled to a share between 0 and 1; only all of it looks full."""
    done = room if share >= 1 else min(room - 1, int(share * room))
    return line(Span(charset.full * done, style), Span(charset.empty * (room - done), "dim"))


def wrapped(text: str, room: int) -> list[str]:
    """A text of the course on lines of so many columns, broken at spaces.

    A command at its end stays on one line where that is possible, so that it can be copied.
    """
    text = one_line(text)
    found = _COMMAND.search(text)
    command = [found[0]] if found and cell_len(found[0]) <= room else []
    rows = [""]
    for word in [*text.removesuffix("".join(command)).split(), *command]:
        joined = f"{rows[-1]} {word}" if rows[-1] else word
        if cell_len(joined) <= room:
            rows[-1] = joined
        else:
            rows.append(word)
    return [row for row in rows if row]


def capped(rows: list[str], most: int, room: int, charset: Charset = UNICODE) -> list[str]:
    """So many lines of a text and no more; where some are left out the last one ends in a sign."""
    if len(rows) <= most:
        return rows
    return [*rows[: most - 1], cut(f"{rows[most - 1]:<{room + 1}}", room, charset)]
