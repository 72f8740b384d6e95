"""The words, marks and colours that every rendering shares, so that all say the same."""

from typing import TYPE_CHECKING

from tito.frozen import Frozen, frozen

if TYPE_CHECKING:
    from tito.progress import Rung
    from tito.report import CheckpointResult, CustomResult, MilestoneResult, Report, StageResult

GREEN, RED, BLUE, AMBER, GREY = "#1a7f37", "#cf222e", "#0969da", "#9a6700", "#57606a"
BRIGHT = {GREEN: "#3fb950", RED: "#ff7b72", BLUE: "#58a6ff", AMBER: "#d29922", GREY: "#9198a1"}


@frozen
class Look(Frozen):
    """How a status is shown: a word, a mark (never an emoji) and a colour on white.

    `plain` is the mark where only ASCII can be shown, `style` the colour of a terminal.
    """

    word: str
    mark: str
    colour: str
    plain: str
    style: str


LOOKS = {
    "passed": Look("passed", "✓", GREEN, "+", "green"),
    "partial": Look("partial", "◐", BLUE, "~", "yellow"),
    "failed": Look("failed", "✗", RED, "x", "red"),
    "not_started": Look("not started", "○", GREY, "o", "dim"),
    "blocked": Look("blocked", "⊘", AMBER, "/", "yellow"),
    "error": Look("error", "!", RED, "!", "red"),
    "timeout": Look("timed out", "!", RED, "!", "red"),
}

# The timeline of a terminal is the one place with emoji, each two columns wide; beside it, for
# terminals that show only ASCII, its twin.
STONES = {
    "done": ("\N{WHITE HEAVY CHECK MARK}", "[x]"),
    "begun": ("\N{ANTICLOCKWISE DOWNWARDS AND UPWARDS OPEN CIRCLE ARROWS}", "[~]"),
    "ahead": ("\N{HOURGLASS WITH FLOWING SAND}", "[ ]"),
    "flag": ("\N{TRIANGULAR FLAG ON POST}", "[>]"),
}


def level_words(report: "Report") -> str:
    """The level against the highest there is."""
    if report.level is None:
        return "none yet"
    top = max((int(c.id) for c in report.checkpoints), default=0)
    return f"{report.level} of {top}"


def level_phrase(report: "Report") -> str:
    """The level in a phrase that stands alone."""
    return "no level yet" if report.level is None else f"level {level_words(report)}"


def points_words(points: int, most: int) -> str:
    """Points against the most there are, as in `12 of 15 points`."""
    return f"{points} of {most} {'point' if most == 1 else 'points'}"


def word_count(words: int) -> str:
    """How long a text is, as in `1 word`."""
    return f"{words} {'word' if words == 1 else 'words'}"


def percent(points: int, most: int, complete: bool) -> int:
    """Whole percent, rounded down; 100 only when complete."""
    if complete:
        return 100
    return min(99, points * 100 // most) if most else 0


def stage_percent(stage: "StageResult") -> int:
    """The percent of a stage's points."""
    return percent(stage.points, stage.max, stage.complete)


def count_words(checkpoint: "CheckpointResult | CustomResult") -> str:
    """The tests passed of those there are, as in `7 of 12`; empty where there are none."""
    return f"{checkpoint.passed} of {len(checkpoint.tests)}" if checkpoint.tests else ""


def status_words(checkpoint: "CheckpointResult | CustomResult") -> str:
    """The status in a word or a count: a partial checkpoint says how far it is."""
    if checkpoint.status == "partial":
        return count_words(checkpoint)
    return LOOKS[checkpoint.status].word


def rung_words(rung: "Rung") -> str:
    """The state of a rung in words: its status, how far it is, what changed since."""
    if rung.status == "absent":
        return "not here yet"
    if rung.emptied:
        return "its file is empty"
    if rung.result is None:
        if rung.problem is not None:
            return "cannot be read"
        done = rung.steps - len(rung.stubs)
        return "not graded yet" if done or not rung.stubs else "not started"
    text = LOOKS[rung.status].word
    if rung.status == "not_started":
        begun = rung.freshness == "changed" and not rung.untouched
        return ("begun" if rung.stubs else "written") + ", not graded yet" if begun else text
    if rung.status == "partial":
        text = f"{rung.result.passed} of {len(rung.result.tests)} tests"
    return text + {"changed": ", changed since", "affected": ", to be regraded"}.get(
        rung.freshness, ""
    )


def milestone_look(milestone: "MilestoneResult") -> tuple[str, str]:
    """The state of a milestone in words, and its colour; a quick run is always called one."""
    if milestone.result is not None:
        word, colour = ("reached", GREEN) if milestone.result.passed else ("missed", AMBER)
        return (f"quick, {word}" if milestone.result.quick else word), colour
    return ("unlocked", BLUE) if milestone.unlocked else ("locked", GREY)


def next_words(report: "Report") -> str:
    """One sentence on where the student stands when nothing is left to do in this tree."""
    left = sum(c.status != "passed" for c in report.checkpoints)
    if not left:
        return f"All {len(report.checkpoints)} checkpoints passed."
    return f"Every checkpoint in this tree passed; {left} more are to come."
