"""What every milestone needs and none teaches: arguments, state, time, the record, the last line.

A script makes one `Run`, asks it to `resume`, and in its loop calls `note`, `save`, `time_is_up`;
`stop` and `finish` end the process.
"""

import argparse
import hashlib
import json
import math
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tinytorch.utils.progress import Progress

RECORD = "record.json"
SCHEMA_VERSION = 1
POINTS_LIMIT = 400  # of a recorded curve
ROWS, COLUMNS = 9, 60  # of a curve drawn in characters
MISSED, STOPPED = 1, 3  # exit statuses beside 0
CODE = "TINYTORCH_MILESTONE_CODE"  # the digest of the code, where tito runs the script


class Run:
    """One run of a milestone, from its arguments to its closing line.

    Args:
        script: The milestone's `__file__`; its folder's name is the milestone's id.
        year: When the result it repeats was first reached.
        text: Its docstring, shown by --help.
        datasets: The names that --dataset allows, the default of the full run first.
        arguments: A command line; by default the process's own.

    Attributes:
        quick, seed, dataset, out: What was asked for; `out` is a directory.
        seconds: How long the run has taken, earlier processes that it resumed from included.
    """

    def __init__(
        self,
        script: str,
        year: int,
        text: str,
        datasets: Sequence[str] = (),
        arguments: Sequence[str] | None = None,
    ):
        folder = Path(script).resolve().parent
        options = _parser(text, folder / "results", datasets).parse_args(arguments)
        self.id, self.year, self.out = folder.name, year, options.out
        self.quick, self.seed, self.minutes = options.quick, options.seed, options.minutes
        self.dataset = (getattr(options, "dataset", None) or "") if datasets else ""
        if datasets and not self.dataset:
            self.dataset = "digits" if self.quick else datasets[0]
        self.fresh, self.settings = options.fresh, {}
        self.curves: dict[str, list[list[float]]] = {}
        self.begin = self.asked = time.monotonic()
        self.before = self.longest = 0.0
        kind = "quick run" if self.quick else "full run"
        print(" · ".join(filter(None, (self.id, kind, self.dataset, f"seed {self.seed}"))))

    @property
    def seconds(self) -> float:
        """Seconds so far, in this process and those before it."""
        return self.before + time.monotonic() - self.begin

    @property
    def name(self) -> str:
        """What tells this kind of run from others of the same milestone, for names of files."""
        return "-".join(filter(None, ("quick" if self.quick else "full", self.dataset)))

    @property
    def state(self) -> Path:
        """The file from which an interrupted run goes on."""
        return self.out / f"{self.name}.ckpt"

    def progress(self, title: str, total: int) -> Progress:
        """A line that shows how far a part of the run is."""
        return Progress(title, total)

    def note(self, curve: str, step: float, value: float) -> None:
        """Add a point to a curve."""
        points = self.curves.setdefault(curve, [[], []])
        points[0].append(float(step))
        points[1].append(float(value))

    def resume(
        self, model: Any, optimizer: Any, scheduler: Any = None, settings: dict | None = None
    ) -> int:
        """Load what `save` left, if it is of the same settings and seed; return the next step."""
        from tinytorch.core.training import load_checkpoint
        from tinytorch.utils.statefile import read_state

        self.settings = {"seed": self.seed, **(settings or {})}
        if self.fresh or not self.state.is_file():
            return 0
        try:
            saved = read_state(self.state)["extra"]["run"]
            if saved["settings"] != self.settings:
                raise ValueError("it was made with other settings")
            content = load_checkpoint(self.state, model, optimizer, scheduler)
        except (ValueError, KeyError, TypeError) as error:
            print(f"cannot go on from {self.state.name}: {error}; starting again")
            return 0
        self.before, self.curves = saved["seconds"], saved["curves"]
        print(f"going on from step {content['epoch']}, {self.before:.0f} s into the run")
        return content["epoch"]

    def sample(self, text: str) -> None:
        """Show something that the model made, and keep it beside the record."""
        print("\n" + text)
        self.out.mkdir(parents=True, exist_ok=True)
        _replace(self.out / f"{self.name}-sample.txt", text + "\n")

    def save(self, step: int, model: Any, optimizer: Any, scheduler: Any = None) -> None:
        """Keep all that the run needs to go on after `step`, in one file, replaced in one move."""
        from tinytorch.core.training import save_checkpoint

        kept = {"settings": self.settings, "seconds": self.seconds, "curves": self.curves}
        save_checkpoint(self.state, model, optimizer, scheduler, epoch=step, run=kept)

    def time_is_up(self) -> bool:
        """Whether a part as long as the longest so far would pass the --minutes given.

        To be asked at the end of each part of the run, such as an epoch.
        """
        now = time.monotonic()
        self.longest, self.asked = max(self.longest, now - self.asked), now
        limit = math.inf if self.minutes is None else 60 * self.minutes
        return now - self.begin + self.longest > limit

    def stop(self, step: int, total: int) -> NoReturn:
        """End before the time is over; the saved state stays for the next run."""
        print(f"stopped after step {step} of {total}; the same command goes on from there")
        print(f"STOPPED {self.id} {step} of {total}", flush=True)
        raise SystemExit(STOPPED)

    def finish(
        self,
        figure: str,
        value: float,
        target: float,
        *,
        better: str = "higher",
        holds: bool = True,
        **figures: float,
    ) -> NoReturn:
        """Draw the curves, write the record, print the closing line, and exit.

        Args:
            figure, value, target: What is judged.
            better: "higher" if value must reach target from below, "lower" from above.
            holds: Any other condition that the run must meet.
            figures: More to record.
        """
        reached = value >= target if better == "higher" else value <= target
        passed = bool(reached and holds)  # a comparison with NaN is False
        self.out.mkdir(parents=True, exist_ok=True)
        for name in self.curves:
            print(f"\n{name}\n{text_curve(*self.curves[name])}")
        self._draw()
        sign = "at least" if better == "higher" else "at most"
        record = {
            "schema_version": SCHEMA_VERSION,
            "id": self.id,
            "year": self.year,
            "dataset": self.dataset,
            "quick": self.quick,
            "passed": passed,
            "summary": f"{figure} {value:.4f}, {sign} {target:g} wanted",
            "figure": figure,
            "value": _finite(value),
            "target": float(target),
            "better": better,
            "figures": [{"name": k, "value": _finite(v)} for k, v in figures.items()],
            "seconds": round(self.seconds, 3),
            "seed": self.seed,
            "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "code": os.environ.get(CODE) or code_digest(),
            "versions": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "platform": platform.platform(terse=True),
            },
            "curves": [_thinned(name, *points) for name, points in self.curves.items()],
        }
        self._write(record)
        self.state.unlink(missing_ok=True)  # a new run starts from the beginning
        verdict = "PASS" if passed else "FAIL"
        print(f"\n{self.seconds:.1f} s in all", *(f"{k} {v:.4f}" for k, v in figures.items()))
        print(f"RESULT {self.id} {figure} {value:.4f} target {target:g} {verdict}", flush=True)
        raise SystemExit(0 if passed else MISSED)

    def _write(self, record: dict[str, Any]) -> None:
        """Replace the record, but never that of a passed full run by that of a quick one."""
        path, text = self.out / RECORD, json.dumps(record, indent=1, allow_nan=False) + "\n"
        _replace(self.out / f"{self.name}.json", text)
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
            full = old["passed"] is True and old["quick"] is False and old["id"] == self.id
            same = old["code"] == record["code"]
        except (OSError, ValueError, KeyError, TypeError):
            full = same = False
        if not (self.quick and full and same):
            _replace(path, text)

    def _draw(self) -> None:
        """Write the curves as a picture, or as text where matplotlib is not installed."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            blocks = [f"{name}\n{text_curve(*points)}\n" for name, points in self.curves.items()]
            _replace(self.out / f"{self.name}.txt", "\n".join(blocks))
            return
        figure = Figure(figsize=(5 * max(1, len(self.curves)), 3.5), layout="constrained")
        panels = figure.subplots(1, max(1, len(self.curves)), squeeze=False)[0]
        for axes, (name, (steps, values)) in zip(panels, self.curves.items(), strict=False):
            axes.plot(steps, values, marker="." if len(steps) < 50 else "")
            axes.set(title=name, xlabel="step")
        path = self.out / f"{self.name}.svg"
        partial = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            figure.savefig(partial, format="svg")
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def _parser(text: str, out: Path, datasets: Sequence[str]) -> argparse.ArgumentParser:
    """The arguments that all milestones share."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="under a minute, on shipped data")
    parser.add_argument("--seed", type=_seed, default=0, help="makes the run what it is (0)")
    parser.add_argument(
        "--minutes", type=_minutes, metavar="M", help="stop in time, with the state saved"
    )
    parser.add_argument("--fresh", action="store_true", help="do not go on from a saved state")
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help="where results go")
    if datasets:
        parser.add_argument("--dataset", choices=datasets, help="the data to learn")
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to below 2**31")
    return int(text)


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes above 0")
    return value


