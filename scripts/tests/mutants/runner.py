"""Run a checkpoint, in-process, against changed sources: mutants, stubs, or the reference.

    python scripts/tests/mutants/runner.py 05             every mutant of module 05
    python scripts/tests/mutants/runner.py 05 --only NAME one mutant, with pytest's own output
    python scripts/tests/mutants/runner.py 05 --stripped  on stubs: every test must fail
    python scripts/tests/mutants/runner.py 05 --reference on the solutions

Prints one JSON line a case. NumPy and pytest are imported once; each case runs in a fork.
"""

import argparse
import contextlib
import importlib.abc
import importlib.machinery
import io
import json
import os
import sys
import tempfile
import tomllib
from pathlib import Path
from types import CodeType, ModuleType

import numpy as np  # noqa: F401 (imported before the forks)
import pytest

from tito.export import exported_text
from tito.files import FileProblem
from tito.ladder import Checkpoint, Ladder, load_ladder
from tito.source import parse
from tito.strip import strip

ROOT = Path(__file__).resolve().parents[3]


class MemoryFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import `tinytorch.core.*` from a dictionary of code; faces come from the tree."""

    def __init__(self, codes: dict[str, CodeType]):
        self.codes = codes

    def find_spec(self, name, path=None, target=None):
        if not name.startswith("tinytorch.core."):
            return None
        if name not in self.codes:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return importlib.machinery.ModuleSpec(name, self, origin=self.codes[name].co_filename)

    def exec_module(self, module: ModuleType) -> None:
        exec(self.codes[module.__name__], module.__dict__)


class Outcomes:
    """A pytest plugin that notes the outcome of each test."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}
        self.passed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what failed, and the first line that says why."""
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.failed[report.nodeid.partition("::")[2]] = str(crash.message if crash else "error")
        elif report.when == "call":
            self.passed.append(report.nodeid.partition("::")[2])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be collected fails as a whole."""
        if report.failed:
            self.failed["(collection)"] = str(report.longrepr)[-600:]


def code_of(rung: Checkpoint, text: str) -> CodeType:
    """The exported cells of a module's text, compiled under the module's own path."""
    return compile(exported_text(parse(text, rung.source)), str(ROOT / rung.source), "exec")


def codes_of_tree(ladder: Ladder) -> dict[str, CodeType]:
    """The code of every module present, by import path."""
    codes = {}
    for rung in ladder.checkpoints:
        if (ROOT / rung.source).is_file():
            try:
                text = (ROOT / rung.source).read_text(encoding="utf-8")
                codes[f"tinytorch.core.{rung.module}"] = code_of(rung, text)
            except FileProblem as problem:
                print(f"left out: {problem}", file=sys.stderr)
    return codes


def run_case(
    rung: Checkpoint,
    codes: dict[str, CodeType],
    *,
    loud: bool = False,
    only: list[str] | None = None,
    stop: bool = False,
) -> dict:
    """Run one checkpoint, or `only` some of its tests, in a fork; return what failed and passed."""
    read, write = os.pipe()
    if child := os.fork():
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            data = pipe.read()
        os.waitpid(child, 0)
        return json.loads(data) if data else {"failed": {"(crash)": "died"}, "passed": []}
    try:
        os.close(read)
        sys.meta_path.insert(0, MemoryFinder(codes))
        outcomes = Outcomes()
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        options = ["-p", "no:cacheprovider", "-q", "--assert=plain", "--rootdir", str(ROOT)]
        options += [f"{ROOT / rung.file}::{name}" for name in only or ()] or [str(ROOT / rung.file)]
        options += ["--exitfirst"] if stop else []
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            with contextlib.nullcontext() if loud else contextlib.redirect_stdout(io.StringIO()):
                pytest.main(options if loud else [*options, "--tb=line"], plugins=[outcomes])
        with os.fdopen(write, "wb") as pipe:
            pipe.write(json.dumps({"failed": outcomes.failed, "passed": outcomes.passed}).encode())
    finally:
        sys.stdout.flush()
        os._exit(0)


def mutants(rung: Checkpoint) -> list[dict]:
    """The mutants written for a module."""
    path = Path(__file__).with_name(f"{rung.folder}.toml")
    return tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", [])


def mutate(text: str, mutant: dict) -> str:
    """Apply a mutant's replacement, which must fit exactly once."""
    found = text.count(mutant["find"])
    if found != 1:
        raise SystemExit(f"mutant {mutant['name']!r}: its text is found {found} times, not once")
    return text.replace(mutant["find"], mutant["replace"])


def main() -> int:
    """Run what was asked for; exit 1 if a mutant survives or a case is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("module")
    parser.add_argument("--only", help="one mutant by name, with pytest's output")
    parser.add_argument("--stripped", action="store_true")
    parser.add_argument("--reference", action="store_true")
    options = parser.parse_args()
    ladder = load_ladder(ROOT)
    rung = ladder.find(options.module)
    codes = codes_of_tree(ladder)
    if options.stripped or options.reference:
        return run_whole(ladder, rung, codes, stripped=options.stripped)
    text = (ROOT / rung.source).read_text(encoding="utf-8")
    bad = 0
    for mutant in mutants(rung):
        if options.only and mutant["name"] != options.only:
            continue
        mutated = {f"tinytorch.core.{rung.module}": code_of(rung, mutate(text, mutant))}
        fails = mutant.get("fails", [])
        loud = bool(options.only)
        outcome = run_case(rung, codes | mutated, loud=loud, only=fails, stop=not fails)
        survived = not outcome["failed"]
        missed = [name for name in fails if name not in outcome["failed"]]
        bad += survived or bool(missed)
        case = {"mutant": mutant["name"], "survived": survived, "missed": missed}
        print(json.dumps(case | {"failed": list(outcome["failed"])}), flush=True)
    return int(bad > 0)


def run_whole(
    ladder: Ladder, rung: Checkpoint, codes: dict[str, CodeType], *, stripped: bool
) -> int:
    """Run a checkpoint on stubs, where all must fail as stubs do, or on the solutions."""
    if stripped:
        for other in ladder.checkpoints:
            if f"tinytorch.core.{other.module}" in codes:
                module = parse((ROOT / other.source).read_text(encoding="utf-8"), other.source)
                stub = strip(other.id, module)
                codes[f"tinytorch.core.{other.module}"] = code_of(other, stub)
    outcome = run_case(rung, codes, loud=not stripped)
    wrong = list(outcome["failed"])
    if stripped:
        odd = [n for n, why in outcome["failed"].items() if "NotImplementedError" not in why]
        wrong = [n for n in outcome["passed"] if n not in rung.free] + odd
    print(json.dumps({"case": "stripped" if stripped else "reference", **outcome}))
    if wrong:
        print(f"WRONG: {wrong}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
