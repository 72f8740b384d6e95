"""The screen of `tito watch`: a state in, lines out."""

from collections.abc import Iterator

from tito.ladder import Checkpoint
from tito.render.escape import plain
from tito.render.failure import LABEL_WIDTH, describe, place_text
from tito.render.lines import Charset, Line, Span, bar, cut, ends, fit, line, pad, wrapped
from tito.render.tree import share, side_by_side
from tito.render.words import LOOKS, percent, points_words, rung_words
from tito.report import Failure
from tito.watch import KEYS, State, first_failure, goes_to, missing

FREE_TEXT = ("asked", "hint", "look at")  # parts that are prose: wrapped where others are cut
INDENT = LABEL_WIDTH + 2


def screen(state: State, width: int, height: int, charset: Charset) -> list[Line]:
    """The whole screen: at most `height` lines of at most `width` columns."""
    width, height = max(20, width), max(6, height)
    foot = _foot(state, width, charset)
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
    body = [fit(row, width, charset) for row in body[:room]]
    return body + [()] * (room - len(body)) + foot


def _foot(state: State, width: int, charset: Charset) -> list[Line]:
    """The question, note or hint, and the keys."""
    if state.view == "reset":
        ask = f"bring {state.rung.folder} back to its stub? your version is kept aside."
        return [line(Span(cut(ask, width, charset), "yellow")), line(Span("y yes   n no", "bold"))]
    rows = wrapped(charset.text(state.note), width)[:5] if state.view == "work" else []
    keys: list[Span] = []
    roomy = width >= 60
    for key, word in KEYS.items():
        gap = "   " if roomy else " "
        keys += [Span(key, "bold"), Span(f" {word}{gap}" if roomy else f"{word[1:]}{gap}", "dim")]
    return [*[line(Span(row, "cyan")) for row in rows], fit(tuple(keys), width, charset)]


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


def _top(state: State, width: int, charset: Charset) -> list[Line]:
    """Which module, how far the ladder, and the file to open."""
    progress, c = state.progress, state.rung
    level = "no level yet" if progress.level is None else f"level {progress.level:02}"
    points = f"{points_words(progress.points, progress.ladder.points)}, {level}"
    title = line(Span("tito watch", "dim"), "  ", Span(f"{c.id} {c.module}", "bold"))
    failure, _ = first_failure(state)
    place, step = c.source, ""
    if state.problem is not None:
        place = f"{state.problem.file}:{state.problem.line}"
    elif failure is not None and failure.file:
        place = f"{failure.file}:{failure.line or 1}"
        step = f" (step {failure.step})" if failure.step else ""
    elif state.here.stubs:
        stub = state.here.stubs[0]
        place, step = f"{c.source}:{stub.line}", f" (step {stub.step})" if stub.step else ""
    return [
        ends(title, line(points), width, charset),
        _marks(state, width, charset),
        (),
        line(Span("open  ", "bold"), Span(place, "", place), step),
    ]


def _verdicts(state: State, charset: Charset) -> list[Line]:
    """What the unit tests and the checkpoint gave, a line each."""
    named = f"step {state.steps[0]}" if len(state.steps) == 1 else "steps"
    if len(state.steps) > 1:
        named = f"steps {', '.join(map(str, state.steps))}"
    of = f" of {named}" if state.steps else ""
    blocked = _blocked(state)
    first = [line(Span("first ", "bold"), blocked)] if blocked else []
    return [_units_line(state, of, charset), _checkpoint_line(state, charset), *first]


def _verdict(charset: Charset, status: str, text: str) -> Line:
    """A mark and a text in the colour of a status."""
    return line(Span(f"{charset.look(status)} ", LOOKS[status].style), text)


def _units_line(state: State, of: str, charset: Charset) -> Line:
    """The unit tests."""
    label = Span("tests ", "bold")
    if "units" in state.waiting:
        return line(label, Span(f"running the unit tests{of}", "dim"))
    if state.units is None:
        return (label, *_verdict(charset, "error", "cannot run"))
    units = state.units
    total = units.passed + len(units.failures)
    if units.ok:
        text = f"{units.passed} of {total} unit tests{of} pass, {units.seconds:.1f} s"
        return (label, *_verdict(charset, "passed", text))
    if not units.ran:
        return (label, *_verdict(charset, "error", f"the unit tests{of} did not run to their end"))
    status = "not_started" if all(map(missing, units.failures)) else "failed"
    text = f"{units.passed} of {total} unit tests{of} pass"
    return (label, *_verdict(charset, status, text))


