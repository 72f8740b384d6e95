"""The timeline: stages, rungs, milestones and the next step of a report as one SVG.

Every status has its word or its count, so colour is never needed to read it.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

from tito.render.badge import FONT
from tito.render.escape import one_line, xml
from tito.render.svg import LINE, PANEL, PAPER, WHITE, bar, box, paint, style, text, tick
from tito.render.text_width import clip, text_width
from tito.render.words import (
    BLUE,
    GREEN,
    GREY,
    LOOKS,
    level_phrase,
    milestone_look,
    next_words,
    points_words,
    stage_percent,
    status_words,
)
from tito.report import CheckpointResult, MilestoneResult, Report, StageResult

WIDTH = 830  # pixels: the column of a README
EDGE = 24
INNER = WIDTH - 2 * EDGE
NODE = 14  # pixels: the radius of a rung
ROW = 124  # pixels: the height of a tier's row
CARD_GAP = 12
BESIDE, BEYOND = 3, 12  # custom checkpoints on a line, and in all
CARD_HEIGHT = 84

Stop = CheckpointResult | MilestoneResult


def _header(report: Report) -> str:
    """The course, the level and the score, over a bar of all points."""
    score = report.score
    commit = f" · {report.commit[:7]}" if report.commit else ""
    share = score.points / score.max if score.max else 0.0
    right = WIDTH - EDGE
    points = points_words(score.points, score.max)
    graded = f"graded {report.generated_at[:10]}{commit}"
    passed = sum(c.status == "passed" for c in report.checkpoints)
    summary = f"{level_phrase(report)} · {passed} of {len(report.checkpoints)} checkpoints passed"
    return (
        text(EDGE, 40, report.course.name, size=20, bold=True, room=INNER / 2)
        + text(right, 40, points, size=20, bold=True, anchor="end", room=INNER / 2)
        + text(EDGE, 60, summary, GREY, size=12, room=INNER / 2 + 80)
        + text(right, 60, graded, GREY, size=12, anchor="end", room=INNER / 2 - 100)
        + bar(EDGE, 72, INNER, share, GREEN if share == 1 else BLUE)
    )


def _card(
    stage: StageResult, rungs: Sequence[CheckpointResult], x: float, y: float, w: float
) -> str:
    """A stage: its name, its percent, a bar, and which rungs it is made of."""
    colour = GREEN if stage.complete else BLUE if stage.points else GREY
    share = stage_percent(stage)
    ids = " ".join(rung.id for rung in rungs)
    count = f"{stage.passed} of {stage.total}"
    return (
        box(x, y, w, CARD_HEIGHT, paint(PANEL, LINE))
        + text(x + 12, y + 20, stage.short, bold=True, room=w - 24)
        + text(x + 12, y + 42, f"{share}%", colour, size=16, bold=True, room=w - 24)
        + text(x + w - 12, y + 42, count, GREY, size=10, anchor="end", room=w - 72)
        + bar(x + 12, y + 51, w - 24, share / 100, colour)
        + text(x + 12, y + 73, ids, GREY, size=10, room=w - 24)
    )


def _cards(report: Report, y: float) -> str:
    """The five stages in the order of the journey, an arrow between each two."""
    if not report.stages:
        return ""
    width = (INNER - CARD_GAP * (len(report.stages) - 1)) / len(report.stages)
    parts = []
    for i, stage in enumerate(report.stages):
        x = EDGE + i * (width + CARD_GAP)
        rungs = [c for c in report.checkpoints if c.stage == stage.name]
        parts.append(_card(stage, rungs, x, y, width))
        if i:
            tip, middle = x - 3.5, y + CARD_HEIGHT / 2
            arrow = f"M{tip - 4:.1f} {middle - 4:.1f}l4 4l-4 4"
            parts.append(f'<path d="{arrow}"{paint(None, GREY, 1.5)}/>')
    return "".join(parts)


def _capabilities(report: Report, y: float) -> tuple[str, float]:
    """What the completed stages have earned, and the height it takes."""
    done = [stage for stage in report.stages if stage.complete]
    lines = "".join(
        text(
            EDGE + 16,
            y + 19 + 18 * i,
            f"{stage.short}: “{stage.capability}”",
            GREEN,
            room=INNER - 16,
        )
        + tick(EDGE + 5, y + 15 + 18 * i, GREEN)
        for i, stage in enumerate(done)
    )
    return lines, 18.0 * len(done) + (8 if done else 0)


def _ring(x: float, y: float, rung: CheckpointResult) -> str:
    """How far a partial rung is, as an arc; a full ring otherwise."""
    colour = LOOKS[rung.status].colour
    dashes = ""
    if rung.status == "partial":
        around = 2 * 3.14159 * NODE
        done = around * rung.passed / max(1, len(rung.tests))
        arc = f' stroke-dasharray="{done:.1f} {around:.1f}" transform="rotate(-90 {x:.1f} {y:.1f})"'
        base = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{NODE}"{paint(PAPER, LINE, 3)}/>'
        return base + f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{NODE}"{paint(None, colour, 3)}{arc}/>'
    if rung.status == "blocked":
        dashes = ' stroke-dasharray="4 3"'
    width = 1.5 if rung.status == "not_started" else 2
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{NODE}"{paint(PAPER, colour, width)}{dashes}/>'


def _rung(x: float, y: float, rung: CheckpointResult, pitch: float, *, current: bool) -> str:
    """A rung: its number in a circle, its module and its status below."""
    look = LOOKS[rung.status]
    solid = rung.status in ("passed", "failed", "error", "timeout")
    halo = ""
    if current:
        halo = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{NODE + 5}"{paint(PAPER, BLUE, 1.5)}/>'
    disc = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{NODE}" fill="{look.colour}"/>'
        if solid
        else _ring(x, y, rung)
    )
    colour = WHITE if solid else look.colour
    return (
        halo
        + disc
        + text(x, y + 4, rung.id, colour, bold=True, anchor="middle", room=30)
        + text(x, y + 35, rung.module, anchor="middle", room=pitch - 4)
        + text(x, y + 50, status_words(rung), look.colour, size=10, anchor="middle", room=pitch - 4)
    )


def _flag(x: float, y: float, milestone: MilestoneResult, pitch: float) -> str:
    """A milestone: a flag with its year on the line, its title and state below."""
    word, colour = milestone_look(milestone)
    flag = f"M{x:.1f} {y - 33:.1f}h38l-5 8.5l5 8.5h-38z"
    cloth = f' fill="{colour}"' if colour != GREY else paint(PAPER, GREY, 1.2)
    year_colour = WHITE if colour != GREY else GREY
    room = pitch + 20
    first, second = milestone.title, word
    if text_width(first, 10) > pitch + 8 and " " in first:
        first, _, rest = first.partition(" ")
        second = f"{rest} · {word}"
        if text_width(second, 10) > room:  # the state must never be cut off
            first, second = milestone.title, word
    return (
        f'<path d="M{x:.1f} {y:.1f}V{y - 34:.1f}"{paint(None, colour, 2)}'
        ' stroke-linecap="round"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"{paint(colour)}/>'
        f'<path d="{flag}"{cloth} stroke-linejoin="round"/>'
        + text(x + 4, y - 20.7, str(milestone.year), year_colour, size=10, bold=True, room=34)
        + text(x, y + 35, first, GREY, size=10, anchor="middle", room=room)
        + text(x, y + 50, second, colour, size=10, anchor="middle", room=room)
    )


def _stops(rungs: Sequence[CheckpointResult], milestones: Iterable[MilestoneResult]) -> list[Stop]:
    """The rungs of a row, each followed by the milestones whose last prerequisite it is."""
    stops: list[Stop] = []
    waiting = list(milestones)
    for rung in rungs:
        stops.append(rung)
        stops += [m for m in waiting if max(m.requires, default="") == rung.id]
    return stops


def _rows(report: Report) -> list[tuple[str, list[CheckpointResult]]]:
    """The rungs by tier; what stands before the first tier joins it."""
    rows: list[tuple[str, list[CheckpointResult]]] = []
    carried: list[CheckpointResult] = []
    for tier, group in groupby(report.checkpoints, key=lambda c: c.tier):
        if tier is None:
            carried += group
        else:
            rows.append((tier, carried + list(group)))
            carried = []
    return [*rows, ("", carried)] if carried else rows


def _row(report: Report, name: str, rungs: Sequence[CheckpointResult], y: float) -> str:
    """One tier: a heading, the line, and the stops on it."""
    stops = _stops(rungs, report.milestones)
    pitch = INNER / len(stops)
    places = [EDGE + pitch * (i + 0.5) for i in range(len(stops))]
    level = y + 60
    tier = next((t for t in report.tiers if t.name == name), None)
    heading = text(EDGE, y + 12, f"{name} tier" if name else "", bold=True, size=12, room=200)
    if tier is not None:
        words = f"{tier.passed} of {tier.total} passed · {points_words(tier.points, tier.max)}"
        at = EDGE + text_width(clip(f"{name} tier", 200, 12, bold=True), 12, bold=True) + 12
        heading += text(at, y + 12, words, GREY, room=300)
    done = [s.status == "passed" if isinstance(s, CheckpointResult) else s.unlocked for s in stops]
    line = []
    for i, (left, right) in enumerate(pairwise(places)):
        colour = GREEN if all(done[: i + 2]) else LINE
        line.append(f'<path d="M{left:.1f} {level:.1f}H{right:.1f}"{paint(None, colour, 3)}/>')
    current = report.next.checkpoint if report.next else None
    drawn = [
        _rung(x, level, stop, pitch, current=stop.id == current)
        if isinstance(stop, CheckpointResult)
        else _flag(x, level, stop, pitch)
        for x, stop in zip(places, stops, strict=True)
    ]
    return heading + "".join(line + drawn)


def _beyond(report: Report, y: float) -> tuple[str, float]:
    """The custom checkpoints, some to a line, and the height they take."""
    if not report.custom:
        return "", 0.0
    passed = sum(c.status == "passed" for c in report.custom)
    parts = [text(EDGE, y + 12, "Beyond the ladder", bold=True, size=12, room=200)]
    at = EDGE + text_width("Beyond the ladder", 12, bold=True) + 12
    words = f"{passed} of {len(report.custom)} passed"
    parts.append(text(at, y + 12, words, GREY, room=300))
    pitch = INNER / BESIDE
    for i, c in enumerate(report.custom[:BEYOND]):
        x, level = EDGE + i % BESIDE * pitch, y + 34 + 20 * (i // BESIDE)
        look = LOOKS[c.status]
        label = f"{c.id} {one_line(c.name)}"
        label_width = text_width(clip(label, pitch - 110, 11, bold=True), 11, bold=True)
        parts.append(text(x, level, label, bold=True, room=pitch - 110))
        parts.append(text(x + label_width + 8, level, status_words(c), look.colour, room=96))
    lines = -(-min(len(report.custom), BEYOND) // BESIDE)
    return "".join(parts), 34.0 + 20 * lines


def _panel(report: Report, y: float) -> str:
    """The next step: which checkpoint, its question, the file to open, the command to run."""
    frame = box(EDGE, y, INNER, 62, paint(PANEL, BLUE if report.next else GREEN, 1.2))
    if report.next is None:
        words = next_words(report)
        return frame + text(EDGE + 16, y + 36, words, GREEN, size=13, bold=True, room=INNER - 32)
    step = report.next
    place = f"{clip(one_line(step.file), INNER / 2, 11)}{f':{step.line}' if step.line else ''}"
    title = f"Next: {step.checkpoint} {step.name}"
    title_width = text_width(clip(title, 300, 13, bold=True), 13, bold=True)
    return (
        frame
        + text(EDGE + 16, y + 26, title, BLUE, size=13, bold=True, room=300)
        + text(EDGE + 28 + title_width, y + 26, step.why, size=11, room=INNER - 44 - title_width)
        + text(EDGE + 16, y + 47, f"open {place}, then: {step.command}", GREY, room=INNER - 32)
    )


def _description(report: Report) -> str:
    """The whole picture in words, for a reader who cannot see it."""
    stages = "; ".join(f"{s.short} {stage_percent(s)} percent" for s in report.stages)
    rungs = "; ".join(f"{c.id} {c.module} {status_words(c)}" for c in report.checkpoints)
    flags = "; ".join(f"{m.year} {m.title} {milestone_look(m)[0]}" for m in report.milestones)
    own = "; ".join(f"{c.id} {c.name} {status_words(c)}" for c in report.custom)
    own = f" Beyond the ladder: {own}." if own else ""
    step = report.next
    following = f"Next: {step.checkpoint} {step.name}, {step.why}" if step else next_words(report)
    return f"Stages: {stages}. Checkpoints: {rungs}. Milestones: {flags}.{own} {following}"


def timeline(report: Report) -> str:
    """Draw the whole report, 830 pixels wide."""
    earned, earned_height = _capabilities(report, 92 + CARD_HEIGHT)
    top = 92 + CARD_HEIGHT + earned_height + 20
    rows = _rows(report)
    body = "".join(_row(report, name, rungs, top + ROW * i) for i, (name, rungs) in enumerate(rows))
    beyond, beyond_height = _beyond(report, top + ROW * len(rows))
    bottom = top + ROW * len(rows) + beyond_height
    height = round(bottom + 62 + EDGE)
    title = xml(
        f"{one_line(report.course.name)}: {points_words(report.score.points, report.score.max)},"
        f" {level_phrase(report)}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}" font-family="{FONT}">'
        f"<title>{title}</title><desc>{xml(_description(report))}</desc>{style()}"
        + box(0.5, 0.5, WIDTH - 1, height - 1, paint(PAPER, LINE), 8)
        + _header(report)
        + _cards(report, 92)
        + earned
        + body
        + beyond
        + _panel(report, bottom)
        + "</svg>\n"
    )
