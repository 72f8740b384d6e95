"""The milestones on a line of years, for a terminal. Pure: what was found in, lines out."""

from collections.abc import Sequence
from itertools import pairwise

from tito.milestones import Found
from tito.render.escape import one_line
from tito.render.lines import Charset, Line, Span, ends, fit, line, wrapped

DECADE = 15  # years that one line of the trunk stands for
MARKS = {"reached": ("●", "*"), "missed": ("◐", "~"), "unlocked": ("○", "o"), "locked": ("·", ".")}
STYLES = {"reached": "green", "missed": "yellow", "unlocked": "cyan", "locked": "dim"}


def state(found: Found) -> str:
    """Where a milestone stands, in a word."""
    if found.record is not None:
        return "reached" if found.record.passed else "missed"
    return "unlocked" if found.unlocked else "locked"


def _words(found: Found, charset: Charset) -> str:
    """What is known of it: the last run, what it must reach, or what is missing."""
    if found.problem:
        return found.problem
    if found.record is not None:
        return f"{'quick run' if found.record.quick else 'full run'}: {found.record.summary}"
    if found.missing:
        return f"still to pass: {' '.join(found.missing)}"
    if found.missing is None:
        return "no report yet shows what has passed"
    return f"must reach {found.milestone.must}"


def years(milestones: Sequence[Found], width: int, charset: Charset) -> list[Line]:
    """Draw the milestones from the first year to the last; a wide gap in years is a longer one."""
    width = min(max(width, 30), 100)
    gaps = [b.milestone.year - a.milestone.year for a, b in pairwise(milestones)]
    trunk = charset.trunk.strip()
    rows: list[Line] = []
    for i, found in enumerate(milestones):
        word = state(found)
        mark = MARKS[word][charset.plain]
        m = found.milestone
        left = line(
            Span(f"{m.year} ", "bold"),
            Span(f"{mark} ", STYLES[word]),
            Span(charset.text(m.title), "bold"),
        )
        left = fit(left, width - len(word) - 1, charset)
        rows.append(ends(left, line(Span(word, STYLES[word])), min(width, 72), charset))
        final = i == len(milestones) - 1
        lead = Span(f"     {' ' if final else trunk} ", "dim")
        text = charset.text(_words(found, charset))
        rows += [(lead, Span(row)) for row in wrapped(one_line(text), width - 7)]
        for _ in range(0 if final else 1 + gaps[i] // DECADE if gaps[i] >= 2 else 0):
            rows.append(line(Span(f"     {trunk}", "dim")))
    return rows
