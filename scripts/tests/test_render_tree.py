"""The timeline of a terminal: it fits, it says everything without colour or Unicode."""

import re
import shutil
from dataclasses import replace

import pytest
import screenshots
from rich.cells import cell_len

from tito.cli import main
from tito.progress import load_progress
from tito.render.lines import (
    ASCII,
    UNICODE,
    Span,
    bar,
    columns,
    cut,
    ends,
    fit,
    line,
    pad,
    plain_text,
    wrapped,
)
from tito.render.tree import side_by_side, tree


@pytest.fixture(scope="module")
def half_way(tmp_path_factory):
    """A tree in which the modules below 06 passed, and 06 is in hand."""
    folder = tmp_path_factory.mktemp("half way")
    screenshots.build_tree(folder)
    return folder


@pytest.fixture(scope="module")
def progress(half_way, ladder):
    """Where that student is."""
    return load_progress(half_way, ladder)


def text(rows):
    """The lines as one text."""
    return "\n".join(plain_text(row) for row in rows)


@pytest.mark.parametrize("draw", [tree, side_by_side])
@pytest.mark.parametrize("charset", [UNICODE, ASCII], ids=["unicode", "ascii"])
@pytest.mark.parametrize("width", [30, 40, 60, 76, 80, 81, 100, 200])
def test_no_line_is_wider_than_the_terminal(progress, draw, charset, width):
    """Counted in columns: an emoji takes two."""
    assert max(map(columns, draw(progress, width, charset))) <= width


@pytest.mark.parametrize("draw", [tree, side_by_side])
@pytest.mark.parametrize("width", [40, 80])
def test_ascii_is_ascii(progress, draw, width):
    """Marks, rules, quotes and capability statements have a twin each."""
    assert text(draw(progress, width, ASCII)).isascii()


def test_the_row_of_a_stage_reads_as_promised(progress):
    """Marks, names and percentages, joined by rules."""
    done, begun, ahead = (UNICODE.stone(name) for name in ("done", "begun", "ahead"))
    drawn = text(tree(progress, 80, UNICODE))
    assert f"{done} Layers 100% ──── {ahead} Spatial 0% ──── {ahead} Attention 0%" in drawn
    assert f"{done} Autograd 100% ──── {begun} Optimizers 40%" in drawn
    assert "├─ Foundation 100%" in drawn
    assert "“I can build mathematical operations and ML primitives”" in drawn
    assert "“I can train neural networks" not in drawn
    assert "└─ Milestones 0 of 6 reached" in drawn


@pytest.mark.parametrize("draw", [tree, side_by_side])
@pytest.mark.parametrize("width", [30, 40, 80, 120])
def test_every_module_and_milestone_is_there(progress, ladder, draw, width):
    """Whatever the form and the width."""
    drawn = text(draw(progress, width, ASCII)).lower()
    for rung in ladder.checkpoints:
        assert rung.module in drawn
    for milestone in ladder.milestones:
        assert str(milestone.year) in drawn


def test_the_stages_beside_each_other_have_percentages(progress):
    """Of every module where there is room, of the one under way everywhere."""
    begun, ahead = UNICODE.stone("begun"), UNICODE.stone("ahead")
    wide = text(side_by_side(progress, 120, UNICODE))
    assert re.search(rf"{begun} optimizers +40%", wide)
    assert re.search(rf"{ahead} quantization +0%", wide)
    rows = text(side_by_side(progress, 80, UNICODE)).splitlines()
    at = next(i for i, row in enumerate(rows) if f"{begun} optimizers" in row)
    assert "40%" in rows[at + 1]
    assert f"{begun} Optimizers 40%" in text(side_by_side(progress, 60, UNICODE))


def test_a_custom_checkpoint_is_there_before_its_first_run(half_way, ladder, tmp_path):
    """It was made, so it is on the journey."""
    shutil.copytree(half_way, tmp_path / "tree")
    (tmp_path / "tree" / "checkpoints" / "custom.toml").write_text(
        '[[custom]]\nname = "rows"\nquestion = "Can I?"\nneeds = ["01"]\n', encoding="utf-8"
    )
    own = load_progress(tmp_path / "tree", ladder)
    for draw in (tree, side_by_side):
        assert re.search(r"C1 rows +not run yet", text(draw(own, 80, ASCII)))


def test_a_result_older_than_its_module_is_not_done(half_way, ladder, progress):
    """What passed and was edited since is under way again."""
    changed = replace(
        progress,
        rungs=tuple(r._replace(freshness="changed") if r.id == "00" else r for r in progress.rungs),
    )
    assert "[~] Setup 100%" in text(tree(changed, 80, ASCII))
    assert "[x] Setup 100%" in text(tree(progress, 80, ASCII))


def test_before_anything_was_graded(tmp_path, ladder):
    """An empty ladder is drawn too."""
    progress = load_progress(tmp_path, ladder)
    drawn = text(tree(progress, 80, UNICODE))
    assert drawn.startswith("0 of 100 points · no level yet · 0 of 21 checkpoints passed")
    assert UNICODE.stone("done") not in drawn


@pytest.mark.parametrize("words", ["", "--horizontal", "--ascii", "--horizontal --ascii"])
def test_the_command(half_way, capsys, words):
    """Piped: 80 columns, no colour, the next command last."""
    assert main(["-C", str(half_way), "checkpoint", "timeline", *words.split()]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert max(map(cell_len, printed.splitlines())) <= 80
    assert re.search(r"next: tito \w+", printed.splitlines()[-1])
    assert "ascii" not in words or printed.isascii()


def test_lines():
    """Cutting, padding and wrapping count columns."""
    wide = "\N{WHITE HEAVY CHECK MARK}"
    assert columns(line(wide, "ab")) == 4
    assert cut("abcdef", 4) == "abc…"
    assert cut("abcdef", 4, ASCII) == "abc~"
    assert cut("abc", 0) == ""
    assert cell_len(pad(wide * 3, 5)) == 5
    assert plain_text(fit(line("abc", Span("def", "bold")), 4)) == "abc…"
    assert plain_text(ends(line("ab"), line("cd"), 6)) == "ab  cd"
    assert plain_text(ends(line("abcd"), line("ef"), 6)) == "abcd"
    assert plain_text(bar(0.999, 10, ASCII, "")) == "#########."
    assert plain_text(bar(1.0, 10, ASCII, "")) == "##########"
    assert wrapped("one two three", 7) == ["one two", "three"]