def _finite(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


def _thinned(name: str, steps: Sequence[float], values: Sequence[float]) -> dict[str, Any]:
    """A curve of finite points, evenly thinned, its last point kept."""
    points = [(s, v) for s, v in zip(steps, values, strict=True) if math.isfinite(v)]
    stride = -(-len(points) // POINTS_LIMIT) or 1
    points = points[::-1][::stride][::-1]
    return {
        "name": name,
        "steps": [s for s, _ in points],
        "values": [round(v, 6) for _, v in points],
    }


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(partial, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def code_digest() -> str:
    """SHA-256 over the modules of the framework that this process has used, and the script."""
    names = sorted(name for name in sys.modules if name.startswith("tinytorch.core."))
    files = [getattr(sys.modules[name], "__file__", None) for name in ("__main__", *names)]
    digest = hashlib.sha256()
    for file in filter(None, files):
        if os.path.isfile(file):
            digest.update(hashlib.sha256(Path(file).read_bytes()).digest())
    return digest.hexdigest()


def text_curve(steps: Sequence[float], values: Sequence[float]) -> str:
    """Draw a curve in characters: highest and lowest value at the left, steps below."""
    points = [(s, v) for s, v in zip(steps, values, strict=True) if math.isfinite(v)]
    if not points:
        return "(no finite value)"
    lows, highs = (f([v for _, v in points]) for f in (min, max))
    first, last = points[0][0], points[-1][0]
    grid = [[" "] * COLUMNS for _ in range(ROWS)]
    for step, value in points:
        column = round((step - first) / ((last - first) or 1) * (COLUMNS - 1))
        row = round((highs - value) / ((highs - lows) or 1) * (ROWS - 1))
        grid[row][column] = "*"
    labels = [f"{highs:.3f}", *[""] * (ROWS - 2), f"{lows:.3f}"]
    lines = [f"{a:>8} |{''.join(b).rstrip()}" for a, b in zip(labels, grid, strict=True)]
    ends = f"{first:g}", f"{last:g}"
    return "\n".join([*lines, " " * 10 + ends[0] + ends[1].rjust(COLUMNS - len(ends[0]))])
