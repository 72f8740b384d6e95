"""The screen of `tito watch`: a state in, lines out.

Where room is short, what helps least goes first: a failure keeps its first line, its place, what
came, what was expected, and the command that shows it in full.
"""

from typing import Literal, NamedTuple

from rich.cells import cell_len

from tito.files import FileProblem
from tito.ladder import Checkpoint
from tito.render.escape import plain
from tito.render.failure import LABEL_WIDTH, labelled, place_text
from tito.render.lines import (
    Charset,
    Line,
    Span,
    bar,
    capped,
    columns,
    cut,
    ends,
    fit,
    line,
    pad,
    wrapped,
)
from tito.render.tree import share, side_by_side
from tito.render.words import LOOKS, percent, points_words, rung_words
from tito.report import Failure
from tito.unit_outcomes import is_stub
from tito.watch import KEYS, State, first_failure, goes_to

PROSE = ("asked", "hint", "look at", "mend")  # parts that are always wrapped
INDENT = LABEL_WIDTH + 2
# From what is kept longest to what goes first; `open` has the place of `look at`.
ORDER = (
    "headline", "open", "command", "got", "expected", "mend", "tests", "check", "hint", "first",
    "also", "title", "marks", "differs", "asked", "more", "look at", "through", "printed", "blank",
)  # fmt: skip
TALL = 16  # rows of a window in which a part may have four of them and not two


class Block(NamedTuple):
    """Rows that are shown together or not at all."""

    name: str
    rows: list[Line]


def screen(state: State, width: int, height: int, charset: Charset) -> list[Line]:
    """The whole screen: at most `height` lines of at most `width` columns."""
    width, height = max(20, width), max(6, height)
    foot = _foot(state, width, height, charset)
    room = height - len(foot)
    if state.view == "list":
        body = _list(state, width, room, charset)
    elif state.view == "timeline":
        body = side_by_side(state.progress, width, charset)
        if len(body) > room:
            full = line(Span("in full: tito checkpoint timeline", "dim"))
            body = [*[row for row in body if row][: room - 1], full]
    else:
        body = _work(state, width, room, charset)
    body = body[:room]
    return [fit(row, width, charset) for row in body + [()] * (room - len(body)) + foot]


