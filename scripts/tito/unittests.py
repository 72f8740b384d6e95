"""Run the unit tests that stand beside the steps of a module; no export is needed."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tito.export import export_one, exported_text, faces
from tito.files import FileProblem, read_text, write_atomic
from tito.ladder import Checkpoint, Ladder
from tito.source import parse

_INI = "[pytest]\npython_files = *.py\npython_functions = test_*\naddopts = -p no:cacheprovider\n"


def lay_out(root: Path, ladder: Ladder, rung: Checkpoint, folder: Path) -> None:
    """Write a temporary tree: the package as exported now, and the module with its tests.

    Line N of the temporary module is line N of the student's file, under the same relative
    path, so that what pytest prints can be opened as it stands.

    Raises:
        FileProblem: If the module itself cannot be exported; an earlier one with a problem is
            left out, and fails where it is imported.
    """
    for file in faces(root, ladder):
        write_atomic(folder / file, read_text(root, file))
    needed = (*ladder.transitive_needs(rung.id), rung.id)
    for earlier in needed:
        result = export_one(root, ladder.by_id[earlier])
        if result.text is not None:
            write_atomic(folder / result.target, result.text)
        elif earlier == rung.id:
            raise result.problem  # type: ignore[misc]
    module = parse(read_text(root, rung.source), rung.source)
    if not any(cell.role == "test" for cell in module.cells):
        raise FileProblem(rung.source, "has no unit tests", "add a cell that starts with `#| test`")
    write_atomic(folder / rung.source, exported_text(module, "test"))
    write_atomic(folder / "pytest.ini", _INI)


def run_unit_tests(
    root: Path, ladder: Ladder, rung: Checkpoint, arguments: list[str], colour: bool
) -> int:
    """Run a module's unit tests with pytest and return its exit status.

    `arguments` go to pytest: `-k sum` chooses tests, `-x` stops at the first failure.
    """
    with tempfile.TemporaryDirectory(prefix="tito-test-") as name:
        folder = Path(name)
        lay_out(root, ladder, rung, folder)
        command = [sys.executable, "-P", "-m", "pytest", rung.source, "-q", "--no-header"]
        command += ["--import-mode=importlib", f"--color={'yes' if colour else 'no'}", *arguments]
        environment = os.environ | {
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "",
        }
        return subprocess.run(command, cwd=folder, env=environment, check=False).returncode
