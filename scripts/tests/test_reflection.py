"""Reflections: the student's own words are counted and shown, and never scored."""

import pytest

from tito.cli import main
from tito.reflection import LIMIT, answer, file_of, read_reflection, reflections
from tito.render.summary import summary

QUESTION = "# Reflection: Tensor\n\n> Why is\n> it so?\n\n<!-- Write\nyour answer below. -->\n"


@pytest.mark.parametrize(
    ("words", "state"), [(0, "empty"), (149, "short"), (150, "fits"), (300, "fits"), (301, "long")]
)
def test_only_the_students_words_count(tree, ladder, words, state):
    rung = ladder.by_id["01"]
    path = tree / file_of(rung)
    path.write_text(f"{QUESTION}\n## My part\n\n{'word – ' * words}\n", encoding="utf-8")
    found = read_reflection(tree, rung)
    assert (found.words, found.state) == (words, state)
    assert ("150 to 300" in found.summary) == (state in ("short", "long"))


def test_what_is_not_a_file_is_missing(tree, ladder):
    rung = ladder.by_id["01"]
    path = tree / file_of(rung)
    path.unlink(missing_ok=True)
    assert read_reflection(tree, rung).state == "missing"
    path.symlink_to("/etc/passwd")
    found = read_reflection(tree, rung)
    assert (found.state, found.text) == ("missing", "")
    assert "symbolic link" in found.problem


def spoil(path, how):
    """Make a reflection that no text can be read from."""
    path.unlink()
    if how == "directory":
        path.mkdir()
    elif how == "link":
        path.symlink_to("/etc/passwd")
    else:
        path.write_bytes({"binary": b"\xff\xfe", "nul": b"a\0b", "large": b"a " * LIMIT}[how])


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("directory", "is a directory"),
        ("link", "is a symbolic link"),
        ("binary", "is not UTF-8 text"),
        ("nul", "holds a NUL byte"),
        ("large", "has 131,072 bytes, more than the 65,536 allowed"),
    ],
)
def test_what_cannot_be_read_is_said(tree, ladder, capsys, how, told):
    """A file that is there is not called missing: status and summary say what is wrong with it."""
    path = tree / file_of(ladder.by_id["01"])
    spoil(path, how)
    found = read_reflection(tree, ladder.by_id["01"])
    assert told in found.summary
    assert "no file" not in found.summary
    assert main(["-C", str(tree), "status"]) == 0
    assert f"modules/01_tensor/reflection.md {told}" in " ".join(capsys.readouterr().out.split())


def test_one_word_is_one(tree, ladder):
    path = tree / file_of(ladder.by_id["01"])
    path.write_text(f"{QUESTION}\nYes.\n", encoding="utf-8")
    assert read_reflection(tree, ladder.by_id["01"]).summary.startswith("1 word, 150 to 300")


def test_the_shipped_files_ask_and_hold_no_answer(root, ladder):
    """Every module that is here asks its question in a block quote."""
    for rung in ladder.checkpoints[:14]:
        text = (root / file_of(rung)).read_text(encoding="utf-8")
        assert text.startswith("# Reflection: "), rung.id
        assert "\n> " in text, rung.id
        assert "<!-- Write" in text, rung.id
        assert answer(text) == "", rung.id


def test_the_instructor_reads_it(tree, ladder):
    """What was begun reaches the report, and the summary as plain text."""
    from dataclasses import replace

    from golden.samples import report

    path = tree / file_of(ladder.by_id["02"])
    path.write_text(f"{QUESTION}\nIt is <b>so</b> because @x.\n", encoding="utf-8")
    found = reflections(tree, ladder)
    assert [(r.id, r.words) for r in found] == [("02", 5)]
    text = summary(replace(report({}), reflections=found))
    assert "<summary>Reflections: 1 written" in text
    assert "&lt;b\\>so" in text
    assert "<b>" not in text