def _foot(state: State, width: int, height: int, charset: Charset) -> list[Line]:
    """The question, note or hint, and the keys."""
    if state.view == "reset":
        ask = f"bring {state.rung.folder} back to its stub? your version is kept aside."
        rows = capped(wrapped(ask, width), max(1, height // 3), width, charset)
        return [*[line(Span(row, "yellow")) for row in rows], line(Span("y yes   n no", "bold"))]
    note = state.note if state.view == "work" else ""
    texts = _shown(note, charset).split("\n")
    told = [row for text in texts for row in wrapped(text, width)]
    rows = capped(told, height // 2, width, charset)
    return [*[line(Span(row, "cyan")) for row in rows], _longest(width, *_keys())]


def _keys() -> list[Line]:
    """The keys with their words, in three lengths."""
    bold = {key: Span(key, "bold") for key in KEYS}
    roomy = [(bold[key], Span(f" {word}   ", "dim")) for key, word in KEYS.items()]
    tight = [(bold[key], Span(f"{word[1:]} ", "dim")) for key, word in KEYS.items()]
    bare = [(bold[key], Span(" ")) for key in KEYS]
    return [tuple(span for pair in pairs for span in pair) for pairs in (roomy, tight, bare)]


def _shown(text: str, charset: Charset) -> str:
    """A text from outside as this terminal can show it."""
    return charset.text(plain(text))


def _longest(width: int, *choices: Line) -> Line:
    """The first of some lines that fits, the longest first; else the last, which is cut."""
    return next((choice for choice in choices if columns(choice) <= width), choices[-1])


# The module in hand


def _work(state: State, width: int, room: int, charset: Charset) -> list[Line]:
    """Where, what came of it, and the first failure: as much of it as there is room for."""
    above = _above(state, width, charset)
    # How many rows of a part, whether that is short of all there is, and what may go for it.
    tries = [(room, False, "blank"), (room, True, "look at"), (8, True, "look at")]
    tries += [(4, True, "open" if room >= TALL else "look at"), (2, True, "open")]
    rows: list[Line] = []
    for most, short, least in tries:
        rows = _kept([*above, *_detail(state, width, most, short, charset)], room, least)
        if len(rows) <= room:
            break
    return rows


def _kept(blocks: list[Block], room: int, least: str) -> list[Line]:
    """The rows of the blocks; while they are too many, what goes first goes, `least` the last."""
    left = list(blocks)
    for name in reversed(ORDER[ORDER.index(least) :]):
        for block in [block for block in left if block.name == name]:
            if sum(len(block.rows) for block in left) > room:
                left.remove(block)
    return [row for block in left for row in block.rows]


def _above(state: State, width: int, charset: Charset) -> list[Block]:
    """Which module, how far the ladder, the file to open, and what the tests gave."""
    progress, c = state.progress, state.rung
    level = "no level yet" if progress.level is None else f"level {progress.level:02}"
    points = f"{points_words(progress.points, progress.ladder.points)}, {level}"
    title = line(Span("tito watch", "dim"), "  ", Span(f"{c.id} {c.module}", "bold"))
    blocked = _blocked(state)
    first = Block("first", [line(Span("first ", "bold"), blocked)] if blocked else [])
    return [
        Block("title", [ends(title, line(points), width, charset)]),
        Block("marks", [_marks(state, width, charset)]),
        Block("blank", [()]),
        Block("open", [_open(state, width, charset)]),
        Block("tests", [_units_line(state, width, charset)]),
        Block("check", [_checkpoint_line(state, width, charset)]),
        first,
        Block("also", [_also(state, width)] if state.also else []),
        Block("blank", [()]),
    ]


def _open(state: State, width: int, charset: Charset) -> Line:
    """The place to open: it is clickable, so its line number is kept as long as possible."""
    file, at, step = _place(state)
    place = _shown(file, charset) + (f":{at}" if at else "")
    path, name = Span(place, "", place), Span(place.rpartition("/")[2], "", place)
    label = Span("open  ", "bold")
    after = f" (step {step})" if step else ""
    return _longest(width, line(label, path, after), line(label, path), (path,), (label, name))


def _place(state: State) -> tuple[str, int | None, int | None]:
    """File, line and step of what to do now."""
    c, (failure, _) = state.rung, first_failure(state)
    if state.problem is not None:
        return state.problem.file, _line_of(state.problem), None
    if failure is not None and failure.file:
        return failure.file, failure.line, failure.step
    if state.here.stubs:
        return c.source, state.here.stubs[0].line, state.here.stubs[0].step
    return c.source, None, None


def _line_of(problem: FileProblem) -> int | None:
    """The line of a problem; the first stands for none, and is where a file opens anyway."""
    return problem.line if problem.line > 1 else None


def _marks(state: State, width: int, charset: Charset) -> Line:
    """The ladder as marks, the module in hand in brackets, and a bar of the points."""
    gap = " " if width >= 70 else ""
    spans: list[Span] = []
    for rung in state.progress.rungs:
        status = "not_started" if rung.status == "absent" else rung.status
        style = "dim" if rung.stale else LOOKS[status].style
        if rung.id == state.rung.id:
            style = f"{style} reverse"
        spans += [Span(charset.look(status), style), Span(gap)]
    most = state.progress.ladder.points
    points = state.progress.points
    left = width - len(state.progress.rungs) * (1 + len(gap)) - 6
    if left < 8:
        return tuple(spans)
    drawn = bar(points / most if most else 0.0, min(left, 40), charset, "green")
    return (*spans, Span(" "), *drawn, Span(f" {percent(points, most, points == most)}%"))


def _also(state: State, width: int) -> Line:
    """The modules that were saved with this one: they are named, and not checked."""
    named = f"{', '.join(state.also)} changed"
    texts = (f"{named} and not checked yet; all at once: tito grade", f"{named}: tito grade")
    return _longest(width, *(line(Span("also  ", "bold"), text) for text in texts))


def _so_far(
    state: State, part: Literal["units", "checkpoint"], words: str, width: int, charset: Charset
) -> Line:
    """That a part of the check runs, how far it is, and for how long once that is worth a word."""
    label = Span("tests " if part == "units" else "check ", "bold")
    at, far = state.running.get(part), []
    if at is not None:
        far.append(f"{at.done} of {at.total} tests" if at.total else f"{at.done} tests")
    if state.seconds:
        far.append(f"{state.seconds} s")
    name = [_shown(at.test, charset)] if at is not None and at.test else []
    texts = [
        f"{told}: {', '.join(parts)}" if parts else told
        for parts in ([*far, *name], far)
        for told in (f"running {words}", "running")
    ]
    return _longest(width, *(line(label, Span(text, "dim")) for text in texts))


def _verdict(charset: Charset, status: str, text: str) -> Line:
    """A mark and a text in the colour of a status."""
    return line(Span(f"{charset.look(status)} ", LOOKS[status].style), text)


def _units_line(state: State, width: int, charset: Charset) -> Line:
    """What the unit tests gave."""
    label, units = Span("tests ", "bold"), state.units
    steps = f"step{'s' if len(state.steps) > 1 else ''} {', '.join(map(str, state.steps))}"
    of = f" of {steps}" if state.steps else ""
    if "units" in state.waiting:
        return _so_far(state, "units", f"the unit tests{of}", width, charset)
    if units is None:
        return (label, *_verdict(charset, "error", "cannot run"))
    if not units.ran:
        return (label, *_verdict(charset, "error", f"the unit tests{of} did not run to their end"))
    count = f"{units.passed} of {units.passed + len(units.failures)}"
    unwritten = units.failures and all(map(is_stub, units.failures))
    status = "passed" if units.ok else "not_started" if unwritten else "failed"
    text = f"{count} unit tests{of} pass"
    texts = [f"{text}, {units.seconds:.1f} s"] if units.ok else []
    texts += [text, f"{count} pass{of.replace(' of', ',')}", f"{count} unit tests pass"]
    return _longest(width, *((label, *_verdict(charset, status, text)) for text in texts))


def _checkpoint_line(state: State, width: int, charset: Charset) -> Line:
    """What the checkpoint gave."""
    label, name, result = Span("check ", "bold"), state.rung.name, state.result
    if "checkpoint" in state.waiting:
        return _so_far(state, "checkpoint", f"the checkpoint, {name}", width, charset)
    if state.trouble:
        return (label, *_verdict(charset, "error", _shown(state.trouble, charset)))
    if result is None:
        return line(label, Span("not run", "dim"))
    short = f"{result.passed} of {len(result.tests)} tests pass"
    if result.message:
        short = _shown(result.message, charset).split("\n")[0]
    texts = (f"{name}: {short}", short)
    return _longest(width, *((label, *_verdict(charset, result.status, text)) for text in texts))


def _blocked(state: State) -> str:
    """What comes before this module, and how: its result may be no more than old."""
    result = state.result
    if "checkpoint" in state.waiting or state.trouble or result is None:
        return ""
    rung = state.progress.by_id.get("".join(result.blocked_by[:1]))
    if result.status == "passed" or rung is None:
        return ""
    written = rung.stale or (rung.result is None and not rung.stubs)
    wants = "is to be graded again" if written else "does not pass yet"
    target = goes_to(state)
    key = "n, or " if target and target.id == rung.id else ""
    return f"{rung.id} {wants}: {key}tito module complete {rung.id}"


# What to say of it


def _detail(state: State, width: int, most: int, short: bool, charset: Charset) -> list[Block]:
    """The first failure, the problem of the file, or what to do next.

    A part has `most` rows; if room is `short`, the last line says how to see everything.
    """
    failure, more = first_failure(state)
    if state.problem is not None:
        return _problem(state, width, most, charset)
    if failure is not None:
        return _failure(failure, more, state.rung, width, most, short, charset)
    if state.waiting:
        return []
    if state.passed:
        return _passed(state, width, charset)
    if state.result and state.result.message:
        rows = wrapped(_shown(state.result.message, charset), width)
        return [Block("headline", [line(row) for row in capped(rows, most, width, charset)])]
    return [Block("command", [line(f"in full: tito module complete {state.rung.id}")])]


def _problem(state: State, width: int, most: int, charset: Charset) -> list[Block]:
    """Why the file cannot be used, and what to do about it."""
    p = state.problem
    assert p is not None
    text = _shown(f"{p.file} cannot be used: {p.message}", charset)
    rows = capped(wrapped(text, width), most, width, charset)
    mend = p.mend.removeprefix("mend ")  # the label says that
    mend += "" if ": " in mend else ", and save again"  # a command says it all
    return [
        Block("headline", [line(Span(row, "bold red")) for row in rows]),
        _part("look at", place_text(p.file, _line_of(p), None, ""), width, most, charset),
        _part("mend", mend, width, most, charset),
    ]


def _passed(state: State, width: int, charset: Charset) -> list[Block]:
    """What passed, what that opens, and where to go from here."""
    c, target = state.rung, goes_to(state)
    rows = [line(Span(f"{c.id} {c.name} passed", "bold green"))]
    capability: list[Line] = []
    stage = next((s for s in state.progress.stages if s.name == c.stage), None)
    if stage is not None and stage.complete:
        left, right = charset.quotes
        text = f"{left}{charset.text(stage.capability)}{right}"
        capability = [line(Span(row, "green")) for row in wrapped(text, width)]
    following = f"n goes to {target.id} {target.module}" if target else ""
    following = following or state.progress.next.command
    return [
        Block("headline", rows),
        Block("more", capability),
        Block("blank", [()]),
        Block("command", [line(Span("next  ", "bold"), following)]),
    ]


def _failure(
    failure: Failure, more: int, c: Checkpoint, width: int, most: int, short: bool, charset: Charset
) -> list[Block]:
    """A failure in its usual form."""
    headline = wrapped(_shown(failure.headline, charset), width)
    rows = [line(Span(row, "bold")) for row in capped(headline, max(3, most), width, charset)]
    parts = [_part(label, text, width, most, charset) for label, text in labelled(failure) if text]
    closing = Block("more", [_more(more, c, width)] if more else [])
    if short:
        command = _shown(failure.command or f"tito checkpoint run {c.id}", charset)
        closing = Block("command", [_in_full(command, width, charset)])
    return [Block("headline", rows), *parts, closing]


def _part(label: str, text: str, width: int, most: int, charset: Charset) -> Block:
    """A labelled part: prose is wrapped, values of many lines keep their columns and are cut."""
    room = width - INDENT
    text = _shown(text, charset)
    rows = text.split("\n")
    if label in PROSE or (len(rows) == 1 and cell_len(text) > room):
        rows = wrapped(text, room) or [""]
    rows = [cut(row, room, charset) for row in capped(rows, most, room, charset)]
    labels = [f"  {label:<{LABEL_WIDTH}}", *[" " * INDENT] * (len(rows) - 1)]
    return Block(label, [line(Span(a, "dim"), b) for a, b in zip(labels, rows, strict=True)])


def _more(more: int, c: Checkpoint, width: int) -> Line:
    """That other tests fail too, and how to see them."""
    brief = f"{more} more: tito checkpoint run {c.id}"
    texts = (f"{brief} --verbose, and tito test {c.id}", brief, f"{more} more")
    return _longest(width, *(line(Span(text, "dim")) for text in texts))


def _in_full(command: str, width: int, charset: Charset) -> Line:
    """That something was left out, and the command that shows it, itself never cut in two."""
    whole = command.partition(" -k ")[0]  # of all tests, where one does not fit
    texts = [
        f"{charset.more} {words}{choice}"
        for choice in (command, whole)
        for words in ("cut to fit; in full: ", "in full: ", "")
    ]
    return _longest(width, *(line(Span(text, "dim")) for text in texts))


# The ladder


def _list(state: State, width: int, room: int, charset: Charset) -> list[Line]:
    """Every module, its state, its points; around the one in hand where not all fit."""
    rows = []
    for rung in state.progress.rungs:
        c = rung.checkpoint
        status = "not_started" if rung.status == "absent" else rung.status
        here = "reverse" if c.id == state.rung.id else ""
        mark = Span(f"{charset.look(status)} ", LOOKS[status].style)
        words = pad(rung_words(rung), max(0, min(29, width - 25)), charset)
        rows.append(line(mark, Span(f"{c.id} {c.module:<15}{words} {share(rung):>3}%", here)))
    title = line(Span("modules", "bold"), Span("   l closes the list", "dim"))
    at = next(i for i, r in enumerate(state.progress.rungs) if r.id == state.rung.id)
    return [title, *_window(rows, at, room - 1, charset)]


def _window(rows: list[Line], at: int, room: int, charset: Charset) -> list[Line]:
    """As many rows as fit around one of them; those left out are counted at either end."""
    if len(rows) <= room:
        return rows
    first = min(max(0, at - room // 2), len(rows) - room)
    later = len(rows) - first - room
    shown = rows[first : first + room]
    if first:
        shown[0] = line(Span(f"{charset.more} {first + 1} earlier", "dim"))
    if later:
        shown[-1] = line(Span(f"{charset.more} {later + 1} later", "dim"))
    return shown
