"""Badges: one pure function from two words and a colour to SVG, and the badges of a report."""

import json
import re
import zlib
from dataclasses import dataclass

from tito.render.escape import one_line, xml
from tito.render.text_width import clip, text_width
from tito.render.words import (
    BLUE,
    GREEN,
    GREY,
    LOOKS,
    level_words,
    milestone_look,
    stage_percent,
    status_words,
)
from tito.report import Report

FONT = "Verdana,Geneva,DejaVu Sans,sans-serif"
SIZE = 11  # pixels
PADDING = 6
WIDEST = 260  # pixels of one side's text


@dataclass(frozen=True, slots=True)
class Badge:
    """What a badge says, and in which colour."""

    label: str
    message: str
    colour: str


def badge(label: str, message: str, colour: str) -> str:
    """Draw a badge, 20 pixels high: white text, the label on dark grey, the message on `colour`."""
    label, message = (clip(one_line(text) or "?", WIDEST, SIZE) for text in (label, message))
    widths = [text_width(text, SIZE) for text in (label, message)]
    left, right = (round(width) + 2 * PADDING for width in widths)
    name = xml(f"{label}: {message}")
    shape = f"round-{zlib.crc32(name.encode()):08x}"  # ids stay apart when badges share a page
    texts = "".join(
        f'<text x="{x:g}" y="14" textLength="{width:.1f}">{xml(text)}</text>'
        for x, width, text in (
            (left / 2, widths[0], label),
            (left + right / 2, widths[1], message),
        )
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20"'
        f' viewBox="0 0 {left + right} 20" role="img" aria-label="{name}">'
        f"<title>{name}</title>"
        f'<clipPath id="{shape}"><rect width="{left + right}" height="20" rx="4"/></clipPath>'
        f'<g clip-path="url(#{shape})"><rect width="{left}" height="20" fill="#555"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{xml(colour)}"/>'
        f'<rect x="{left}" width="1" height="20" fill="#fff" fill-opacity="0.3"/></g>'
        f'<rect x="0.5" y="0.5" width="{left + right - 1}" height="19" rx="3.5" fill="none"'
        ' stroke="#000" stroke-opacity="0.25"/>'
        f'<g fill="#fff" text-anchor="middle" font-family="{FONT}" font-size="{SIZE}">'
        f"{texts}</g></svg>\n"
    )


def endpoint(shown: Badge) -> str:
    """The same badge as JSON for shields.io's endpoint."""
    return (
        json.dumps(
            {
                "schemaVersion": 1,
                "label": one_line(shown.label),
                "message": one_line(shown.message),
                "color": shown.colour,
            },
            ensure_ascii=False,
            indent=1,
        )
        + "\n"
    )


def _progress(complete: bool, begun: bool) -> str:
    return GREEN if complete else BLUE if begun else GREY


def slug(text: str) -> str:
    """A file name's part: small letters, digits and hyphens."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")[:40]


def badges_of(report: Report) -> dict[str, Badge]:
    """The badges of a report by file name: level, score, checkpoint, one a stage and milestone."""
    score = report.score
    everything = bool(report.checkpoints) and all(c.status == "passed" for c in report.checkpoints)
    badges = {
        "level": Badge(
            "level", level_words(report), _progress(everything, report.level is not None)
        ),
        "score": Badge(
            "score",
            f"{score.points} of {score.max}",
            _progress(score.points == score.max > 0, score.points > 0),
        ),
    }
    if report.next is None:
        words = "all passed" if everything else "all here passed"
        badges["checkpoint"] = Badge("checkpoint", words, GREEN if everything else BLUE)
    else:
        current = report.by_id[report.next.checkpoint]
        words = f"{current.id} {current.name} · {status_words(current)}"
        badges["checkpoint"] = Badge("checkpoint", words, LOOKS[current.status].colour)
    for number, stage in enumerate(report.stages, 1):
        words = f"{stage_percent(stage)}% · {stage.passed} of {stage.total}"
        name = f"stage-{slug(stage.short) or number}"
        if name in badges:
            name = f"stage-{number}"
        badges[name] = Badge(stage.short, words, _progress(stage.complete, stage.points > 0))
    for number, milestone in enumerate(report.milestones, 1):
        label = f"{milestone.year} {milestone.title}"
        badges[f"milestone_{number:02}"] = Badge(label, *milestone_look(milestone))
    return badges
