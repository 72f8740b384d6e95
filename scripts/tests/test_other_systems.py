"""What Windows and macOS do otherwise, as far as it can be played on any system."""

import errno
import io
import json
import os
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import pytest

from tito import files, recheck, unit_outcomes
from tito.aside import bring_back
from tito.cli import console, running
from tito.cli.main import Parser, Usage
from tito.grading import grade, run
from tito.isolation import process
from tito.processes import workspace
from tito.system import bootstrap
from tito.unittests import check_unit_tests


class Busy:
    """Stands for `os.replace` where another program has the file open for so many tries."""

    def __init__(self, times):
        self.times, self.real = times, os.replace

    def __call__(self, source, target):
        self.times -= 1
        if self.times >= 0:
            raise PermissionError(errno.EACCES, "Access is denied", source)
        self.real(source, target)


def test_a_file_that_is_open_elsewhere_is_replaced_once_it_is_closed(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr(files, "TRIES", 3)
    monkeypatch.setattr(files, "PAUSE", 0)
    monkeypatch.setattr(os, "replace", Busy(3))
    with pytest.raises(PermissionError) as caught:
        files.write_atomic(path, "new")
    assert caught.value.filename == str(path)
    assert path.read_text(encoding="utf-8") == "old"
    monkeypatch.setattr(os, "replace", Busy(2))
    assert files.write_atomic(path, "new")
    assert path.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_still_in_use_is_left_behind(monkeypatch):
    def refuse(path, **how):
        raise PermissionError(errno.EACCES, "in use by another process", path)

    with monkeypatch.context() as windows:
        windows.setattr(os, "rmdir", refuse)
        with workspace("tito-in-use-") as folder:
            (folder / "file").write_text("x", encoding="utf-8")
    folder.rmdir()
    with workspace("tito-free-") as folder:
        (folder / "file").write_text("x", encoding="utf-8")
    assert not folder.exists()


class Closed(io.RawIOBase):
    """The end of a pipe whose reader is gone, as Windows tells of it."""

    def write(self, data):
        raise OSError(errno.EINVAL, "Invalid argument")


def gone(status):
    """A process that ends without reading its job, and the file that takes its complaints."""
    code = f"import sys; print('no memory', file=sys.stderr); sys.exit({status})"
    errors = tempfile.TemporaryFile()  # noqa: SIM115, closed by whoever runs it
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
    )
    process.stdin.close()
    process.stdin = Closed()
    return process, errors


def test_a_session_that_is_gone_before_it_has_its_job_is_told_of(tmp_path):
    job = {"rungs": ["01"], "folder": str(tmp_path)}
    raw, at = run._session(job, 60, lambda message: None, lambda job: gone(3))
    assert raw is None
    assert at.splitlines() == ["01", "no memory"]


def test_unit_tests_that_are_gone_before_they_have_their_job_are_told_of(tmp_path):
    job = {"folder": str(tmp_path), "seconds": 60, "arguments": []}
    ended = recheck.run_units(*gone(3), job, lambda done, total, test: None)
    assert (ended.test, ended.late) == ("", False)


def test_a_stack_that_a_process_still_has_open_is_emptied(tmp_path, monkeypatch):
    stack = tmp_path / "stack.txt"
    stack.write_text("of the check before", encoding="utf-8")

    def refuse(path, missing_ok=False):
        raise PermissionError(errno.EACCES, "in use by another process", str(path))

    monkeypatch.setattr(type(stack), "unlink", refuse)
    job = {"folder": str(tmp_path), "seconds": 60, "arguments": []}
    ended = recheck.run_units(*gone(3), job, lambda done, total, test: None)
    assert (ended.trace, ended.late) == ("", False)


