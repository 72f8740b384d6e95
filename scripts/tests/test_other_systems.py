"""What Windows and macOS do otherwise, as far as it can be played on any system."""

import errno
import os

import pytest

from tito import files
from tito.processes import workspace


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
