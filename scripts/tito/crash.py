"""Say of a script's traceback what in it is the student's: the line to open, and the way there.

The framework's lines are those of the modules, so a place in tinytorch/core is one in modules/.
"""

import os
import re
from collections.abc import Sequence
from itertools import pairwise, takewhile
from pathlib import Path

from tito.files import FileProblem, read_text
from tito.ladder import Checkpoint, Ladder
from tito.render.failure import HEADLINE
from tito.report import Failure, Frame
from tito.source import parse
from tito.unit_outcomes import DEPTH, NOT_WRITTEN, STUB, fit

_FRAME = re.compile(r'  File "(?P<path>.+)", line (?P<line>\d{1,7})(, in (?P<function>.+))?')
_CHAINED = ("During handling of the above", "The above exception was the direct cause")
_NOT_FOUND = re.compile(
    r"(ImportError|ModuleNotFoundError|AttributeError): .*'tinytorch\.core\.(?P<module>\w+)'"
)


def explain(lines: Sequence[str], root: Path, ladder: Ladder) -> Failure | None:
    """The failure that a traceback tells of; None where the student's code has no part in it.

    Args:
        lines: What was printed from the traceback's first line on; of several, the last one
            counts that goes through the student's code.
        root: The tree.
        ladder: Its ladder.
    """
    starts = [n for n, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    parts = [lines[n:end] for n, end in pairwise([*starts, len(lines)])]
    failures = (_explain_one(part, root, ladder) for part in reversed(parts))
    return next((failure for failure in failures if failure), None)


def _explain_one(lines: Sequence[str], root: Path, ladder: Ladder) -> Failure | None:
    """The failure that one traceback tells of."""
    places = {rung.source: rung for rung in ladder.checkpoints}
    frames = [frame for line in lines if (frame := _frame(line, root, ladder))]
    place = next((frame for frame in reversed(frames) if frame.file in places), None)
    first, *more = _message(lines)
    if place is None:
        return _not_found(first, ladder)
    rung = places[place.file]
    stub = STUB.search(first)
    headline = f"{place.function}: raised {first}"
    if stub:
        step = f"step {stub['step']} of " if stub["step"] else ""
        headline = f"{stub['name']}: {NOT_WRITTEN} ({step}module {stub['module']})"
    return Failure(
        fit(headline),
        got="" if stub else "\n".join(more if len(headline) <= HEADLINE else [first, *more]),
        file=place.file,
        line=place.line,
        step=_step(root, rung, place.line),
        command=f"tito test {rung.id}",
        traceback=() if stub else tuple(frames[-DEPTH:]),
    )


def _frame(line: str, root: Path, ladder: Ladder) -> Frame | None:
    """A line of a traceback as a place in a module or a milestone; None for any other line."""
    found = _FRAME.fullmatch(line)
    try:
        path = Path(os.path.realpath(found["path"]))  # type: ignore[index]
        name = path.relative_to(os.path.realpath(root)).as_posix()
    except (TypeError, ValueError):  # not a frame; not in the tree
        return None
    sources = {f"tinytorch/core/{rung.module}.py": rung.source for rung in ladder.checkpoints}
    name = sources.get(name, name)
    number = int(found["line"])
    if not name.startswith(("modules/", "milestones/")) or number < 1:
        return None
    function = (found["function"] or "").strip("<>")
    return Frame(name, number, "the module" if function == "module" else function)


def _message(lines: Sequence[str]) -> list[str]:
    """What the exception says, from its class on: the lines after those of the last frame."""
    last = max((n for n, line in enumerate(lines) if _FRAME.fullmatch(line)), default=0)
    begin = next((n for n in range(last + 1, len(lines)) if lines[n][:1].strip()), len(lines))
    own = takewhile(lambda line: not line.startswith(_CHAINED), lines[begin:])
    return [line for line in own if line.strip()] or ["an exception"]


def _not_found(message: str, ladder: Ladder) -> Failure | None:
    """The failure of an import that finds no module of the student's, or no such name in it."""
    found = _NOT_FOUND.match(message)
    rung = next((r for r in ladder.checkpoints if found and r.module == found["module"]), None)
    if rung is None:
        return None
    whole = message if len(message) > HEADLINE else ""
    return Failure(fit(message), got=whole, file=rung.source, command=f"tito test {rung.id}")


def _step(root: Path, rung: Checkpoint, line: int) -> int | None:
    """The step that a line of a module belongs to."""
    try:
        return parse(read_text(root, rung.source), rung.source).step_of(line)
    except FileProblem:
        return None
