"""Fixtures of the checkpoints, and the words that a failure gets from its test."""

import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints.feedback import Mismatch
from tito.custom import customs, module_of, rung_of_file
from tito.files import FileProblem, read_text
from tito.ladder import Checkpoint, load_ladder
from tito.render.failure import place_text
from tito.source import parse

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker that `asks` puts on a test."""
    config.addinivalue_line("markers", "rung(kind, step, of, hint, module): what a test asks")


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers, seeded per run (TITO_SEED) and per test."""
    seed = int(os.environ.get("TITO_SEED", "0"))
    return np.random.default_rng([seed, zlib.crc32(request.node.nodeid.encode())])


def rung_of(item: pytest.Item, marker: pytest.Mark) -> Checkpoint:
    """The rung whose module a test is about: by default that of its file's number."""
    ladder = load_ladder(ROOT)
    if marker.kwargs.get("module"):
        return ladder.find(marker.kwargs["module"])
    beyond = customs(ROOT, ladder) if item.path.name.startswith("custom_") else ()
    return ladder.find(module_of(rung_of_file(item.path.name, ladder, beyond)))


def place_of(rung: Checkpoint, words: Mapping[str, Any], call: str) -> str:
    """Where to look: file, line and step of what was called, then the command to repeat."""
    step = words["step"]
    try:
        module = parse(read_text(ROOT, rung.source), rung.source)
        line = module.place(words["of"], step, call)
        named = module.named(call, words["kind"])
        if named is not None:
            line, step = named, module.step_of(named)
    except FileProblem as problem:
        return str(problem)
    return place_text(rung.source, line, step, f"tito checkpoint run {rung.id}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Complete a mismatch with its test's question, hint and place."""
    try:
        return (yield)
    except Mismatch as mismatch:
        marker = item.get_closest_marker("rung")
        if marker is not None:
            words = marker.kwargs
            doc = (getattr(item.function, "__doc__", None) or "").strip()
            mismatch.asked = mismatch.asked or doc.split("\n\n")[0]
            mismatch.hint = mismatch.hint or words["hint"]
            rung = rung_of(item, marker)
            mismatch.place = mismatch.place or place_of(rung, words, mismatch.call)
        raise
