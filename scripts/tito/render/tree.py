"""The timeline for a terminal: a tree of stages, or the stages side by side. Pure.

Progress, a width and a charset in, lines out. Every state has its mark, its percent or its word,
so colour is never needed to read it.
"""

from collections.abc import Sequence

from tito.progress import Progress, Rung
from tito.render.lines import (
    Charset,
    Line,
    Span,
    bar,
    columns,
    cut,
    ends,
    fit,
    line,
    pad,
    wrapped,
)
from tito.render.words import milestone_look, percent, points_words, stage_percent, status_words
from tito.report import StageResult

NARROW = 30  # columns below which nothing is drawn any narrower
ROOMY = 20  # columns of a stage in which every module has room for its percent
WIDEST = 120  # columns that the stages beside each other may take
GAP = 1
STYLES = {"done": "green", "begun": "yellow", "ahead": "dim", "flag": "cyan"}


def stone(rung: Rung) -> str:
    """Where a module stands: done, begun or still ahead."""
    if rung.settled:
        return "done"
    begun = rung.status not in ("absent", "not_started") or (rung.here and not rung.untouched)
    return "begun" if begun and rung.here else "ahead"


def share(rung: Rung) -> int:
    """How many percent of a module's points its last result gave."""
    points = rung.result.points if rung.result else 0
    return percent(points, rung.checkpoint.points, rung.passed)


def of_stage(progress: Progress, stage: StageResult) -> list[Rung]:
    """The modules of a stage, in ladder order."""
    return [rung for rung in progress.rungs if rung.checkpoint.stage == stage.name]


def head(progress: Progress, room: int, charset: Charset) -> list[Line]:
    """The score and the level, over a bar of all points."""
    most = progress.ladder.points
    part = progress.points / most if most else 0.0
    done = f"{len(progress.passed)} of {len(progress.rungs)} checkpoints passed"
    points = Span(points_words(progress.points, most), "bold")
    level = "no level yet" if progress.level is None else f"level {progress.level:02}"
    dot = charset.dot
    words = line(points, f" {dot} {level}", f" {dot} {done}")
    if columns(words) > room:
        words = fit(line(points, f" {dot} {level}"), room, charset)
    number = f" {percent(progress.points, most, part == 1)}%"
    return [words, (*bar(part, room - len(number), charset, "green"), Span(number))]


def _stones(rungs: Sequence[Rung], room: int, charset: Charset) -> list[Line]:
    """The modules of a stage joined by rules, on as many lines as they need."""
    rows: list[Line] = []
    row: Line = ()
    joint = f" {charset.rule * 4} "
    for rung in rungs:
        state = stone(rung)
        name = rung.checkpoint.module.capitalize()
        part = f" {share(rung)}%"
        label = cut(name, room - 4 - len(part), charset)
        piece = line(f"{charset.stone(state)} ", Span(label, STYLES[state]), part)
        joined = (*row, Span(joint, "dim"), *piece) if row else piece
        if row and columns(joined) > room:
            rows.append(row)
            joined = piece
        row = joined
    return [*rows, row] if row else rows


def _branch(
    progress: Progress, stage: StageResult, room: int, charset: Charset
) -> tuple[Line, list[Line]]:
    """A stage: the line at the fork, and what hangs below it."""
    style = "green" if stage.complete else "bold"
    count = f"{stage.passed} of {stage.total}"
    number = f"{stage_percent(stage)}%"
    title = ends(
        line(Span(stage.name, style), " ", Span(number, style)),
        line(Span(count, "dim")),
        room,
        charset,
    )
    colour = "green" if stage.complete else "yellow"
    below = [bar(stage_percent(stage) / 100, room, charset, colour)]
    below += _stones(of_stage(progress, stage), room, charset)
    if stage.complete:
        left, right = charset.quotes
        words = f"{left}{charset.text(stage.capability)}{right}"
        below += [line(Span(row, "green")) for row in wrapped(words, room)]
    return title, below


def flags(progress: Progress, room: int, charset: Charset) -> list[Line]:
    """The milestones, a line each: year, title, and how it stands."""
    rows = []
    for m in progress.milestones:
        word, _ = milestone_look(m)
        style = "green" if m.result and m.result.passed else "cyan" if m.unlocked else "dim"
        left = line(f"{charset.stone('flag')} ", Span(f"{m.year} {charset.text(m.title)}", style))
        left = fit(left, room - len(word) - 1, charset)
        rows.append(ends(left, line(Span(word, style)), min(room, 60), charset))
    return rows


def custom_rows(progress: Progress, room: int, charset: Charset) -> list[Line]:
    """The custom checkpoints, a line each: id, name, and how it stands."""
    rows = []
    for c in progress.custom:
        state = "done" if c.status == "passed" else "begun" if c.passed else "ahead"
        word = status_words(c) if c.tests else "not run yet"
        name = Span(f"{c.id} {charset.text(c.name)}", STYLES[state])
        left = fit(line(f"{charset.stone(state)} ", name), room - len(word) - 1, charset)
        rows.append(ends(left, line(Span(word, STYLES[state])), min(room, 60), charset))
    return rows


