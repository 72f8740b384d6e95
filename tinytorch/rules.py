"""The given part of module 05: where backward rules are kept, and the words of its errors.

`tinytorch.core.autograd` exports `register_vjp` from here. Nothing here differentiates: the rules
and the reverse pass are in the module.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinytorch.machinery import ArrayBox, Node, Primitive

Rule = Callable[..., Any]
Rules = dict[Any, Rule | tuple[Rule | None, ...]]
tables: dict[Any, Callable[[], Rules]] = {}


def register_vjp(
    op: Primitive,
    *vjps: Rule | None,
    joint: Rule | None = None,
    keeps: Iterable[str] = ("inputs", "output"),
) -> None:
    """Give an operation its backward rule; a later registration replaces an earlier one.

    Args:
        op: The operation.
        vjps: One rule for each input, `vjp(g, out, *inputs, **settings)`; None: no gradient.
        joint: Instead of these, one rule for all inputs, `joint(needs, g, out, *inputs,
            **settings)`, that returns a sequence with a gradient or None for each input;
            `needs` says by input whether it is wanted.
        keeps: What the rules look at, of "inputs" and "output". The rest is not stored: the rules
            then get the shapes of the inputs in their place, and None for the output. If
            `op.saves`, they also get the second value of the forward rule as the keyword `saved`.

    Raises:
        ValueError: If there is no rule, or both kinds, or `keeps` names something else.
    """
    keeps = frozenset(keeps)
    if unknown := keeps - {"inputs", "output"}:
        raise ValueError(f"cannot keep {sorted(unknown)}; keeps= knows 'inputs' and 'output'")
    if bool(vjps) == (joint is not None):
        raise ValueError(f"{op.name} needs either one vjp for each input, or joint=")
    op.vjps, op.joint_vjp, op.keeps = vjps or None, joint, keeps


def register_table(table: Callable[[], Rules], *operations: Any, keeps: Iterable[str]) -> None:
    """Let these operations find their rules in `table()`, the first time they are needed."""
    for op in operations:
        tables[op], op.keeps = table, frozenset(keeps)
        op.vjps = op.joint_vjp = None


def find_rules(op: Any) -> tuple[Rule | None, ...]:
    """Open the table of an operation, and register what it says."""
    rules = tables[op]().get(op) if op in tables else None
    if rules is None:
        mend = f"add it to {tables[op].__name__}" if op in tables else "use register_vjp"
        raise RuntimeError(f"{op.name} has no gradient rule; {mend}")
    rules = rules if isinstance(rules, tuple) else (rules,)
    register_vjp(op, *rules, keeps=op.keeps)
    return rules


def call(node: Node, g: np.ndarray) -> list[Any]:
    """Ask the rules of a node for gradients of its inputs; None where nobody wants one.

    Runs once for each operation of a training step: written for speed.
    """
    op, out, settings = node.op, node.out, node.params
    inputs = node.values if "inputs" in op.keeps else node.shapes
    if op.saves:
        settings = {**settings, "saved": node.saved}
    if op.joint_vjp is not None:
        needs = [parent is not None for parent in node.parents]
        found = op.joint_vjp(needs, g, out, *inputs, **settings)
        return [piece if need else None for piece, need in zip(found, needs, strict=True)]
    return [
        rule(g, out, *inputs, **settings) if rule and parent is not None else None
        for rule, parent in zip(op.vjps or find_rules(op), node.parents, strict=True)
    ]


def vertex(tensor: ArrayBox) -> Any:
    """Return the place of a tensor in the graph: its Node, or itself if it is a leaf."""
    return tensor if tensor._node is None else tensor._node


def known_parents(node: Node) -> list[Any]:
    """Return the parents of a node.

    Raises:
        RuntimeError: If the node was freed.
    """
    if node.parents is None:
        raise RuntimeError(
            f"cannot go backward through {node.op.name} again: an earlier backward freed its "
            "graph; pass retain_graph=True to that one, or compute the result anew"
        )
    return node.parents


def free(node: Node) -> None:
    """Let go of all that a node kept, and of its parents."""
    node.parents = node.values = node.out = node.saved = None
    node.params, node.versions = {}, ()


def modified(node: Node, kept: int, now: int) -> RuntimeError:
    """Say that a value was written to between the forward and the backward pass."""
    return RuntimeError(
        f"a value that {node.op.name} kept for its gradient was modified in place: version {kept} "
        f"was kept, it is now {now}; modify a copy (x.clone()), or only after backward"
    )


class Switch:
    """A setting for the time of a block, `with switch():`, or of a function, `@switch()`.

    `_before` is an empty list, for `__enter__` to remember in what `__exit__` restores.
    """

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        """Accept `@switch` without brackets too, as PyTorch does."""
        made = super().__new__(cls)
        made._before = []
        return made if function is None else made(function)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that it always runs inside the block."""

        @functools.wraps(function)
        def wrapped(*args: Any, **named: Any) -> Any:
            with type(self)():
                return function(*args, **named)

        return wrapped


