"""summary.md: what an instructor reads on the Actions page of a push."""

import re
from collections import Counter
from collections.abc import Iterator

from tito.manifest import MANIFEST_FILE
from tito.render.choose import begun, failing
from tito.render.escape import code, fence, markdown
from tito.render.failure import describe
from tito.render.words import (
    LOOKS,
    level_phrase,
    next_words,
    points_words,
    stage_percent,
    word_count,
)
from tito.report import (
    CheckpointResult,
    CustomResult,
    Integrity,
    ReflectionText,
    Report,
    StageResult,
)

LIMIT = 900_000  # bytes; Actions refuses a summary above 1 MiB
PATHS_SHOWN = 20


def _verdict(report: Report) -> str:
    """The line that says it all, and the checkpoints by status."""
    counts = Counter(c.status for c in report.checkpoints)
    parts = ", ".join(f"{counts[s]} {look.word}" for s, look in LOOKS.items() if counts[s])
    score = points_words(report.score.points, report.score.max)
    title = f"# {score} · {level_phrase(report)}"
    return f"{title}\n\nOf {len(report.checkpoints)} checkpoints: {parts or 'none'}."


def _next(report: Report) -> str:
    """What the student should do now."""
    step = report.next
    if step is None:
        return f"**Next:** {next_words(report)}"
    place = f"{step.file}:{step.line}" if step.line else step.file
    return (
        f"**Next: {step.checkpoint} {markdown(step.name)}** · {markdown(step.why)} · "
        f"open {code(place)}, then {code(step.command)}"
    )


def _row(checkpoint: CheckpointResult) -> str:
    """One rung in its stage's table."""
    look = LOOKS[checkpoint.status]
    status = f"{look.mark} {look.word}"
    if checkpoint.status == "blocked":
        status += f", first mend {', '.join(checkpoint.blocked_by)}"
    tests = f"{checkpoint.passed} of {len(checkpoint.tests)}" if checkpoint.tests else "–"
    points = f"{checkpoint.points} of {checkpoint.max_points}"
    seconds = f"{checkpoint.duration:.1f} s" if checkpoint.tests else "–"
    name = f"{markdown(checkpoint.module)} · {markdown(checkpoint.name)}"
    return f"| {checkpoint.id} | {name} | {status} | {tests} | {points} | {seconds} |"


def _stage(stage: StageResult, rungs: list[CheckpointResult]) -> str:
    """A heading with the stage's percent, its capability once complete, and its table."""
    score = f"{stage_percent(stage)}%, {points_words(stage.points, stage.max)}"
    lines = [f"### {markdown(stage.name)}: {score}", ""]
    if stage.complete:
        lines += [f"Complete: “{markdown(stage.capability)}”", ""]
    lines += ["| | checkpoint | status | tests | points | time |", "|---|---|---|--:|--:|--:|"]
    return "\n".join([*lines, *(_row(rung) for rung in rungs)])


def _custom(report: Report) -> Iterator[str]:
    """The checkpoints beyond the ladder: the course's own first, then the student's."""
    if not report.custom:
        return
    lines = ["## Custom checkpoints", ""]
    if any(not c.counts for c in report.custom):
        lines += ["Beyond the ladder: not in the level, and not in the 100 points unless said.", ""]
    lines += ["| | checkpoint | status | tests | points | time |", "|---|---|---|--:|--:|--:|"]
    for c in report.custom:
        look = LOOKS[c.status]
        status = f"{look.mark} {look.word}"
        if c.status == "blocked":
            status += f", first mend {', '.join(c.blocked_by)}"
        tests = f"{c.passed} of {len(c.tests)}" if c.tests else "–"
        points = f"{c.points} of {c.max_points}" if c.max_points else "–"
        points += ", in the 100" if c.counts else ""
        seconds = f"{c.duration:.1f} s" if c.tests else "–"
        name = f"{markdown(c.name)}{', the student’s own' if c.own else ''}"
        lines.append(f"| {c.id} | {name} | {status} | {tests} | {points} | {seconds} |")
    yield "\n".join(lines)


def _failures(checkpoint: CheckpointResult | CustomResult) -> str:
    """The first failure of a checkpoint in full, the others by name."""
    tests = f"{checkpoint.passed} of {len(checkpoint.tests)} tests pass"
    status = LOOKS[checkpoint.status].word
    lines = [f"### {checkpoint.id} {markdown(checkpoint.name)}: {status}, {tests}", ""]
    if checkpoint.blocked_by:
        lines += [f"Mend {', '.join(checkpoint.blocked_by)} first: this builds on it.", ""]
    if checkpoint.message:
        lines += [fence(checkpoint.message), ""]
    first, *others = failing(checkpoint) or [None]
    if first is not None:
        test, failure = first
        lines += [
            f"{code(test.name)}, {test.status.replace('_', ' ')}:",
            "",
            fence(describe(failure)),
            "",
        ]
    if others:
        names = ", ".join(code(test.name) for test, _ in others[:PATHS_SHOWN])
        more = f" and {len(others) - PATHS_SHOWN} more" if len(others) > PATHS_SHOWN else ""
        lines += [f"Not passing yet either: {names}{more}.", ""]
    return "\n".join(lines).rstrip()


