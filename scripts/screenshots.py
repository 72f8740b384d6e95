"""Draw the screens that the README shows, from a report made up for them.

    python scripts/screenshots.py            # writes badges/screens/*.svg
    python scripts/screenshots.py --check    # exits 1 if a file is not as it would be drawn now

The commands themselves draw: only the tree they look at is invented, so the same code always
gives the same bytes, whoever runs it and when.
"""

import argparse
import io
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tito.cli import console as cli_console
from tito.cli import module, status, timeline
from tito.files import text_digest, write_atomic
from tito.grading.score import Run, score_ladder
from tito.ladder import Checkpoint, Ladder, load_ladder
from tito.progress import load_progress, needs_digest
from tito.recheck import CheckpointDone, UnitsDone
from tito.render.escape import xml
from tito.render.lines import UNICODE
from tito.report import (
    SCHEMA_VERSION,
    Course,
    Environment,
    Failure,
    Integrity,
    Isolation,
    Outcome,
    Report,
    save_report,
)
from tito.unittests import UnitTests
from tito.watch import Begun, Key, State, advance
from tito.watch_screen import screen

ROOT = Path(__file__).resolve().parents[1]
SCREENS = Path("badges") / "screens"
WIDTH = 80
IN_HAND = "06"  # passed below it, not begun above it
TESTS = 12  # of each checkpoint
STEPS = ("SGD.step", "Adam.step", "AdamW.step", "StepLR.rate", "clip_grad_norm_")
WRITTEN = 3  # steps of the module in hand
FONT = 'Menlo, Consolas, "DejaVu Sans Mono", monospace'


def module_text(rung: Checkpoint) -> str:
    """A module with five steps: all written, none, or some of them."""
    done = WRITTEN if rung.id == IN_HAND else len(STEPS) if rung.id < IN_HAND else 0
    lines = ["# %%", f"#| default_exp core.{rung.module}", ""]
    for number, name in enumerate(STEPS, 1):
        body = "return number" if number <= done else None
        body = body or f'raise NotImplementedError("module {rung.id}, step {number}: {name}")'
        lines += ["# %% [markdown]", f"# ## Step {number}: {name}", *["#"] * 38, "", "# %%"]
        lines += ["#| export", f"def step_{number}(number):", "    ### BEGIN SOLUTION"]
        lines += [f"    {body}", "    ### END SOLUTION", ""]
    return "\n".join(lines)


def failure(rung: Checkpoint) -> Failure:
    """The failure of the module in hand."""
    return Failure(
        headline="Adam.step(): values differ at [0], got 0.9, expected 0.999",
        call="Adam.step()",
        asked="Take one step from parameters of 1 with gradients of 0.5 and lr=0.001.",
        expected="[0.999 0.999 0.999]",
        got="[0.9   0.9   0.9  ]",
        detail="largest difference 0.099 at [0]",
        hint="both averages begin at 0, so the first steps must be corrected for that",
        file=rung.source,
        line=module_text(rung).splitlines().index("def step_2(number):") + 1,
        step=2,
        command=f"tito checkpoint run {rung.id}",
    )


