"""Which loop does not end, of the functions that ran when the time was up. Pure."""

import ast
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from tito.report import Frame

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
LOOPS = ast.While | ast.For | ast.AsyncFor


class Loop(NamedTuple):
    """A loop: its first line, and whether it is a `while`."""

    line: int
    is_while: bool


def loops_in(tree: ast.Module) -> dict[int, Loop]:
    """For each line in a loop the one around it, within a function.

    That is the innermost `while`, else the innermost `for`: a `for` goes through what it was
    given; as a rule it is the `while` around it that never ends.
    """
    around: dict[int, Loop] = {}
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()  # an outer loop comes before those in it
        if isinstance(node, LOOPS | FUNCTIONS):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            if isinstance(node, FUNCTIONS):
                for line in lines:
                    around.pop(line, None)
            else:
                loop = Loop(node.lineno, isinstance(node, ast.While))
                for line in lines:
                    if loop.is_while or line not in around or not around[line].is_while:
                        around[line] = loop
        nodes += (child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr))
    return around


def down_to_loop(
    frames: tuple[Frame, ...], loops_of: Callable[[str], dict[int, Loop]]
) -> tuple[Frame, ...]:
    """The functions down to the one whose loop does not seem to end, at the line of that loop.

    What stands below was on its way when the time was up, by chance.

    Args:
        frames: The functions, the outermost first.
        loops_of: The loops in a file.
    """
    pairs = enumerate(loops_of(frame.file).get(frame.line) for frame in frames)
    found = [(i, loop) for i, loop in pairs if loop is not None]
    whiles = [(i, loop) for i, loop in found if loop.is_while]
    if not found:
        return frames
    i, loop = (whiles or found)[-1]
    return (*frames[:i], replace(frames[i], line=loop.line))
