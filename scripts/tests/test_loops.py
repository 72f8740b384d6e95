"""Which loop a timeout points at."""

import ast
from textwrap import dedent

import pytest

from tito.loops import down_to_loop, loops_in
from tito.report import Frame

SOURCE = dedent("""\
    def helper(x):
        return [y for y in x if y]

    def inner(x):
        for z in x:
            helper(z)

    def outer(x):
        before = 1
        while x:
            for y in x:
                if y:
                    inner(y)
            else:
                pass
        return before

    for module in ():
        def made():
            return 1
        made()
    """)


def line_of(words):
    return next(i for i, line in enumerate(SOURCE.splitlines(), 1) if line.strip() == words)


def functions(*found):
    return tuple(Frame("m.py", line_of(words), name) for name, words in found)


def loop(words):
    found = loops_in(ast.parse(SOURCE)).get(line_of(words))
    return found and (SOURCE.splitlines()[found.line - 1].strip(), found.is_while)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("inner(y)", ("while x:", True)),
        ("while x:", ("while x:", True)),
        ("pass", ("while x:", True)),
        ("helper(z)", ("for z in x:", False)),
        ("return [y for y in x if y]", None),
        ("before = 1", None),
        ("return before", None),
        ("made()", ("for module in ():", False)),
        ("return 1", None),
    ],
)
def test_the_loop_around_a_line(words, expected):
    """A `while` before a `for`, within the function of the line."""
    assert loop(words) == expected


OUTER = ("outer", "inner(y)")
INNER = ("inner", "helper(z)")
HELPER = ("helper", "return [y for y in x if y]")


@pytest.mark.parametrize(
    ("ran", "shown"),
    [
        ([OUTER, INNER, HELPER], [("outer", "while x:")]),
        ([INNER, HELPER], [("inner", "for z in x:")]),
        ([HELPER], [HELPER]),
        ([], []),
    ],
)
def test_the_way_ends_at_the_loop_that_goes_on(ran, shown):
    """What it called was on its way by chance, and differs from run to run."""
    loops = loops_in(ast.parse(SOURCE))
    assert down_to_loop(functions(*ran), {"m.py": loops}.__getitem__) == functions(*shown)


def test_a_large_file_is_understood_once():
    """Every line is looked at as often as loops are nested around it, not once a loop."""
    text = "while 1:\n    pass\n" * 20_000
    assert len(loops_in(ast.parse(text))) == 40_000
