"""What the tests share: the tree itself, and small trees made for one test."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tito.ladder import Ladder, load_ladder

ROOT = Path(__file__).resolve().parents[2]

# A busy machine is no failure.
settings.register_profile("course", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("course")


@pytest.fixture(scope="session")
def root() -> Path:
    """The course's own tree."""
    return ROOT


@pytest.fixture(scope="session")
def ladder() -> Ladder:
    """The course's own ladder."""
    return load_ladder(ROOT)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the tree in a folder of its own, with a space and an accent in its path."""
    target = tmp_path / "my côurse"
    for name in ("modules", "checkpoints", "tinytorch"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, target / name, ignore=ignore)
    for rung in load_ladder(ROOT).checkpoints:
        (target / "tinytorch" / "core" / f"{rung.module}.py").unlink(missing_ok=True)
    return target
