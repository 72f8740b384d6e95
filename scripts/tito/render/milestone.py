"""A run of a milestone in Markdown: the verdict, the curves, what the model wrote."""

from collections.abc import Sequence

from tito.ladder import Milestone
from tito.milestones import Curve, MilestoneRecord
from tito.render.escape import fence, markdown

ROWS, COLUMNS = 8, 60  # of a curve
SAMPLE_LIMIT = 4000  # characters
WORDS = {
    "passed": "reached",
    "missed": "missed",
    "stopped": "stopped in time, and goes on from there the next time",
    "broken": "ended without a result",
}


def chart(curve: Curve) -> str:
    """A curve in characters: highest and lowest value at the left, first and last step below."""
    points = list(zip(curve.steps, curve.values, strict=False))
    if not points:
        return f"{curve.name}: no points"
    low, high = (f(value for _, value in points) for f in (min, max))
    first, last = (f(step for step, _ in points) for f in (min, max))
    grid = [[" "] * COLUMNS for _ in range(ROWS)]
    for step, value in points:
        column = round((step - first) / ((last - first) or 1) * (COLUMNS - 1))
        grid[round((high - value) / ((high - low) or 1) * (ROWS - 1))][column] = "*"
    labels = [f"{high:.4g}", *[""] * (ROWS - 2), f"{low:.4g}"]
    rows = [f"{a:>10} |{''.join(b).rstrip()}" for a, b in zip(labels, grid, strict=True)]
    ends = f"{first:g}", f"{last:g}"
    steps = " " * 12 + ends[0] + ends[1].rjust(COLUMNS - len(ends[0]))
    return "\n".join([curve.name, *rows, steps])


def _facts(record: MilestoneRecord) -> list[str]:
    """The judged figure against its target, and the circumstances."""
    value = _number(record.value)
    bound = "at least" if record.better == "higher" else "at most"
    kind = "quick" if record.quick else "full"
    versions = record.versions
    data = markdown(record.dataset) or "–"
    row = f"| {markdown(record.figure)} | {value} | {bound} {record.target:g} | {kind} | {data} "
    where = f"Python {markdown(versions.python)}, NumPy {markdown(versions.numpy)}"
    return [
        "| figure | value | wanted | run | data | seed | time |",
        "|---|--:|--:|---|---|--:|--:|",
        f"{row}| {record.seed} | {record.seconds:.0f} s |",
        "",
        *(f"- {markdown(f.name)}: {_number(f.value)}" for f in record.figures),
        f"- finished {record.finished_at}, {where}, {markdown(versions.platform)}",
    ]


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def milestone_page(
    milestone: Milestone, status: str, record: MilestoneRecord | None, sample: str, problem: str
) -> str:
    """The page of one run for the summary of a workflow's job.

    Args:
        status: A word of `WORDS`, or "" when the run was cut off.
        record: What it left behind.
        sample: What the model made, if it makes something.
        problem: Why there is no record that can be used.
    """
    words = WORDS.get(status, "cut off, and goes on from its last saved state the next time")
    if record is not None and record.quick and status in ("passed", "missed"):
        words = f"the quick run {words} its figure"
    if status == "passed" and record is None:
        words = "without a record that can be used"
    parts = [f"## {milestone.year} {markdown(milestone.title)}: {words}"]
    if milestone.must:
        parts.append(f"Must reach: {markdown(milestone.must)}")
    if problem:
        parts.append(f"The record cannot be used: {markdown(problem)}")
    if record is not None:
        parts.append("\n".join(_facts(record)))
        parts += [fence(chart(curve)) for curve in record.curves]
    if sample:
        parts += ["What the model wrote:", fence(sample[:SAMPLE_LIMIT])]
    return "\n\n".join(parts) + "\n"


def plan_page(rows: Sequence[tuple[Milestone, bool, str]]) -> str:
    """Which milestones run now, and why the others do not."""
    count = sum(wanted for _, wanted, _ in rows)
    lines = [f"## Milestones: {count or 'nothing'} to run", "", "| milestone | now | why |"]
    lines.append("|---|---|---|")
    for milestone, wanted, why in rows:
        now = f"runs, {milestone.minutes} minutes at most" if wanted else "–"
        lines.append(f"| {milestone.year} {markdown(milestone.title)} | {now} | {markdown(why)} |")
    return "\n".join(lines) + "\n"


def results_page(milestones: Sequence[Milestone], records: dict[str, MilestoneRecord]) -> str:
    """The recorded result of every milestone."""
    lines = ["## Recorded results", "", "| milestone | result | figure | must reach |"]
    lines.append("|---|---|---|---|")
    for m in milestones:
        record, result, figure = records.get(m.id), "–", "–"
        if record is not None:
            result = ("reached" if record.passed else "missed") + (", quick" * record.quick)
            figure = markdown(record.summary)
        title = f"{m.year} {markdown(m.title)}"
        lines.append(f"| {title} | {result} | {figure} | {markdown(m.must)} |")
    return "\n".join(lines) + "\n"