def _checkpoint_line(state: State, charset: Charset) -> Line:
    """The checkpoint."""
    label = Span("check ", "bold")
    name = state.rung.name
    if "checkpoint" in state.waiting:
        return line(label, Span(f"running the checkpoint, {name}", "dim"))
    if state.trouble:
        return (label, *_verdict(charset, "error", plain(state.trouble)))
    result = state.result
    if result is None:
        return line(label, Span("not run", "dim"))
    status = result.status
    text = f"{name}: {result.passed} of {len(result.tests)} tests pass"
    if result.message:
        text = f"{name}: {plain(result.message).splitlines()[0]}"
    return (label, *_verdict(charset, status, text))


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


def _work(state: State, width: int, room: int, charset: Charset) -> list[Line]:
    """The module in hand: where, what came of it, and the first failure."""
    rows = [*_top(state, width, charset), *_verdicts(state, charset), ()]
    return rows + _detail(state, width, room - len(rows), charset)


def _detail(state: State, width: int, room: int, charset: Charset) -> list[Line]:
    """The first failure cut to fit, the problem of the file, or what to do next."""
    c = state.rung
    if state.problem is not None:
        p = state.problem
        rows = wrapped(f"{p.file} cannot be used: {p.message}", width)
        labelled = _labelled("look at", place_text(p.file, p.line, None, ""), width)
        labelled += _labelled("mend", f"{p.mend}, and save again", width)
        return [*[line(Span(row, "bold red")) for row in rows], *labelled]
    failure, more = first_failure(state)
    if failure is not None:
        return _failure(failure, more, c, width, room, charset)
    if state.waiting:
        return []
    if state.passed:
        rows = [line(Span(f"{c.id} {c.name} passed", "bold green"))]
        stage = next((s for s in state.progress.stages if s.name == c.stage), None)
        if stage is not None and stage.complete:
            left, right = charset.quotes
            rows += [line(Span(f"{left}{charset.text(stage.capability)}{right}", "green"))]
        target = goes_to(state)
        following = f"n goes to {target.id} {target.module}" if target else ""
        following = following or state.progress.next.command
        return [*rows, (), line(Span("next  ", "bold"), following)]
    if state.result and state.result.message:
        return [line(row) for row in wrapped(plain(state.result.message), width)][:room]
    return [line(f"in full: tito module complete {c.id}")]


def _failure(
    failure: Failure, more: int, c: Checkpoint, width: int, room: int, charset: Charset
) -> list[Line]:
    """A failure in its usual form, as much of it as fits."""
    headline, *parts = plain(describe(failure)).split("\n")
    rows = [line(Span(row, "bold")) for row in wrapped(headline, width)[:2]]
    rows += _parts(parts, width, charset)
    command = failure.command or f"tito checkpoint run {c.id}"
    notes = ""
    if more:
        notes = f"{more} more: tito checkpoint run {c.id} --verbose, and tito test {c.id}"
    if len(rows) + bool(notes) > room:
        kept = max(1, room - 1)
        look = next((r for r in rows if r and r[0].text.strip() == "look at"), None)
        rows = rows[: kept - 1] + ([look] if look and look not in rows[: kept - 1] else [])
        notes = f"{charset.more} cut to fit; in full: {command}"
    return [*rows, line(Span(notes, "dim"))] if notes else rows


def _parts(parts: list[str], width: int, charset: Charset) -> Iterator[Line]:
    """The labelled parts: prose is wrapped, values keep their columns and are cut."""
    for part in parts:
        label, text = part[:INDENT], part[INDENT:]
        if label.strip() in FREE_TEXT:
            yield from _labelled(label.strip(), text, width)
        else:
            yield line(Span(label, "dim"), cut(text, width - INDENT, charset))


def _labelled(label: str, text: str, width: int) -> list[Line]:
    """A labelled prose part, its further lines under its text."""
    return [
        line(Span(" " * INDENT if i else f"  {label:<{LABEL_WIDTH}}", "dim"), row)
        for i, row in enumerate(wrapped(text, width - INDENT)[:4])
    ]


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
