"""Time what `tito watch` takes from a save to its new screen, module by module.

    python scripts/bench/bench_watch.py [--runs 7] [--modules 01 02 03]

A line of one step is changed and saved. `step` is when the screen shows what that step's unit
tests gave, `all` when it shows the checkpoint too; both from the save on, the looking at files and
the drawing included. The processes that run them wait, imported, as they do between two saves.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median, quantiles

from bench_startup import copy_tree

from tito.cli.watching import POLL, Watch
from tito.ladder import load_ladder
from tito.progress import load_progress
from tito.render.lines import UNICODE
from tito.source import parse
from tito.watch import State
from tito.watch_screen import screen

EARLIER = ("01", "02", "03", "04", "05", "06", "07")
WOKEN = threading.Event()
REST = 2.5  # seconds between two saves: a person saves no faster


def settle(watch: Watch) -> None:
    """Let the check under way end, and the next processes become ready."""
    while watch.state.waiting or watch.recheck.busy:
        step(watch)
    watch.recheck.warm()
    time.sleep(REST)


def step(watch: Watch) -> None:
    """One turn of the loop of `tito watch`, without a terminal."""
    WOKEN.wait(POLL)
    WOKEN.clear()
    watch.hear()
    screen(watch.state, 80, 24, UNICODE)


def save(watch: Watch, path: Path, number: int) -> tuple[float, float]:
    """Change a step in the middle of a module; seconds until its tests and until all are shown."""
    module = parse(path.read_text(encoding="utf-8"), path.name)
    region = module.regions[len(module.regions) // 2]
    lines = list(module.lines)
    indent = lines[region.begin - 1].partition("#")[0]
    lines.insert(region.begin, f"{indent}# {number}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    began = time.perf_counter()
    first = 0.0
    time.sleep(POLL / 2)  # on average
    watch.look()
    while watch.state.waiting:
        step(watch)
        if not first and "units" not in watch.state.waiting:
            first = time.perf_counter() - began
    return first, time.perf_counter() - began


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, _, high = quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return {"median": median(values), "low": low, "high": high}


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--modules", nargs="+", default=EARLIER, metavar="NN")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    options = parser.parse_args()
    figures = {}
    print(f"{'module':<16}{'step':>8}{'':>16}{'all':>8}")
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder))
        ladder = load_ladder(tree)
        for name in options.modules:
            rung = ladder.find(name)
            watch = Watch(tree, ladder, State(load_progress(tree, ladder), rung), WOKEN.set)
            try:
                for present in watch.files.present():
                    watch._reparse(present)
                watch.begin(rung, ())
                times = []
                for number in range(options.runs):
                    settle(watch)
                    times.append(save(watch, tree / rung.source, number))
            finally:
                watch.close()
            steps, alls = (spread(list(column)) for column in zip(*times, strict=True))
            figures[rung.id] = {"step": steps, "all": alls}
            words = [
                f"{s['median']:6.2f} s ({s['low']:.2f} to {s['high']:.2f})" for s in (steps, alls)
            ]
            print(f"{rung.folder:<16}{words[0]:<24}{words[1]}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