def _problems(report: Report) -> Iterator[str]:
    """Files of the tree that could not be used."""
    if report.problems:
        yield "## Files that cannot be used\n\n" + "\n".join(
            f"- {code(f'{problem.file}:{problem.line}')} {markdown(problem.message)}; "
            f"{markdown(problem.mend)}"
            for problem in report.problems
        )


def _reflection(reflection: ReflectionText) -> str:
    """One student's answer, each paragraph of it plain text in a quotation."""
    title = f"#### {reflection.id} {markdown(reflection.module)}: {word_count(reflection.words)}"
    paragraphs = [part for part in re.split(r"\n\s*\n", reflection.text) if part.strip()]
    quoted = "\n>\n".join(f"> {markdown(part)}" for part in paragraphs)
    return f"{title}\n\n{quoted or 'The text is in the repository.'}"


def _reflections(report: Report) -> Iterator[str]:
    """What the student wrote on the modules' questions, folded away; it is never scored."""
    if report.reflections:
        count = len(report.reflections)
        texts = "\n\n".join(_reflection(reflection) for reflection in report.reflections)
        heading = f"Reflections: {count} written (to be read, not scored)"
        yield f"<details>\n<summary>{heading}</summary>\n\n{texts}\n\n</details>"


def _paths(paths: tuple[str, ...]) -> str:
    names = ", ".join(code(path) for path in paths[:PATHS_SHOWN])
    more = len(paths) - PATHS_SHOWN
    return f"{names} and {more} more" if more > 0 else names


def _integrity(integrity: Integrity) -> Iterator[str]:
    """Which files of the course are not as released, and by which text they were graded."""
    restored, lost = set(integrity.restored), (*integrity.modified, *integrity.missing)
    kinds = {
        "course files changed": integrity.modified,
        "course files missing": integrity.missing,
        "files that are not the course's": integrity.unexpected,
    }
    for word, paths in kinds.items():
        if paths:
            yield f"- **Integrity:** {word}: {_paths(paths)}"
    if MANIFEST_FILE in lost:
        yield (
            f"- **Integrity:** without its manifest, {code(MANIFEST_FILE)}, nobody can say whether "
            f"this tree is as released; bring it back with {code('tito update')}"
        )
    as_is = tuple(path for path in lost if path not in restored and path != MANIFEST_FILE)
    if restored:
        yield f"- **Integrity:** graded with the released text of {_paths(integrity.restored)}"
    if as_is:
        yield (
            f"- **Integrity:** graded as they are, because the history at hand does not hold the "
            f"released text: {_paths(as_is)}"
        )


def _trust(report: Report) -> Iterator[str]:
    """What an instructor should know about how far to trust the run; nothing when all is well."""
    lines = []
    if report.isolation.start == "none":
        lines.append("- **Isolation:** none; the graded code ran in the grader's own process")
    lines += [
        f"- **Isolation:** {markdown(layer.name)} not active: {markdown(layer.detail)}"
        for layer in report.isolation.layers
        if not layer.active
    ]
    lines += _integrity(report.integrity)
    if lines:
        yield "## About this run\n\n" + "\n".join(lines)


def _facts(report: Report) -> str:
    """Where the numbers come from."""
    facts = [f"{report.course.name} {report.course.version}", f"graded {report.generated_at}"]
    facts += [f"commit {report.commit[:12]}"] if report.commit else []
    facts += [f"seed {report.seed}", f"{report.duration:.1f} s"]
    environment = report.environment
    facts += [f"Python {environment.python}, NumPy {environment.numpy}, {environment.platform}"]
    return " · ".join(markdown(fact) for fact in facts)


def summary(report: Report) -> str:
    """Write the whole summary; where it would grow beyond `LIMIT`, the last failures go."""
    parts = [_verdict(report), _next(report), *_problems(report), "## Stages"]
    parts += [
        _stage(stage, [c for c in report.checkpoints if c.stage == stage.name])
        for stage in report.stages
    ]
    parts += _custom(report)
    closing = [*_reflections(report), *_trust(report), "---", _facts(report)]
    waiting = [_failures(checkpoint) for checkpoint in begun(report)]
    if waiting:
        parts.append("## What fails first")
    room = LIMIT - sum(len(part.encode()) + 2 for part in (*parts, *closing))
    for shown, text in enumerate(waiting):
        room -= len(text.encode()) + 2
        if room < 0:
            left = len(waiting) - shown
            parts.append(f"{left} more failing checkpoints are in report.json.")
            break
        parts.append(text)
    return "\n\n".join([*parts, *closing]) + "\n"
