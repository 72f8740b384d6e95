"""Bad input to every module: refused with the right error, and a message that names what is wrong.

The cases stand in bad_input/cases_*.py, each a list `CASES` of (name, callable, exception types,
words that the message must contain).
"""

import importlib.util
import sys
from pathlib import Path

import pytest
from oracle import Sources, forgotten_imports

TABLES = sorted(Path(__file__).with_name("bad_input").glob("cases_*.py"))


def cases():
    """All cases of all tables, with an id each."""
    for path in TABLES:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        table = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(table)
        for case in table.CASES:
            yield pytest.param(*case, id=f"{path.stem.removeprefix('cases_')}: {case[0]}")


@pytest.fixture(scope="module", autouse=True)
def course():
    """The modules as they stand in the tree, without an export."""
    finder = Sources(last="20")
    with forgotten_imports("tinytorch.core"):
        sys.meta_path.insert(0, finder)
        yield
        sys.meta_path.remove(finder)


@pytest.mark.parametrize(("name", "call", "kinds", "words"), list(cases()))
def test_bad_input_is_refused(name, call, kinds, words):
    """The error is of the right kind, names the values, and says what to do."""
    with pytest.raises(kinds) as caught:
        call()
    message = str(caught.value)
    missing = [word for word in words if word not in message]
    assert not missing, f"{name}: {message!r} does not name {missing}"
    assert not isinstance(words, str), f"{name}: give a list of words"
