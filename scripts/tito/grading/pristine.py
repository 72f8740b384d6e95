"""Judge a changed tree by the released text of what was changed, where its history still has it.

The session that judges then takes checkpoints and tool from a copy of their own, in which every
recovered file is as it was released and files that no release put there are left out.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tito.custom import OWN_FILE, read_own
from tito.files import FileProblem, read_bytes
from tito.ladder import LadderError, load_ladder
from tito.manifest import LARGEST, Inspection
from tito.report import Integrity

JUDGING = ("checkpoints/", "scripts/tito/")

# Starts the session with `tito` and `checkpoints` of the copy, whatever is installed.
LAUNCH = """
import runpy, sys
from importlib.machinery import PathFinder
root = sys.argv.pop(1)
places = {"tito": root + "/scripts", "checkpoints": root}

class Released:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [places[name]]) if name in places else None

sys.meta_path.insert(0, Released)
sys.dont_write_bytecode = True
runpy.run_module("tito.grading.session", run_name="__main__")
"""


def integrity(found: Inspection) -> Integrity:
    """What a report says of a tree's own files."""
    version = found.manifest.course_version if found.manifest else None
    findings = found.findings
    lists = (findings.modified, findings.missing, findings.unexpected, tuple(found.pristine))
    return Integrity(version, *(tuple(sorted(paths))[:500] for paths in lists))


@contextmanager
def judge(root: Path, found: Inspection) -> Iterator[Path]:
    """The tree whose checkpoints and tool judge: `root`, or a copy for as long as it is needed."""
    touched = (*found.pristine, *found.findings.unexpected)
    if found.manifest is None or not any(path.startswith(JUDGING) for path in touched):
        yield root
        return
    with tempfile.TemporaryDirectory(prefix="tito-judge-") as name:
        copy = Path(name)
        copy.chmod(0o755)  # the worker may be another user, and reads its own part of the tool
        for path in (*found.manifest.files, *found.manifest.modules):
            if path.startswith((*JUDGING, "modules/")):
                try:
                    data = found.pristine.get(path) or read_bytes(root, path, LARGEST)
                except FileProblem:
                    continue  # the report names it, as missing or as a problem of its module
                (copy / path).parent.mkdir(parents=True, exist_ok=True)
                (copy / path).write_bytes(data)
        _copy_own(root, copy)
        yield copy


def _copy_own(root: Path, copy: Path) -> None:
    """Put the student's own checkpoints beside the released ones: they judge nothing but
    themselves."""
    try:
        files = [OWN_FILE, *(custom.file for custom in read_own(root, load_ladder(copy)))]
    except (FileProblem, LadderError):
        return
    for file in files:
        try:
            data = read_bytes(root, file)
        except FileProblem:
            continue  # a missing one is said in its result
        if not (copy / file).exists():
            (copy / file).write_bytes(data)