def tree(progress: Progress, width: int, charset: Charset) -> list[Line]:
    """Draw the stages one below the other, joined by a trunk, milestones at its foot."""
    width = max(width, NARROW)
    room = min(width, 100) - 3
    branches = [_branch(progress, stage, room, charset) for stage in progress.stages]
    if progress.milestones:
        reached = sum(m.result is not None and m.result.passed for m in progress.milestones)
        count = Span(f" {reached} of {len(progress.milestones)} reached", "dim")
        branches.append((line(Span("Milestones", "bold"), count), flags(progress, room, charset)))
    if progress.custom:
        done = sum(c.status == "passed" for c in progress.custom)
        count = Span(f" {done} of {len(progress.custom)} passed", "dim")
        title = line(Span("Custom checkpoints", "bold"), count)
        branches.append((title, custom_rows(progress, room, charset)))
    rows = head(progress, min(width, 100), charset)
    for i, (title, below) in enumerate(branches):
        final = i == len(branches) - 1
        rows.append(line(Span(charset.trunk.rstrip(), "dim")))
        rows.append((Span(charset.last if final else charset.branch, "dim"), *title))
        lead = Span("   " if final else charset.trunk, "dim")
        rows += [(lead, *row) for row in below]
    return rows


def _column(progress: Progress, stage: StageResult, room: int, charset: Charset) -> list[Line]:
    """A stage as a column: name, bar, percent, and its modules from top to bottom."""
    style = "green" if stage.complete else "bold"
    colour = "green" if stage.complete else "yellow"
    part = f"{stage_percent(stage)}%"
    count = f"{stage.passed}/{stage.total}"
    rows = [
        line(Span(pad(stage.short, room, charset), style)),
        bar(stage_percent(stage) / 100, room, charset, colour),
        ends(line(Span(part, style)), line(Span(count, "dim")), room, charset),
    ]
    roomy = room >= ROOMY
    for rung in of_stage(progress, stage):
        rows += _in_column(rung, room, charset, roomy=roomy)
    return rows


def _in_column(rung: Rung, room: int, charset: Charset, *, roomy: bool) -> list[Line]:
    """A module in a column: mark, name, percent. Without the room for it the mark says 0 or 100,
    and only what is under way has its percent, on a line below."""
    state, name = stone(rung), rung.checkpoint.module
    mark = f"{charset.stone(state)} "
    left = room - columns(line(mark))
    part = f"{share(rung)}%"
    if roomy:
        name = pad(name, left - len(part), charset)
        return [line(mark, Span(name, STYLES[state]), part)]
    rows = [line(mark, Span(pad(name, left, charset), STYLES[state]))]
    below = line(pad("", room - left, charset), pad(part, left, charset))
    return [*rows, below] if state == "begun" else rows


def side_by_side(progress: Progress, width: int, charset: Charset) -> list[Line]:
    """Draw the journey from left to right; where that is too narrow, a stage after the other."""
    width = min(max(width, NARROW), WIDEST)
    rows = [*head(progress, width, charset), ()]
    count = max(1, len(progress.stages))
    room = (width - GAP * (count - 1)) // count
    longest = max((len(rung.checkpoint.module) for rung in progress.rungs), default=0)
    if room < columns(line(charset.stone("ahead"), " ")) + longest:
        rows += _short_rows(progress, width, charset)
    else:
        rows += _beside([_column(progress, s, room, charset) for s in progress.stages], charset)
    done = [stage for stage in progress.stages if stage.complete]
    if done:
        rows.append(())
    for stage in done:
        left, right = charset.quotes
        words = f"{stage.short}: {left}{charset.text(stage.capability)}{right}"
        rows += [line(Span(row, "green")) for row in wrapped(words, width)]
    rows += [(), *flags(progress, width, charset)]
    beyond = custom_rows(progress, width, charset)
    return [*rows, (), *beyond] if beyond else rows


def _beside(stages: list[list[Line]], charset: Charset) -> list[Line]:
    """Columns of one width each, side by side; a rule joins their second lines, the bars."""
    rows: list[Line] = []
    for i in range(max(map(len, stages), default=0)):
        joint = Span((charset.rule if i == 1 else " ") * GAP, "dim")
        cells = [c[i] if i < len(c) else line(" " * columns(c[0])) for c in stages]
        rows.append(
            tuple(span for n, cell in enumerate(cells) for span in ((joint,) * (n > 0) + cell))
        )
    return rows


def _short_rows(progress: Progress, width: int, charset: Charset) -> list[Line]:
    """The stages one below the other: name, bar, percent, and the modules joined by rules."""
    names = max((len(stage.short) for stage in progress.stages), default=0)
    rows = []
    for stage in progress.stages:
        number = f"{stage_percent(stage):>4}%"
        room = max(4, width - names - len(number) - 1)
        drawn = bar(stage_percent(stage) / 100, room, charset, "green")
        rows.append((Span(pad(stage.short, names + 1)), *drawn, Span(number)))
        rows += _stones(of_stage(progress, stage), width, charset)
    return rows