def test_commands_to_type_are_those_of_the_system():
    kept, file = ".tito/kept/modules/01_tensor/tensor-1.py", "modules/01_tensor/tensor.py"
    assert bring_back(kept, file, "posix") == f"cp {kept} {file}"
    assert bring_back(kept, file, "nt") == (
        r"copy .tito\kept\modules\01_tensor\tensor-1.py modules\01_tensor\tensor.py"
    )
    assert bootstrap("posix") == "python3 scripts/bootstrap.py"
    assert bootstrap("nt") == "python scripts/bootstrap.py"


def test_unit_tests_name_no_folder_of_ours_where_its_name_is_a_link(tree, ladder, monkeypatch):
    """The temporary folder of macOS is below a link."""
    (tree / "real").mkdir()
    (tree / "link").symlink_to("real")
    monkeypatch.setattr(tempfile, "tempdir", str(tree / "link"))
    source = tree / ladder.by_id["01"].source
    source.write_text(
        source.read_text(encoding="utf-8") + "\n# %%\n#| export\nfrom numpy import nothing\n",
        encoding="utf-8",
    )
    units = check_unit_tests(tree, ladder, ladder.by_id["02"])
    assert not units.ran
    (failure,) = units.failures
    assert failure.file == "modules/01_tensor/tensor.py"
    assert "tito-test-" not in repr(units.failures)


def test_an_import_that_failed_names_no_folder_of_ours_on_windows(monkeypatch):
    monkeypatch.setattr(os, "sep", "\\")
    folder, file = r"C:\Temp\tito-test-1", r"modules\01_tensor\tensor.py"
    fact = f"ImportError: cannot import name 'no' from 'tinytorch.core.tensor' ({folder}\\{file})"
    rung = SimpleNamespace(module="tensor", source="modules/01_tensor/tensor.py", id="01")
    places = SimpleNamespace(rung=rung, folder=folder, frames=lambda found: ())
    told = {"imports": [{"fact": fact, "frames": []}]}
    (failure,) = unit_outcomes.failures_of(told, places)
    assert failure.got == fact.replace(f"{folder}\\", "")


def test_a_branch_in_another_encoding_is_no_trouble(tmp_path):
    def git(*words):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "--quiet")
    who = ("-c", "user.name=S", "-c", "user.email=s@example.org")
    git(*who, "commit", "--quiet", "--allow-empty", "-m", "Begin")
    git("checkout", "--quiet", "-b", b"gr\xf6sse")
    assert grade.revision(tmp_path)["branch"] in ("gr\ufffdsse", os.environ.get("GITHUB_REF_NAME"))


def test_the_folder_of_a_killed_worker_goes_once_it_is_left(tmp_path, monkeypatch):
    folder = tmp_path / "worker"
    folder.mkdir()
    (folder / "file").touch()
    tries, remove = [], process.shutil.rmtree

    def busy(path, **how):
        tries.append(path)
        if len(tries) > 3:
            remove(path, **how)

    monkeypatch.setattr(process.shutil, "rmtree", busy)
    monkeypatch.setattr(process, "REMOVE_AGAIN", 60.0)
    monkeypatch.setattr(process, "REMOVE_LOOK", 0.0)
    process.remove_folder(str(folder))
    assert not folder.exists()


def test_forking_is_offered_only_where_there_is_a_fork(monkeypatch):
    monkeypatch.setattr(running, "STARTS", ("spawn",))
    parser = Parser(prog="tito checkpoint run")
    running.add_run_arguments(parser)
    assert parser.parse_args(["--start", "spawn"]).start == "spawn"
    with pytest.raises(Usage, match="cannot be 'fork'"):
        parser.parse_args(["--start", "fork"])


@pytest.mark.parametrize("encoding", ["cp437", "cp1252", "utf-8"])
def test_a_report_is_the_same_json_in_every_code_page(encoding, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    said = {"got": "“x” → ✓ \N{GRINNING FACE}", "é": 1}
    console.say_json_text(json.dumps(said, ensure_ascii=False))
    stream.flush()
    assert json.loads(stream.buffer.getvalue().decode(encoding)) == said