def first_gradient(output: ArrayBox, gradient: Any = None) -> np.ndarray:
    """Return what a pass starts with: the caller's gradient, or a one for a single element.

    Raises:
        RuntimeError: If nothing was recorded, or the gradient is missing or of another shape.
    """
    if not output.requires_grad:
        raise RuntimeError(
            "cannot go backward from a tensor that does not require grad: nothing was recorded; "
            "make an input with requires_grad=True, and compute outside no_grad()"
        )
    if gradient is None:
        if output.size != 1:
            raise RuntimeError(
                f"cannot start backward at shape {output.shape}: only one element has a gradient "
                "of 1 by default; reduce it with sum() or mean(), or pass gradient="
            )
        return np.ones(output.shape, output.dtype)
    array = gradient.data if isinstance(gradient, ArrayBox) else np.asarray(gradient)
    if array.shape != output.shape:
        raise RuntimeError(
            f"cannot start backward at shape {output.shape} with a gradient of shape "
            f"{array.shape}; pass one of the same shape"
        )
    return array.astype(output.dtype, copy=False)


def differentiable(inputs: Any) -> tuple[Any, ...]:
    """Make a tuple of one tensor or several, all of which must require grad."""
    inputs = (inputs,) if isinstance(inputs, ArrayBox) else tuple(inputs)
    for place, x in enumerate(inputs):
        if not x.requires_grad:
            raise RuntimeError(f"input {place} does not require grad; make it requires_grad=True")
    return inputs


def reached(places: list[Any], found: Iterable[Any]) -> None:
    """Refuse an input whose place in the graph is not among those found."""
    for place, x in enumerate(places):
        if x not in found:
            raise RuntimeError(
                f"the output does not depend on input {place}; pass allow_unused=True for None"
            )


def in_float64(inputs: Any) -> tuple[list[Any], list[int]]:
    """List the arguments of a function, those to be checked as new leaves; and which these are.

    Raises:
        ValueError: If no input requires grad.
    """
    arguments = [inputs] if isinstance(inputs, ArrayBox) else list(inputs)
    checked = [i for i, x in enumerate(arguments) if isinstance(x, ArrayBox) and x.requires_grad]
    if not checked:
        raise ValueError("no input requires grad; make one with requires_grad=True")
    for i in checked:
        x = arguments[i]
        arguments[i] = x._wrap(x.data.astype(np.float64)).requires_grad_()
    return arguments, checked


class GradcheckError(RuntimeError):
    """An analytic gradient differs from the measured one."""


def mismatch(
    function: Any, place: int, x: np.ndarray, analytic: np.ndarray, numeric: np.ndarray
) -> GradcheckError:
    """Say where two gradients differ most, the analytic above the numeric."""
    gap = np.nan_to_num(np.abs(analytic - numeric), nan=np.inf)
    index = tuple(int(i) for i in np.unravel_index(gap.argmax(), gap.shape))
    name = getattr(function, "__name__", type(function).__name__)
    return GradcheckError(
        f"gradient of {name} is wrong: argument {place} of shape {x.shape}, index {index}, "
        f"input {x[index]:.6g}\n"
        f"  analytic: {analytic[index]:.9g}\n"
        f"  numeric:  {numeric[index]:.9g}\n"
        "  mend the rule, or move the input off a kink such as relu at 0"
    )
