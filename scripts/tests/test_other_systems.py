"""What Windows and macOS do otherwise, as far as it can be played on any system."""

import errno
import os

from tito.processes import workspace


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
