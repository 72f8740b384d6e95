"""A checkpoint that passes a wrong solution is worthless: each must catch its mutants."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tito.ladder import load_ladder

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("mutants") / "runner.py"
MODULES = [c for c in load_ladder(ROOT).checkpoints if (ROOT / c.source).is_file()]


@pytest.mark.parametrize("rung", MODULES, ids=lambda c: c.folder)
def test_checkpoint_catches_every_mutant(rung):
    """Each wrong solution in mutants/NN_name.toml fails at least the tests it names."""
    command = [sys.executable, str(RUNNER), rung.id]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    survivors = [c for c in cases if c["survived"] or c["missed"]]
    assert not survivors, survivors
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(cases) >= 8
