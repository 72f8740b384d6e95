"""The faces of the package: PyTorch's names, fetched late, with a word to whoever is early."""

import importlib
import subprocess
import sys

import pytest

from tinytorch._face import LESSONS
from tito.export import faces

FACES = (
    "tinytorch tinytorch.nn tinytorch.nn.functional tinytorch.nn.init tinytorch.nn.utils "
    "tinytorch.optim tinytorch.optim.lr_scheduler tinytorch.utils.data tinytorch.tinygpt "
    "tinytorch.core.networks"
).split()


def test_lessons_are_those_of_the_ladder(ladder):
    """The faces and the ladder agree on which module brings what."""
    assert all(ladder.find(name).id == lesson for name, lesson in LESSONS.items())


@pytest.mark.parametrize("face", FACES)
def test_a_name_that_is_not_built_yet_says_where_it_comes_from(face, root, ladder, tmp_path):
    """In a tree without exports every face imports, and each name tells what to run."""
    for file in faces(root, ladder):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes((root / file).read_bytes())
    program = f"""
import importlib, sys
sys.path.insert(0, {str(tmp_path)!r})
face = importlib.import_module({face!r})
names = dir(face)
assert names
for name in names:
    try:
        getattr(face, name)
    except ImportError as error:
        text = str(error)
        assert text.startswith({face!r} + "." + name + " comes with module "), text
        assert "then run: tito export " in text, text
    else:
        raise SystemExit(name + " was there")
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("face", FACES)
def test_an_unknown_name_is_an_ordinary_attribute_error(face):
    """A typo is not mistaken for a lesson."""
    module = importlib.import_module(face)
    with pytest.raises(AttributeError, match="no attribute 'Liner'"):
        _ = module.Liner
