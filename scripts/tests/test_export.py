"""Exporting a tree: broken files are named, good copies stay, nothing is left half-written."""

import os
import shutil

import pytest

from tito.cli import main
from tito.export import export_tree, present
from tito.files import SOURCE_LIMIT, FileProblem, read_text, write_atomic

TENSOR = "modules/01_tensor/tensor.py"


def export(tree, ladder):
    """Export everything and return the result of module 01."""
    results = export_tree(tree, ladder, present(tree, ladder))
    return next(r for r in results if r.rung.id == "01")


def test_an_export_is_made_once(tree, ladder):
    """A second export of the same source changes nothing, not even the file's time."""
    first = export(tree, ladder)
    assert first.changed
    assert (tree / first.target).is_file()
    before = (tree / first.target).stat().st_mtime_ns
    assert not export(tree, ladder).changed
    assert (tree / first.target).stat().st_mtime_ns == before


def replace_by(tree, kind):
    """Break module 01 in one way."""
    path = tree / TENSOR
    if kind == "syntax error":
        path.write_text(path.read_text().replace("def matmul(a, b):", "def matmul(a, b:"))
    elif kind == "bad encoding":
        path.write_bytes(b"# caf\xe9\n# %%\n")
    elif kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_text("")
    elif kind == "directory":
        path.unlink()
        path.mkdir()
    elif kind == "symlink":
        path.unlink()
        path.symlink_to("/etc/passwd")
    elif kind == "linked folder":
        elsewhere = tree.parent / "elsewhere"
        shutil.move(path.parent, elsewhere)
        path.parent.symlink_to(elsewhere)
    elif kind == "huge":
        path.write_text("# %%\n" + "#" * (50 << 20))
    elif kind == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif kind == "NUL byte":
        path.write_bytes(b"# %%\n\0\n")


BROKEN = {
    "syntax error": "syntax error",
    "bad encoding": "not UTF-8 text (byte 0xe9)",
    "missing": "is missing",
    "empty": "is empty",
    "directory": "is a directory",
    "symlink": "is a symbolic link",
    "linked folder": "is a symbolic link",
    "huge": "more than the 1,048,576 allowed",
    "pipe": "not a regular file",
    "NUL byte": "NUL byte",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_module_keeps_its_last_good_export(tree, ladder, kind, capsys):
    """The message names file, line and mend; the good copy stays; other modules are exported."""
    good = export(tree, ladder).text
    replace_by(tree, kind)
    result = export(tree, ladder)
    assert BROKEN[kind] in str(result.problem)
    assert str(result.problem).startswith(TENSOR + ":")
    assert (tree / result.target).read_text(encoding="utf-8") == good
    assert main(["-C", str(tree), "export", "01"]) == 1
    printed = capsys.readouterr().out
    assert BROKEN[kind] in printed
    assert "last good export stays" in printed
    assert main(["-C", str(tree), "export", "--all", "--continue"]) == 0


def test_line_ends_and_byte_order_mark_do_not_matter(tree, ladder):
    """A file saved on Windows exports to the same text."""
    good = export(tree, ladder).text
    path = tree / TENSOR
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert export(tree, ladder).text == good


def test_a_module_cannot_export_over_another(tree, ladder):
    """`default_exp` must name the module's own target."""
    path = tree / TENSOR
    path.write_text(path.read_text().replace("default_exp core.tensor", "default_exp core.setup"))
    result = export(tree, ladder)
    assert "is exported to core.setup, not core.tensor" in str(result.problem)
    assert result.problem.line > 1


def test_reading_refuses_more_than_its_limit(tmp_path):
    """The limit is in bytes and named in the message."""
    (tmp_path / "a.py").write_bytes(b"x" * (SOURCE_LIMIT + 1))
    with pytest.raises(FileProblem, match="1,048,577 bytes"):
        read_text(tmp_path, "a.py")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    """A kill between writing and renaming leaves the last good state, and no litter."""
    path = tmp_path / "report.json"
    write_atomic(path, "old")

    def refuse(source, target):
        raise OSError("killed here")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="killed here"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_unknown_module_gets_the_nearest_name(tree, capsys):
    """A typo is answered with the nearest match and exit status 2."""
    assert main(["-C", str(tree), "export", "tensr"]) == 2
    assert "did you mean tensor (01_tensor)?" in capsys.readouterr().err
