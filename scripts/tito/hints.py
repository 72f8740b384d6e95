"""Read modules/NN_name/hints.toml: for each step one to three hints, from concept to method."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tito.files import FileProblem, read_text
from tito.ladder import Checkpoint

MOST = 3  # hints a step
LONGEST = 400  # characters of one hint
_KEYS = ("step", "hints")


def hints_file(rung: Checkpoint) -> str:
    """A module's hints, from the root of the tree."""
    return f"modules/{rung.folder}/hints.toml"


def read(root: Path, rung: Checkpoint) -> dict[int, tuple[str, ...]]:
    """The hints of each step of a module; a module without the file has none.

    Raises:
        FileProblem: If the file is there and is not as it should be.
    """
    file = hints_file(rung)
    if not (root / file).exists():
        return {}
    return parse_hints(read_text(root, file), file)


def parse_hints(text: str, file: str) -> dict[int, tuple[str, ...]]:
    """Build the hints from the text of their file, strictly; errors name the file and the line."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number or a nesting without end
        raise FileProblem(file, f"not valid TOML: {error}", "mend this line") from None
    _known(file, data, ("step",), 1)
    rows = data.get("step", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise FileProblem(file, "its steps are not tables", "begin each with [[step]]")
    lines = [n for n, row in enumerate(text.splitlines(), 1) if row.strip() == "[[step]]"]
    found: dict[int, tuple[str, ...]] = {}
    for i, row in enumerate(rows):
        line = lines[i] if i < len(lines) else 1
        _known(file, row, _KEYS, line)
        step, hints = _step(file, row, line)
        if step in found:
            raise FileProblem(file, f"has step {step} twice", "join the two tables", line)
        if step < max(found, default=0):
            raise FileProblem(file, f"has step {step} out of order", "sort the tables", line)
        found[step] = hints
    return found


def _known(file: str, table: Mapping[str, Any], keys: tuple[str, ...], line: int) -> None:
    """Refuse a key that nothing reads."""
    for key in table:
        if key not in keys:
            from difflib import get_close_matches

            near = get_close_matches(key, keys, n=1)
            mend = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(keys)}"
            raise FileProblem(file, f"unknown key {key!r}", mend, line)


def _step(file: str, row: Mapping[str, Any], line: int) -> tuple[int, tuple[str, ...]]:
    """One table: the step's number and its hints."""
    step, hints = row.get("step"), row.get("hints")
    if type(step) is not int or step < 1:
        raise FileProblem(file, f"step must be a number from 1, not {step!r}", "mend it", line)
    if not isinstance(hints, list) or not 1 <= len(hints) <= MOST:
        raise FileProblem(file, f"step {step} must have 1 to {MOST} hints", "mend its list", line)
    for hint in hints:
        if not isinstance(hint, str) or not hint.strip() or len(hint) > LONGEST:
            fact = f"step {step}: a hint must be a text of 1 to {LONGEST} characters"
            raise FileProblem(file, fact, "write or shorten it", line)
    return step, tuple(" ".join(hint.split()) for hint in hints)
