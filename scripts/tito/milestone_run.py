"""Run a milestone's script, within its minutes, and say how it came out."""

import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from tito.frozen import Frozen, frozen
from tito.ladder import LadderError, Milestone
from tito.milestones import script_of
from tito.processes import end_group

STOPPED = 3  # exit status of a script that ended before its time was over
CODE = "TINYTORCH_MILESTONE_CODE"  # tells a script the digest to record
GRACE = 2.0  # minutes that a script may be late in stopping itself
# What a run of Actions tells its steps: files to steer it with, and nothing that a script needs.
WITHHELD = ("ACTIONS_", "GITHUB_", "GH_", "INPUT_", "RUNNER_")
RESULT = re.compile(
    r"RESULT (?P<id>[0-9]{2}_[a-z0-9_]{1,60}) (?P<figure>[a-z_]{1,40}) "
    r"(?P<value>-?[0-9.]{1,20}|-?inf|nan) target (?P<target>[0-9.e+-]{1,20}) "
    r"(?P<verdict>PASS|FAIL)"
)


@frozen
class Ended(Frozen):
    """How a run came out: passed, missed, stopped (to be gone on with) or broken."""

    status: Literal["passed", "missed", "stopped", "broken"]
    line: str
    exit_status: int


def run_script(
    root: Path,
    milestone: Milestone,
    arguments: Sequence[str],
    show: Callable[[str], Any],
    *,
    code: str | None = None,
    minutes: float | None = None,
) -> Ended:
    """Run a milestone's script on the tree's own package, showing what it prints.

    Its closing line and its exit status must agree; a run that says neither is broken.

    Args:
        code: The digest for its record.
        minutes: When to stop it if it has not stopped itself; its saved state stays.
    """
    script = script_of(root, milestone)
    if script is None:
        raise LadderError(f"this tree has no milestones/{milestone.id} with one script in it")
    others = os.environ.get("PYTHONPATH")
    environment = {
        **{n: v for n, v in os.environ.items() if not n.startswith(WITHHELD)},
        **({CODE: code} if code else {}),
        "PYTHONPATH": os.pathsep.join([str(root), *([others] if others else [])]),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    command = [sys.executable, "-P", str(script), *arguments]
    last: deque[str] = deque(maxlen=1)
    late = threading.Event()
    with subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # an interruption is ours to pass on, to all it has started
    ) as process:

        def stop() -> None:
            late.set()
            end_group(process)

        guard = threading.Timer(60 * minutes if minutes else threading.TIMEOUT_MAX, stop)
        guard.daemon = True
        guard.start()
        try:
            for line in process.stdout or ():
                show(line.rstrip("\n"))
                if line.strip():
                    last.append(line.rstrip("\n"))
        except BaseException:
            end_group(process)
            raise
        finally:
            guard.cancel()
    if late.is_set():
        return Ended("stopped", f"STOPPED {milestone.id} after {minutes:g} minutes", STOPPED)
    return judge(milestone, last[0] if last else "", process.returncode)


def judge(milestone: Milestone, line: str, exit_status: int) -> Ended:
    """Say how a run came out, by its last line and its exit status."""
    found = RESULT.fullmatch(line)
    if found and found["id"] == milestone.id:
        verdict = {("PASS", 0): "passed", ("FAIL", 1): "missed"}.get(
            (found["verdict"], exit_status)
        )
        if verdict:
            return Ended(verdict, line, exit_status)
    if exit_status == STOPPED and line.startswith(f"STOPPED {milestone.id} "):
        return Ended("stopped", line, exit_status)
    return Ended("broken", line, exit_status)
