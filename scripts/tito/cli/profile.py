"""tito checkpoint profile: where checkpoints spend time and memory, the slowest tests first."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from tito.cli.console import complain, console, quote, row, say, say_json
from tito.cli.parser import Usage
from tito.ladder import AnyRung, load_ladder

if TYPE_CHECKING:
    from tito.grading.spending import Spent

MIB = 2**20
SHOWN = 10  # tests


def add_profile(actions: "argparse._SubParsersAction") -> None:
    """Add the action `profile`."""
    from tito.cli.actions import add_action, add_seed

    parser = add_action(
        actions,
        "profile",
        "where checkpoints spend time and memory, the slowest tests first",
        teaches="worker   processor seconds of the process that runs your code\n"
        "grader   processor seconds of the process that judges it\n"
        "waiting  what is left of the clock: both were idle, or the machine was busy\n"
        "MiB      the most memory the worker held in that test (on Linux)\n\n"
        "Run in isolation, once; the figures are the kernel's. The first test of a checkpoint\n"
        "pays for importing your package. Nothing is written.",
    )
    parser.add_argument("checkpoints", nargs="*", metavar="NN", help="05, 03-07 … (default: all)")
    parser.add_argument(
        "--top", type=int, default=SHOWN, metavar="N", help=f"so many tests (default: {SHOWN})"
    )
    add_seed(parser)
    parser.add_argument("--json", action="store_true", help="every test, as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the wanted checkpoints once and print what they spent."""
    from tito.cli.running import Follow
    from tito.custom import named, usable
    from tito.grading.grade import new_seed
    from tito.grading.spending import profile

    ladder = load_ladder(options.root)
    rungs: list[AnyRung] = (
        named(options.root, ladder, options.checkpoints)
        if options.checkpoints
        else [*ladder.checkpoints, *usable(options.root, ladder)]
    )
    here = [rung for rung in rungs if (options.root / rung.file).is_file()]
    if options.checkpoints and len(here) < len(rungs):
        absent = next(rung for rung in rungs if rung not in here)
        raise Usage(f"this tree has no {absent.file}")
    if options.top < 1:
        raise Usage(f"show at least one test: --top {SHOWN}")
    seed = options.seed if options.seed is not None else new_seed()
    progress = Follow(ladder, here, quiet=options.json)
    try:
        with progress:
            spent, outcome = profile(options.root, ladder, here, seed=seed, progress=progress)
    except KeyboardInterrupt:
        complain(f"interrupted: {progress.so_far()}; nothing was measured to its end or written")
        return 130
    if options.json:
        tests = [{**asdict(s), "waiting": s.waiting} for s in spent]
        say_json({"seed": seed, "start": outcome.isolation.get("start"), "tests": tests})
        return 0
    _show(here, spent, options.top)
    bad = sum(s.status != "passed" for s in spent)
    if bad:
        words = "1 test did" if bad == 1 else f"{bad} tests did"
        say(f"[yellow]{words} not pass: what it spent is not what it will spend when it does[/]")
    for rung in here:
        message = outcome.runs[rung.id].message if rung.id in outcome.runs else None
        if message:
            row("", f"[red]{rung.id}: {quote(message.splitlines()[0])}[/]", indent=0)
    return 0


def _sum(values: Sequence[float | None]) -> float | None:
    """The sum, or None if any part of it is unknown."""
    return None if None in values else sum(v for v in values if v is not None)


def _seconds(value: float | None, wide: int) -> str:
    """Seconds to the millisecond, or a dash."""
    return f"{'–' if value is None else f'{value:.3f}':>{wide}}"


def _mib(value: int | None) -> str:
    """Bytes in MiB, or a dash."""
    return f"{'–' if value is None else f'{value / MIB:.0f}':>6}"


def _show(rungs: Sequence[AnyRung], spent: "Sequence[Spent]", top: int) -> None:
    """A line a checkpoint, then the slowest tests of all."""
    head = f"{'clock':>8}{'worker':>8}{'grader':>8}{'waiting':>8}{'requests':>9}{'MiB':>6}"
    say(f"[bold]{head}  checkpoint[/]")
    for rung in rungs:
        own = [s for s in spent if s.rung == rung.id]
        if not own:
            say(f"{'–':>8}{'':39}  {rung.id} {rung.name}")
            continue
        memory = [s.memory for s in own if s.memory is not None]
        figures = "".join(
            (
                _seconds(sum(s.wall for s in own), 8),
                _seconds(_sum([s.worker for s in own]), 8),
                _seconds(sum(s.trusted for s in own), 8),
                _seconds(_sum([s.waiting for s in own]), 8),
                f"{sum(s.requests for s in own):>9,}",
                _mib(max(memory, default=None)),
            )
        )
        say(f"{figures}  {rung.id} {rung.name}, {len(own)} tests")
    slowest = sorted(spent, key=lambda s: -s.wall)
    if not slowest:
        say("\nno test ran")
        return
    say(f"\n[bold]{head}  slowest tests[/]")
    room = max(20, console().width - 49) if console().is_terminal else 200
    for s in slowest[:top]:
        figures = "".join(
            (
                _seconds(s.wall, 8),
                _seconds(s.worker, 8),
                _seconds(s.trusted, 8),
                _seconds(s.waiting, 8),
                f"{s.requests:>9,}",
                _mib(s.memory),
            )
        )
        label = f"{s.rung} {s.test.removeprefix('test_')}"
        label = label if len(label) <= room else label[: room - 1] + "…"
        style = "" if s.status == "passed" else "[yellow]"
        say(f"{figures}  {style}{quote(label)}{'[/]' if style else ''}")
    total = sum(s.wall for s in spent)
    shown = sum(s.wall for s in slowest[:top])
    if total and len(spent) > top:
        count = f"these {top} of {len(spent)} tests"
        say(f"\n{count} take {100 * shown / total:.0f}% of {total:.2f} s")
    if all(s.worker is None for s in spent):
        say("the worker's processor time is not available on this system")
    if all(s.memory is None for s in spent):
        say("the worker's memory is not available on this system")
    elif not all(s.memory_anew for s in spent if s.memory is not None):
        say("MiB is the most so far in a checkpoint: this system does not count it anew")
