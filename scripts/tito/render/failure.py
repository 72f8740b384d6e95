"""The text of one failure, the same on the terminal, in the summary and under plain pytest."""

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tito.report import Failure

LABEL_WIDTH = 10
HEADLINE = 79  # columns
LOOP = "does a loop never end?"
ROUNDS = "what changes from one round to the next?"
ASKED = "input() was called"
KEYBOARD = "input() waits for a keyboard, and there is none here: give the value in the code"
FRAMES = 10  # lines of a traceback that are shown
PRINTED = 20  # lines that a test printed, the last ones
PRINTED_LINE = 160  # characters of such a line


def failure_text(headline: str, parts: Iterable[tuple[str, str]]) -> str:
    """Lay out a failure: the headline alone on its line, then one labelled part a line.

    Args:
        headline: What went wrong, under 80 columns, readable on its own.
        parts: (label, text) pairs; empty texts are left out, further lines are aligned.

    Returns:
        The block without a closing newline.
    """
    lines = [headline]
    for label, text in parts:
        if not text:
            continue
        first, *rest = text.splitlines()
        lines.append(f"  {label:<{LABEL_WIDTH}}{first}")
        lines += [" " * (LABEL_WIDTH + 2) + line for line in rest]
    return "\n".join(lines)


def place_text(file: str | None, line: int | None, step: int | None, command: str) -> str:
    """Where to look and what to run then: `FILE:LINE (step N), then: COMMAND`."""
    place = f"{file}:{line}" if file and line else file or ""
    if place and step is not None:
        place += f" (step {step})"
    if not command:
        return place
    return f"{place}, then: {command}" if place else f"run: {command}"


def named_after(headline: str, of: str, function: str) -> str:
    """A headline that says where an exception was raised, in place of what was asked for."""
    raised = headline.removeprefix(f"{of}: raised ")
    if raised == headline or of.rpartition(".")[2] == function.rpartition(".")[2]:
        return headline
    changed = f"{function}: raised {raised}"
    return changed if len(changed) <= HEADLINE else f"{changed[: HEADLINE - 1]}…"


def last_lines(text: str) -> str:
    """The end of what was printed: as many lines, and as much of each, as help with a mistake."""
    lines = text.rstrip().splitlines()
    left_out = len(lines) - PRINTED
    more = " and more" if lines and lines[0].endswith("bytes before this were dropped)") else ""
    rows = [f"… {left_out:,} earlier lines{more}"] if left_out > 0 else []
    for line in lines[-PRINTED:]:
        rest = len(line) - PRINTED_LINE
        rows.append(line if rest <= 0 else f"{line[:PRINTED_LINE]}… {rest:,} more characters")
    return "\n".join(rows)


def describe(failure: "Failure") -> str:
    """The block of a failure in a report; whoever shows it escapes it."""
    return failure_text(failure.headline, labelled(failure))


def labelled(failure: "Failure") -> list[tuple[str, str]]:
    """The parts of a failure under their labels; some may be empty.

    A traceback of one line adds nothing to the place, so it is left out.
    """
    rows = [f"{frame.file}:{frame.line} in {frame.function}" for frame in failure.traceback]
    runs = [(row, len(list(same))) for row, same in groupby(rows)]
    frames = [row if times == 1 else f"{row}, {times} times" for row, times in runs]
    if len(frames) > FRAMES:  # calls that go round in a circle: how they begin, and how they end
        left_out = len(frames) - FRAMES
        frames[FRAMES // 2 : -FRAMES // 2] = [f"… {left_out} more …"]
    return [
        ("asked", failure.asked),
        ("expected", failure.expected),
        ("got", failure.got),
        ("differs", failure.detail),
        ("hint", failure.hint),
        ("look at", place_text(failure.file, failure.line, failure.step, failure.command)),
        ("through", "\n".join(frames) if len(frames) > 1 else ""),
        ("printed", failure.output.rstrip()),
    ]
