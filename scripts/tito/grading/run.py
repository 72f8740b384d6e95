"""Run checkpoints in a trusted session of their own, and collect the outcome of each test."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tito.grading.session import REPORT
from tito.grading.snapshot import Snapshot
from tito.ladder import Checkpoint

PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "HOME", "USERPROFILE"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
)
SESSION_MARGIN = 60.0  # seconds for start-up and collection, beyond the checkpoints' own budgets
MESSAGE_LIMIT = 2000


@dataclass(frozen=True)
class TestOutcome:
    """One test as it ended: what it asked, its status, and the parts of its failure."""

    name: str
    line: int
    status: str
    duration: float
    kind: str
    step: int | None
    of: str
    hint: str
    asked: str
    module: str | None = None
    failure: dict[str, Any] | None = None


@dataclass
class LadderOutcome:
    """What a session gave: tests by rung, messages for rungs that went wrong as a whole."""

    tests: dict[str, list[TestOutcome]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    isolation: dict[str, Any] = field(default_factory=dict)


Progress = Callable[[dict[str, str]], None]


def _environment() -> dict[str, str]:
    """A short environment for the session: no token, no PYTEST_ADDOPTS, no path additions."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def _session(job: dict[str, Any], seconds: float, progress: Progress) -> tuple[dict | None, str]:
    """Run one session; returns its raw report, or None and the rung at which it ended."""
    command = [sys.executable, "-I", "-m", "tito.grading.session"]
    at = job["rungs"][0]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(),
            cwd=job["folder"],
        ) as process,
    ):
        watchdog = threading.Timer(seconds, process.kill)
        watchdog.start()
        try:
            assert process.stdin is not None and process.stdout is not None
            try:
                process.stdin.write(json.dumps(job).encode())
                process.stdin.close()
            except BrokenPipeError:
                pass  # it ended at once: the missing report below says so
            for line in process.stdout:
                message = json.loads(line)
                at = message["rung"] or at
                progress(message)
            process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            watchdog.cancel()
        path = Path(job["folder"]) / REPORT
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8")), at
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - MESSAGE_LIMIT))
        return None, f"{at}\n{errors.read().decode(errors='replace')}"


def _outcome(raw: dict[str, Any]) -> TestOutcome:
    """One test of pytest-json-report's file, with our verdict beside its own outcome."""
    verdict = raw.get("metadata", {}).get("verdict")
    duration = sum(
        raw.get(phase, {}).get("duration", 0.0) for phase in ("setup", "call", "teardown")
    )
    name = raw["nodeid"].rpartition("::")[2]
    line = raw.get("lineno", 0) + 1
    if verdict is None:
        failure = {"headline": f"{name}: did not run", "got": str(raw.get("outcome"))}
        return TestOutcome(name, line, "error", duration, "", None, "", "", "", None, failure)
    status = verdict["status"]
    if status == "passed" and raw["outcome"] != "passed":
        status = "error"
    words = {key: verdict[key] or "" for key in ("kind", "of", "hint", "asked")}
    return TestOutcome(
        name,
        line,
        status,
        duration,
        step=verdict["step"],
        module=verdict["module"],
        failure=verdict["failure"],
        **words,
    )


def _collect(outcome: LadderOutcome, raw: dict[str, Any], rungs: Iterable[Checkpoint]) -> None:
    """Sort the tests of a raw report by rung; a file that could not be collected gets a message."""
    by_file = {rung.file: rung for rung in rungs}
    for test in raw.get("tests", []):
        file = test["nodeid"].partition("::")[0].replace("\\", "/")
        rung = next(r for name, r in by_file.items() if name.endswith(file) or file.endswith(name))
        outcome.tests.setdefault(rung.id, []).append(_outcome(test))
    for collector in raw.get("collectors", []):
        if collector.get("outcome") == "failed":
            for name, rung in by_file.items():
                if collector["nodeid"].endswith(Path(name).name):
                    text = str(collector.get("longrepr", ""))[-MESSAGE_LIMIT:]
                    outcome.messages[rung.id] = f"{rung.file} could not be collected: {text}"
    extra = raw.get("tito", {})
    outcome.isolation = extra.get("isolation", {})
    outcome.memory |= extra.get("memory", {})


def run_ladder(
    root: Path,
    snapshot: Snapshot,
    rungs: list[Checkpoint],
    *,
    seed: int,
    progress: Progress = lambda message: None,
    start: str | None = None,
) -> LadderOutcome:
    """Run the checkpoints of `rungs` against a snapshot of the student's package.

    One pytest session runs them all. If the session itself is lost, the rung it was at is
    charged with the loss and the others are run again without it.

    Args:
        root: The tree whose checkpoints/ are trusted.
        snapshot: The package under test, as text.
        rungs: Which checkpoints; those without a file are skipped.
        seed: Seeds the inputs of every test.
        progress: Called with {"rung", "test", "status"} after each test.
        start: How workers start: None for the best at hand, "fork" or "spawn".
    """
    package = {
        name: {
            "text": source.text,
            "filename": source.filename,
            "is_package": source.is_package,
            "problem": source.problem,
        }
        for name, source in snapshot.package.items()
    }
    outcome = LadderOutcome()
    waiting = [rung for rung in rungs if (root / rung.file).is_file()]
    while waiting:
        with tempfile.TemporaryDirectory(prefix="tito-grade-") as folder:
            job = {"root": str(root), "rungs": [r.id for r in waiting], "package": package}
            job |= {"seed": seed, "folder": folder, "start": start}
            seconds = SESSION_MARGIN + sum(rung.seconds for rung in waiting)
            raw, at = _session(job, seconds, progress)
        if raw is not None:
            _collect(outcome, raw, waiting)
            break
        lost, _, details = at.partition("\n")
        outcome.messages[lost] = f"the grading session ended during this checkpoint: {details}"
        waiting = [rung for rung in waiting if rung.id != lost]
    return outcome
