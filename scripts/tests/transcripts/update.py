"""Write what a student sees of a broken solution: the golden transcripts of a module.

    python scripts/tests/transcripts/update.py              every transcript, written anew
    python scripts/tests/transcripts/update.py 05           those of module 05
    python scripts/tests/transcripts/update.py 05 --only hang
    python scripts/tests/transcripts/update.py 05 --into DIR   elsewhere: what the test compares

A transcript is two files, NN_name/SLUG.toml (written by hand) and NN_name/SLUG.txt (written by
this script, then read aloud as a student would, before it is committed). The first says what
the student did:

    what = \"\"\"One paragraph: the mistake, and why somebody makes it.\"\"\"
    mutant = "sum ignores keepdims"       # one of mutants/NN_name.toml, by its name; or:
    [[change]]                            # replacements of their own, each of which fits once
    find = "return x.sum(axis=axis, keepdims=keepdims)"
    replace = "return x.sum(axis=axis)"
    module = "01"                         # optional: the mistake is in an earlier module

and, before the first [[change]], where the defaults do not do:

    commands = ["checkpoint run"]         # also "test", "module complete"; NN is added to each
    seconds = 1                           # the limit of one test, for a solution that hangs

Choose mistakes that a test worked by hand finds: numbers that depend on the machine's rounding
or on its speed must not appear. The screen is a terminal of 80 columns. Only durations and
folders of the machine are put in fixed words, and seeds are fixed. The lines that the text
names stand below it with their source: a module may move them without a change here.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
import textwrap
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE.parent))

from mutants.runner import mutants, mutate  # noqa: E402
from rich.console import Console  # noqa: E402

from tito.cli import console, main  # noqa: E402
from tito.ladder import Checkpoint, Ladder, load_ladder  # noqa: E402

COLUMNS = 80
SEEDED = ("checkpoint run", "module complete")
KEYS = {"what", "mutant", "change", "commands", "seconds"}
NAMED = "the lines named above"
PLACE = re.compile(r"(modules/\w+/\w+\.py):(\d+)")
FIXED = (
    (re.compile(r"\b\d+\.\d s\b"), "0.0 s"),
    (re.compile(r"\bin \d+\.\d\ds\b"), "in 0.00s"),
    (re.compile(r"/\S*/tito-test-\w+"), "/tmp/tito-test"),
)


class Screen(Console):
    """A terminal of 80 columns without colours, on which what only follows the work is not seen."""

    def __init__(self) -> None:
        super().__init__(
            width=COLUMNS, force_terminal=True, color_system=None, highlight=False, emoji=False
        )

    def status(self, *words: Any, **how: Any) -> Any:
        """Nothing of a spinner stays on the screen."""
        return Silent()


class Silent(nullcontext):
    """A spinner that nobody sees."""

    def __enter__(self) -> "Silent":
        return self

    def update(self, *words: Any) -> None: ...

    start = stop = update


def read_case(path: Path) -> dict[str, Any]:
    """One broken solution, read strictly."""
    case = tomllib.loads(path.read_text(encoding="utf-8"))
    if unknown := set(case) - KEYS:
        raise SystemExit(f"{path}: unknown key {min(unknown)!r}; known: {sorted(KEYS)}")
    if not case.get("what", "").strip() or ("mutant" in case) == ("change" in case):
        raise SystemExit(f"{path}: wants `what`, and either `mutant` or [[change]]")
    return {"commands": ["checkpoint run"]} | case


def changes(case: dict[str, Any], rung: Checkpoint) -> list[dict[str, str]]:
    """The replacements of a case."""
    if "change" in case:
        return [{"name": "of a transcript", **change} for change in case["change"]]
    found = [mutant for mutant in mutants(rung) if mutant["name"] == case["mutant"]]
    if not found:
        raise SystemExit(f"mutants/{rung.folder}.toml has no {case['mutant']!r}")
    return found


def lay_out(case: dict[str, Any], ladder: Ladder, rung: Checkpoint, folder: Path) -> None:
    """The student's tree: the module, what it builds on, and the checkpoints."""
    wanted = [ladder.by_id[i] for i in (*ladder.transitive_needs(rung.id), rung.id)]
    for one in wanted:
        (folder / one.source).parent.mkdir(parents=True)
        shutil.copy(ROOT / one.source, folder / one.source)
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("checkpoints", "tinytorch"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for one in ladder.checkpoints:
        (folder / "tinytorch" / "core" / f"{one.module}.py").unlink(missing_ok=True)
    for change in changes(case, rung):
        path = folder / ladder.find(change.get("module", rung.id)).source
        text = path.read_text(encoding="utf-8")
        path.write_text(mutate(text, change), encoding="utf-8", newline="\n")
    if "seconds" in case:
        path = folder / "checkpoints" / "ladder.toml"
        text, row = path.read_text(encoding="utf-8"), f'[[checkpoint]]\nid = "{rung.id}"\n'
        limit = f"{row}test_seconds = {case['seconds']}\n"
        path.write_text(text.replace(row, limit), encoding="utf-8")


@contextmanager
def screen(folder: Path, file: Path) -> Iterator[None]:
    """Work in a folder and let all that is printed, by processes below too, go to a file."""
    kept, here = (os.dup(1), os.dup(2), sys.stdout, sys.stderr), Path.cwd()
    with open(file, "w", encoding="utf-8") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        sys.stdout = sys.stderr = out
        console._console = Screen()
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(here)
            out.flush()
            sys.stdout, sys.stderr = kept[2:]
            for number, descriptor in enumerate(kept[:2], 1):
                os.dup2(descriptor, number)
                os.close(descriptor)


def run(words: str, rung: Checkpoint, folder: Path) -> str:
    """Run one command in the tree and return the prompt's line with all that follows it."""
    command = [*words.split(), rung.id]
    seed = ["--seed", "1"] if words in SEEDED else []
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "screen"
        with screen(folder, file):
            status = main([*command, *seed])
        text = file.read_text(encoding="utf-8").replace(str(folder), "~/tinytorch")
    for pattern, word in FIXED:
        text = pattern.sub(word, text)
    text = "\n".join(line.rstrip() for line in text.splitlines())
    left = f"\n[exit status {status}]\n" if status else "\n"
    return f"$ tito {' '.join(command)}\n{text}{left}"


def named(text: str, folder: Path) -> str:
    """The lines of the student's files that a text names, with their source."""
    places = sorted({(file, int(line)) for file, line in PLACE.findall(text)})
    rows = []
    for file, line in places:
        source = (folder / file).read_text(encoding="utf-8").splitlines()
        rows.append(f"{file}:{line}  {source[line - 1].strip()}"[:140].rstrip() + "\n")
    return f"\n-- {NAMED}\n{''.join(rows)}" if rows else ""


def settled(transcript: str) -> str:
    """A transcript with the source of each named line in place of its number, to compare."""
    text, _, rows = transcript.partition(f"\n-- {NAMED}\n")
    lines = dict(row.split("  ", 1) if "  " in row else (row, "") for row in rows.splitlines())
    return PLACE.sub(lambda place: f"{place[1]}:{{{lines.get(place[0], '?')}}}", text)


def transcribe(path: Path, ladder: Ladder, rung: Checkpoint) -> str:
    """The whole transcript of one case."""
    case = read_case(path)
    with tempfile.TemporaryDirectory(prefix="transcript-") as name:
        folder = Path(name).resolve()
        lay_out(case, ladder, rung, folder)
        text = "\n".join(run(words, rung, folder) for words in case["commands"])
        text += named(text, folder)
    return f"{textwrap.fill(' '.join(case['what'].split()), COLUMNS - 1)}\n\n{text}"


def cases(rung: Checkpoint) -> list[Path]:
    """The broken solutions of a module."""
    return sorted((HERE / rung.folder).glob("*.toml"))


def update(arguments: list[str] | None = None) -> int:
    """Write what was asked for, and print which transcripts are new or different."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="NN", help="default: all")
    parser.add_argument("--only", metavar="SLUG", help="one transcript")
    parser.add_argument("--into", type=Path, metavar="DIR", help="write here, not beside the cases")
    options = parser.parse_args(arguments)
    for name in ("CI", "BUILD_NUMBER"):  # with them pytest shows differences at any length
        os.environ.pop(name, None)
    os.environ |= {"COLUMNS": str(COLUMNS), "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    ladder = load_ladder(ROOT)
    rungs = [ladder.find(name) for name in options.modules] or ladder.checkpoints
    for rung in rungs:
        for path in cases(rung):
            if options.only and path.stem != options.only:
                continue
            text = transcribe(path, ladder, rung)
            golden = path.with_suffix(".txt")
            if options.into:
                (options.into / golden.name).write_text(text, encoding="utf-8", newline="\n")
            elif not golden.is_file() or golden.read_text(encoding="utf-8") != text:
                golden.write_text(text, encoding="utf-8", newline="\n")
                print(golden.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(update())
