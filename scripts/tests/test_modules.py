"""Every module of the course, run: its examples, its unit tests, its stubs.

What can be seen without running it is `tito dev check`'s to say.
"""

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tito.cli import main
from tito.export import exported_text, faces
from tito.ladder import load_ladder
from tito.source import parse
from tito.strip import strip

ROOT = Path(__file__).resolve().parents[2]
LADDER = load_ladder(ROOT)
RUNGS = [c for c in LADDER.checkpoints if (ROOT / c.source).is_file()]
each_module = pytest.mark.parametrize("rung", RUNGS, ids=lambda c: c.folder)


def module_of(rung):
    """The parsed source of a rung."""
    return parse((ROOT / rung.source).read_text(encoding="utf-8"), rung.source)


def package(folder, text_of):
    """Lay out tinytorch in a folder: its faces, and `text_of(rung)` exported for each module."""
    for file in faces(ROOT, LADDER):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes((ROOT / file).read_bytes())
    for rung in RUNGS:
        exported = exported_text(parse(text_of(rung), rung.source))
        target = folder / "tinytorch" / "core" / f"{rung.module}.py"
        target.write_text(exported, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def stripped(tmp_path_factory):
    """The whole package, exported from stubs."""
    folder = tmp_path_factory.mktemp("stripped")
    return package(folder, lambda rung: strip(rung.id, module_of(rung)))


@pytest.fixture(scope="module")
def exported_package(tmp_path_factory):
    """The whole package, exported from the solutions."""
    folder = tmp_path_factory.mktemp("exported")
    return package(folder, lambda rung: "\n".join(module_of(rung).lines))


@each_module
def test_stub_imports_cleanly(rung, stripped):
    """Nothing runs a student's function at import time."""
    program = f"import tinytorch.core.{rung.module}"
    environment = os.environ | {"PYTHONPATH": str(stripped), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", program],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@each_module
def test_jupytext_gives_the_file_back(rung, tmp_path):
    """A notebook made from the module, saved unchanged, is the module again, byte for byte."""
    jupytext = pytest.importorskip("jupytext", reason="pip install jupytext (extra: dev)")
    text = (ROOT / rung.source).read_text(encoding="utf-8")
    notebook = jupytext.reads(text, fmt="py:percent")
    stored = jupytext.reads(jupytext.writes(notebook, fmt="ipynb"), fmt="ipynb")
    assert jupytext.writes(stored, fmt="py:percent") == text


RUN_CELLS = """
import contextlib, io, json, sys
file, cells = json.load(sys.stdin)
namespace, printed = {"__name__": "notebook"}, []
for role, start, text in cells:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile("\\n" * start + text, file, "exec"), namespace)
    printed.append(out.getvalue())
json.dump(printed, sys.stdout)
"""


def expected_output(lines):
    """The comment block after `# Expected output:` that ends a try-it cell, or None."""
    stripped = [line.rstrip() for line in lines]
    if "# Expected output:" not in stripped:
        return None
    block = [line for line in stripped[stripped.index("# Expected output:") + 1 :] if line]
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in block) + "\n"


@each_module
def test_examples_print_what_they_say(rung, tmp_path, exported_package):
    """Each try-it cell, run in order, prints its expected output."""
    module = module_of(rung)
    cells, wanted = [], []
    for cell in module.cells:
        if cell.role in ("export", "try"):
            lines = module.lines[cell.start : cell.end]
            cells.append((cell.role, cell.start, "\n".join(lines)))
            wanted.append((cell, expected_output(lines) if cell.role == "try" else None))
    environment = os.environ | {
        "PYTHONPATH": str(exported_package),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "Agg",
        "TINYTORCH_DATA": str(ROOT / "milestones" / "data"),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN_CELLS],
        input=json.dumps([rung.source, cells]),
        env=environment,
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for (cell, want), got in zip(wanted, json.loads(done.stdout), strict=True):
        if want is not None:
            same = doctest.OutputChecker().check_output(want, got, flags)
            assert same, f"{rung.source}:{cell.start}\nexpected\n{want}\ngot\n{got}"
        elif cell.role == "try":
            assert not got, f"{rung.source}:{cell.start} prints but states no expected output"


@each_module
def test_unit_tests_pass_without_an_export(rung, tree, capfd):
    """`tito test NN` passes on the solutions in a tree where nothing was exported."""
    assert main(["-C", str(tree), "test", rung.id]) == 0, capfd.readouterr().out
