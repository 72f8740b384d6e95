"""Small PyTorch scripts run under tinytorch with only their import lines replaced."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tito.export import export_tree, present

SCRIPTS = Path(__file__).with_name("as_torch")
LIMIT = 1e-4
NORTH_STAR = Path(__file__).with_name("north_star.py")


def as_tinytorch(text):
    """Replace the import lines, and nothing else."""
    text = re.sub(r"^import torch$", "import tinytorch as torch", text, flags=re.MULTILINE)
    text = re.sub(r"^import torch\.", "import tinytorch.", text, flags=re.MULTILINE)
    return re.sub(r"^from torch\b", "from tinytorch", text, flags=re.MULTILINE)


def run(text, folder, **environment):
    """Run a script as a program in a folder and return what it printed, as JSON."""
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "Agg"} | environment
    done = subprocess.run(
        [sys.executable, "-P", "-c", text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def built(tree, ladder):
    """A tree in which every module is exported."""
    export_tree(tree, ladder, present(tree, ladder))
    return tree


@pytest.mark.parametrize("name", ["mlp", "cnn", "transformer"])
def test_a_pytorch_script_gives_the_same_losses(name, built):
    """From the same weights, twenty steps agree to 1e-4, and the network learns."""
    pytest.importorskip("torch", reason="pip install torch==2.13.0 (extra: oracle)")
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    theirs = run(text, built)
    ours = run(as_tinytorch(text), built, PYTHONPATH=str(built))
    assert len(ours["losses"]) >= 20
    np.testing.assert_allclose(ours["losses"], theirs["losses"], rtol=0, atol=LIMIT)
    assert min(ours["losses"][-5:]) < ours["losses"][0]
    rest = {key: value for key, value in ours.items() if key != "losses"}
    assert rest == {key: value for key, value in theirs.items() if key != "losses"}


WITH_SMALL_BATCHES = """
import runpy, sys
import tinytorch.utils.sources as sources
sources.CIFAR10_BATCH_BYTES = 32 * 3073
import warnings
warnings.simplefilter("ignore")
names = runpy.run_path(sys.argv[1])
history, results = names["history"], names["results"]
import json
print(json.dumps({"accuracy": float(results["accuracy"]), "loss": float(results["loss"])}))
"""


def colours(folder, count=32):
    """Six batches in CIFAR-10's layout, whose classes are plain colours: easy to learn."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"):
        labels = rng.permutation(np.arange(count) % 10).astype(np.uint8)
        channels = np.stack([labels % 3, labels % 2, labels // 5], axis=1) * 100
        noise = rng.integers(0, 40, (count, 3, 1024))
        pixels = (channels[:, :, None] + noise).clip(0, 255).astype(np.uint8)
        records = np.concatenate([labels[:, None], pixels.reshape(count, 3072)], axis=1)
        (folder / name).write_bytes(records.tobytes())


def test_the_north_star_script_runs_as_written(built, tmp_path):
    """Data, network, training with the best epoch saved, evaluation, a plot."""
    colours(tmp_path / "data" / "cifar-10-batches-bin")
    program = WITH_SMALL_BATCHES.replace("sys.argv[1]", repr(str(NORTH_STAR)))
    place = {"TINYTORCH_DATA": str(tmp_path / "data"), "PYTHONPATH": str(built)}
    results = run(program, tmp_path, **place)
    assert results["accuracy"] >= 0.3
    assert (tmp_path / "best_model.pkl").stat().st_size > 20_000_000
