"""What a student reads when a solution is wrong is pinned, word for word."""

import subprocess
import sys
from pathlib import Path

import pytest
from transcripts.update import cases, settled

from tito.ladder import load_ladder

ROOT = Path(__file__).resolve().parents[2]
UPDATE = Path(__file__).with_name("transcripts") / "update.py"
WRITTEN = [c for c in load_ladder(ROOT).checkpoints if cases(c)]


@pytest.mark.parametrize("rung", WRITTEN, ids=lambda c: c.folder)
def test_transcripts_of_broken_solutions(rung, tmp_path):
    """Each command prints what its golden transcript says; after a wanted change of wording,
    python scripts/tests/transcripts/update.py NN, and read what it wrote."""
    command = [sys.executable, str(UPDATE), rung.id, "--into", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    assert len(cases(rung)) >= 2
    for path in cases(rung):
        golden = path.with_suffix(".txt").read_text(encoding="utf-8")
        now = (tmp_path / f"{path.stem}.txt").read_text(encoding="utf-8")
        assert settled(now) == settled(golden), path.stem


@pytest.mark.parametrize("rung", WRITTEN, ids=lambda c: c.folder)
def test_transcripts_fit_a_terminal(rung):
    """What tito itself writes fits 80 columns, and every failure comes with a hint."""
    for path in cases(rung):
        text = path.with_suffix(".txt").read_text(encoding="utf-8")
        screens = text.partition("\n-- the lines named above\n")[0].split("\n$ tito ")
        own = [screen for screen in screens if not screen.startswith("test ")]
        assert all(len(line) <= 80 for screen in own for line in screen.splitlines()), path
        assert "\n  hint      " in text, path


def test_moved_lines_do_not_matter_but_other_lines_do():
    """A module may grow above a named line; naming another line is a change."""
    text = "look at  modules/01_tensor/tensor.py:7\n\n-- the lines named above\n{}"
    golden = text.format("modules/01_tensor/tensor.py:7  def sum(x):\n")
    moved = golden.replace(":7", ":9")
    other = golden.replace("def sum(x)", "def mean(x)")
    assert settled(golden) == settled(moved) != settled(other)