def outcomes(rung: Checkpoint) -> tuple[Outcome, ...]:
    """The tests of a checkpoint that is passed, in hand, or not begun."""
    tests = []
    for i in range(TESTS):
        good = rung.id < IN_HAND or (rung.id == IN_HAND and i < TESTS // 2)
        wrong = rung.id == IN_HAND and i == TESTS // 2
        tests.append(
            Outcome(
                name=f"test_{i}",
                kind="functionality",
                status="passed" if good else "failed" if wrong else "not_started",
                duration=0.01,
                step=2,
                file=rung.source,
                failure=failure(rung) if wrong else None,
            )
        )
    return tuple(tests)


def report_of(ladder: Ladder, digests: dict[str, str]) -> Report:
    """A report on the tree, of a moment that never was."""
    standing = score_ladder(ladder, {rung.id: Run(outcomes(rung)) for rung in ladder.checkpoints})
    checkpoints = tuple(
        replace(
            result,
            source_digest=digests[result.id],
            needs_digest=needs_digest(ladder, result.id, digests),
        )
        for result in standing.checkpoints
    )
    return Report(
        schema_version=SCHEMA_VERSION,
        course=Course("TinyTorch", "1.0.0"),
        ladder_version=ladder.version,
        generated_at="2026-11-20T12:00:00Z",
        repository="lovelace/tinytorch",
        commit=None,
        branch="main",
        seed=1,
        duration=9.0,
        environment=Environment("3.11", "2.3", "blas", "Linux", 2, False),
        isolation=Isolation("fork", ()),
        score=standing.score,
        level=standing.level,
        checkpoints=checkpoints,
        stages=standing.stages,
        tiers=standing.tiers,
        milestones=standing.milestones,
        next=standing.next,
        problems=(),
        integrity=Integrity(None, (), (), ()),
    )


def build_tree(folder: Path) -> Ladder:
    """Make the tree that the screens show: ladder, modules and report."""
    ladder_file = "checkpoints/ladder.toml"
    write_atomic(folder / ladder_file, (ROOT / ladder_file).read_bytes())
    ladder = load_ladder(folder)
    digests = {}
    for rung in ladder.checkpoints:
        text = module_text(rung)
        write_atomic(folder / rung.source, text)
        digests[rung.id] = text_digest(text)
    save_report(report_of(ladder, digests), folder / "report.json")
    return ladder


def watch_state(root: Path, ladder: Ladder) -> State:
    """What `tito watch` knows after a save and the key h."""
    rung = ladder.by_id[IN_HAND]
    progress = load_progress(root, ladder)
    units = UnitTests(2, (), 0.3)
    hints = {2: ("An average that begins at 0 is too small at first; by how much can be said.",)}
    state = State(progress, rung)
    for event in (
        Begun(1, rung, (2,), hints, progress),
        UnitsDone(1, units),
        CheckpointDone(1, progress),
        Key("h"),
    ):
        state, _ = advance(state, event)
    return state


def print_watch(options: argparse.Namespace) -> None:
    """Print the screen of `tito watch` on 80 columns and 24 lines."""
    state = watch_state(options.root, load_ladder(options.root))
    for row in screen(state, WIDTH, 24, UNICODE):
        cli_console.console().print(Text.assemble(*((s.text, s.style) for s in row), end=""))


COMMANDS: dict[str, tuple[str, Callable[[argparse.Namespace], object]]] = {
    "tito": ("tito", status.run_brief),
    "status": ("tito status", status.run),
    "timeline": ("tito checkpoint timeline", timeline.run),
    "modules": ("tito module list", module.run_list),
    "watch": ("tito watch", print_watch),
}


def to_svg(out: Console, title: str, name: str) -> str:
    """The recorded screen as SVG, without the web font that Rich would load."""
    svg = out.export_svg(title=title, unique_id=f"tito-{name}")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: (Fira Code, monospace|arial);", f"font-family: {FONT};", svg)
    svg = re.sub(r"<!-- Generated with Rich .*? -->\s*", "", svg)
    words = xml(f"A terminal after the command {title}")
    head = f'<svg role="img" aria-label="{words}" '
    svg = svg.replace("<svg ", head, 1)
    return re.sub(r"(<svg [^>]*>)", rf"\1<title>{words}</title>", svg, count=1).rstrip() + "\n"


def draw() -> dict[str, str]:
    """Every screen by its name."""
    drawn = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        build_tree(root)
        options = argparse.Namespace(
            root=root, json=False, report=Path("report.json"), horizontal=False, ascii=False
        )
        for name, (title, show) in COMMANDS.items():
            stream = io.StringIO()
            with redirect_stdout(stream):
                cli_console._console = out = Console(
                    record=True, file=stream, width=WIDTH, force_terminal=True, highlight=False,
                    color_system="truecolor", emoji=False, legacy_windows=False, _environ={},
                )  # fmt: skip
                show(options)
            cli_console._console = None
            drawn[name] = to_svg(out, title, name)
    return drawn


def main() -> int:
    """Write the screens, or check those that are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    options = parser.parse_args()
    stale = []
    for name, svg in draw().items():
        path = ROOT / SCREENS / f"{name}.svg"
        if not options.check:
            write_atomic(path, svg)
        elif not path.is_file() or path.read_text(encoding="utf-8") != svg:
            stale.append(path.name)
    if stale:
        print(f"not up to date: {', '.join(stale)}; draw them again: python scripts/screenshots.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
