"""A checkpoint that passes a wrong solution is worthless: each must catch its mutants."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tito.ladder import load_ladder

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("mutants") / "runner.py"
MODULES = [c for c in load_ladder(ROOT).checkpoints if (ROOT / c.source).is_file()]


def run_mutants(rung):
    """Run a module's mutants in a process of their own."""
    command = [sys.executable, str(RUNNER), rung.id]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def runs():
    """The runs of all modules, as many at once as this process has processors to itself."""
    beside = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // beside)) as pool:
        yield {rung.id: pool.submit(run_mutants, rung) for rung in MODULES}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("rung", MODULES, ids=lambda c: c.folder)
def test_checkpoint_catches_every_mutant(rung, runs):
    """Each wrong solution in mutants/NN_name.toml fails at least the tests it names."""
    done = runs[rung.id].result()
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    survivors = [c for c in cases if c["survived"] or c["missed"]]
    assert not survivors, survivors
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(cases) >= 8
