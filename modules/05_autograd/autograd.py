# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Module 05: Autograd
#
# You compute the gradient of any program made of tensor operations, by running it backwards.
#
# - **You build** a derivative rule for every operation so far, the reverse pass behind
#   `Tensor.backward`, `no_grad`, `grad`, and `gradcheck`, which checks all of it by measurement.
# - **You need** 01 (`Op`, `Node`, `apply`), 02 (activations), 03 (layers) and 04 (losses). None
#   of them changes: rules are *registered* on their operations, no method is replaced.
# - **Time**: 6 to 9 hours. Steps 1 to 5 are the engine; 8 to 11 are derivatives, group by group.
#
# Since module 01, `apply` has hung a `Node` on every result that depends on a tensor with
# `requires_grad`: which operation made it, from which parents, and the arrays it may need again.
# `loss.backward()` walks these nodes from the loss to the parameters.

# %%
#| default_exp core.autograd

# %%
#| export
import functools
import math
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from tinytorch.core import activations, losses
from tinytorch.core import tensor as ops
from tinytorch.core.tensor import Node, Op, Shape, Tensor, grad_mode
from tinytorch.rules import (
    GradcheckError,
    Rules,
    find_rules,
    first_gradient,
    free,
    known_parents,
    mismatch,
    modified,
    register_table,
    register_vjp,
)

Array = np.ndarray
Vertex = Node | Tensor  # of the graph: a Node, or a leaf Tensor that requires grad

# %% [markdown]
# ## Step 1: What an operation owes: vector-Jacobian products
#
# Let $L$ be one number, the loss, and $y = f(a, b)$ some value on the way to it. When the pass
# reaches $f$, it knows $g = \partial L / \partial y$, an array of the shape of $y$. The operation
# owes one thing: $\partial L / \partial a$ and $\partial L / \partial b$, given $g$. That is the
# vector $g$ times the Jacobian of $f$, a **vector-Jacobian product** (VJP). The Jacobian itself is
# never formed: for a (1000,) tensor and `exp` it has a million entries, all but a thousand zero;
# its product with $g$ is just `g * exp(x)`.
#
# A worked example, $L = a b$ at $a = 2$, $b = 3$, $g = 1$: raising $a$ by a small $h$ raises $L$ by
# $3h$, so $\partial L/\partial a = g\,b = 3$, and $\partial L/\partial b = g\,a = 2$.
#
# | operation | for `a` | for `b` |
# |---|---|---|
# | $a + b$ | $g$ | $g$ |
# | $a - b$ | $g$ | $-g$ |
# | $a b$ | $g b$ | $g a$ |
# | $a / b$ | $g / b$ | $-g\,a / b^2$ |
# | $a^b$ | $g\, b\, a^{b-1}$ | $g\, a^b \ln a$ |
#
# A rule is called as `rule(g, out, *inputs, **settings)` with plain arrays (or a Python number
# where the call had one), and returns the gradient for *its* input. It need not undo broadcasting
# nor mind the dtype: the engine does (steps 2 and 4). `keeps=` says what the rules look at; the
# rest is not stored. In place of inputs that are not kept, a rule gets their shapes; in place of
# the output, None. `a + b` keeps nothing: here the memory of training is won (systems section).
#
# You write the rules as a table, one line for each operation. `register_table` (given, like
# `register_vjp` for a single rule, in `tinytorch/rules.py`) has it opened when a backward pass
# first meets one of its operations: you can fill it line by line.


# %%
#| export
def arithmetic_rules() -> Rules:
    """The rules of arithmetic: one for each input.

    `pow` has exactly no slope for a where b is 0, even at a = 0; and none for b where a is 0 and
    b is not negative.
    """
    ### BEGIN SOLUTION
    return {
        ops.add: (lambda g, out, a, b: g, lambda g, out, a, b: g),
        ops.sub: (lambda g, out, a, b: g, lambda g, out, a, b: -g),
        ops.neg: (lambda g, out, x: -g,),
        ops.mul: (lambda g, out, a, b: g * b, lambda g, out, a, b: g * a),
        ops.div: (lambda g, out, a, b: g / b, lambda g, out, a, b: -g * (a / b) / b),
        ops.pow: (
            lambda g, out, a, b: g * b * a ** (b - (b != 0)),
            lambda g, out, a, b: g * a**b * np.log(np.where((a == 0) & (b >= 0), 1, a)),
        ),
    }
    ### END SOLUTION


register_table(arithmetic_rules, ops.add, ops.sub, ops.neg, keeps=())
register_table(arithmetic_rules, ops.mul, ops.div, ops.pow, keeps=("inputs",))

# %%
one = np.array(1.0)
print([rule(one, None, 2.0, 3.0).item() for rule in arithmetic_rules()[ops.mul]])
print([rule(one, None, 2.0, 3.0).item() for rule in arithmetic_rules()[ops.pow]])
# Expected output:
# [3.0, 2.0]
# [12.0, 5.545...]


# %%
#| test
def test_arithmetic_rules_match_small_differences():
    rng = np.random.default_rng(0)
    a, b, g, h = *rng.uniform(0.5, 2.0, (3, 4)), 1e-6
    for op in (ops.add, ops.sub, ops.mul, ops.div, ops.pow):
        f, (rule_a, rule_b) = op.forward, arithmetic_rules()[op]
        slope_a = (f(a + h, b) - f(a - h, b)) / (2 * h)
        slope_b = (f(a, b + h) - f(a, b - h)) / (2 * h)
        np.testing.assert_allclose(rule_a(g, f(a, b), a, b), g * slope_a, rtol=1e-6)
        np.testing.assert_allclose(rule_b(g, f(a, b), a, b), g * slope_b, rtol=1e-6)
    power = arithmetic_rules()[ops.pow][0]
    np.testing.assert_array_equal(power(np.ones(2), None, np.array([0.0, 2.0]), 0), [0, 0])


if __name__ == "__main__":
    test_arithmetic_rules_match_small_differences()

# %% [markdown]
# ## Step 2: Undo broadcasting
#
# In `x + b` with x of shape (4, 3) and b of shape (3,), each element of b is used four times. Uses
# add up: raising `b[0]` by $h$ raises four elements of the sum. So the gradient of b is g, shape
# (4, 3), **summed over the axes that broadcasting made**: those it put in front, and those it
# stretched from size 1. For g all ones: `[4, 4, 4]`.
#
# Forgetting the sum gives .grad the wrong shape; taking the mean trains at a quarter of the rate.


# %%
#| export
def unbroadcast(g: Array, shape: Shape) -> Array:
    """Sum a gradient back to the shape its input had before broadcasting.

    Args:
        g: Of the shape after broadcasting.
        shape: Before it, such as (3,), (4, 1) or ().

    Cost: one addition for each element of g.
    """
    ### BEGIN SOLUTION
    added = g.ndim - len(shape)
    stretched = [axis for axis, n in enumerate(shape, added) if n == 1 != g.shape[axis]]
    return g.sum(axis=(*range(added), *stretched)).reshape(shape)
    ### END SOLUTION


# %%
g = np.ones((4, 3))
print(unbroadcast(g, (3,)), unbroadcast(g, (4, 1)).shape, unbroadcast(g, ()))
# Expected output:
# [4. 4. 4.] (4, 1) 12.0


# %%
#| test
def test_unbroadcast_sums_added_and_stretched_axes():
    g = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(unbroadcast(g, (2, 3, 4)), g)
    np.testing.assert_array_equal(unbroadcast(g, (4,)), g.sum(axis=(0, 1)))
    np.testing.assert_array_equal(unbroadcast(g, (3, 1)), g.sum(axis=(0, 2))[:, None])
    np.testing.assert_array_equal(unbroadcast(g, (1, 1, 1)), g.sum().reshape(1, 1, 1))
    assert unbroadcast(g, ()).shape == ()
    assert unbroadcast(np.ones((0, 3)), (1, 3)).tolist() == [[0, 0, 0]]


if __name__ == "__main__":
    test_unbroadcast_sums_added_and_stretched_axes()

# %% [markdown]
# ## Step 3: In what order
#
# A value may be used twice: in `y = x * x; L = y + exp(y)`, two paths lead from L to y. The node of
# y may run only when **both** have delivered. Going on along each path at once would be correct,
# but its cost is the number of *paths*: sixty times `x = x + x` makes 60 nodes and $2^{60}$ paths.
#
# A topological order visits every node once, after all nodes that use it. Count the uses of each
# node, then start from the root, and take a node when its count has come down to zero (Kahn 1962).
# Lists of work instead of recursion: Python gives up near 1,000 nested calls, and a recurrent
# network makes graphs far deeper. Cost: once per node and edge.
#
# A freed node has `parents` None (step 4): meeting one is an error that names the remedy.


# %%
#| export
def topological_order(root: Vertex) -> list[Node]:
    """List the nodes below a root, each one after all nodes that use it.

    Args:
        root: A Node; for a leaf Tensor the list is empty.

    Raises:
        RuntimeError: If part of the graph was freed.
    """
    ### BEGIN SOLUTION
    if isinstance(root, Tensor):
        return []
    uses: dict[Node, int] = {root: 0}
    waiting = [root]
    while waiting:
        for parent in known_parents(waiting.pop()):
            if type(parent) is Node:
                if parent not in uses:
                    uses[parent] = 0
                    waiting.append(parent)
                uses[parent] += 1
    order, ready = [], [root]
    while ready:
        order.append(node := ready.pop())
        for parent in node.parents:
            if type(parent) is Node:
                uses[parent] -= 1
                if not uses[parent]:
                    ready.append(parent)
    return order
    ### END SOLUTION


# %%
x = Tensor([2.0], requires_grad=True)
y = x * x
print([node.op.name for node in topological_order((y + y.exp())._node)])
# Expected output:
# ['add', 'exp', 'mul']


# %%
#| test
def test_each_node_comes_once_and_after_its_uses():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    z = y.exp() * y + (y - 1)
    order = topological_order(z._node)
    assert sorted(node.op.name for node in order) == ["add", "exp", "mul", "mul", "sub"]
    place = {node: i for i, node in enumerate(order)}
    for node in order:
        assert all(place[p] > place[node] for p in node.parents if type(p) is Node)


def test_sixty_doublings_are_sixty_nodes():
    x = y = Tensor(1.0, requires_grad=True)
    for _ in range(60):
        y = y + y
    assert len(topological_order(y._node)) == 60
    assert topological_order(x) == []


if __name__ == "__main__":
    test_each_node_comes_once_and_after_its_uses()
    test_sixty_doublings_are_sixty_nodes()

# %% [markdown]
# ## Step 4: The reverse pass
#
# Keep a dictionary from vertex to gradient that starts as `{root: gradient}`. For each node in
# order: take its gradient out, turn it into gradients for its inputs, and **add** each to what
# the parent has so far. Nothing leads on from a leaf: what is left in the end is the answer.
#
# $L = x y + x$ at $x = 2$, $y = 3$. `add` gives 1 to `mul` and 1 to x. `mul` gives $3$ to x and $2$
# to y. Left: x: $1 + 3 = 4$, y: $2$. Overwriting instead of adding would leave x either 1 or 3.
#
# **Versions.** A rule that looks at an array finds what is there *now*. If someone wrote into it
# since the forward pass, the gradient would be wrong, silently. `apply` recorded the version of
# each kept tensor as a pair (cell, number), and every write raises `cell[0]`.
#
# **Memory.** A node that has run gives up its arrays at once unless `retain_graph`.


# %%
#| export
def input_gradients(node: Node, g: Array) -> list[Array | None]:
    """Turn the gradient of a node's output into one for each input, in its shape and dtype.

    Returns:
        None in place of a gradient that nobody wants (the parent is None).
    """
    op, out, settings = node.op, node.out, node.params
    inputs = node.values if "inputs" in op.keeps else node.shapes
    if op.saves:
        settings = {**settings, "saved": node.saved}
    needs = [parent is not None for parent in node.parents]
    if op.joint_vjp is not None:
        found = op.joint_vjp(needs, g, out, *inputs, **settings)
    else:
        rules = zip(op.vjps or find_rules(op), needs, strict=True)
        found = [
            rule(g, out, *inputs, **settings) if rule and need else None for rule, need in rules
        ]
    pieces = []
    for piece, need, shape, dtype in zip(found, needs, node.shapes, node.dtypes, strict=True):
        if piece is None or not need:
            piece = None
        else:
            piece = piece if piece.shape == shape else unbroadcast(piece, shape)
            piece = piece if piece.dtype is dtype else piece.astype(dtype)
        pieces.append(piece)
    return pieces


def check_versions(order: list[Node]) -> None:
    """Refuse to go backward through a value that was modified since it was kept.

    Raises:
        RuntimeError: Names the operation and both versions.
    """
    ### BEGIN SOLUTION
    for node in order:
        for cell, number in node.versions:
            if cell[0] != number:
                raise modified(node, number, cell[0])
    ### END SOLUTION


def reverse_pass(
    root: Vertex, gradient: Array, retain_graph: bool = False, wanted: Collection[Vertex] = ()
) -> dict[Vertex, Array]:
    """Carry a gradient from a root to the leaves, through every node once.

    Args:
        root: Where to start.
        gradient: d(loss)/d(root), of the root's shape and dtype.
        retain_graph: Whether the nodes keep their arrays for another pass.
        wanted: Vertices besides the leaves whose gradients are asked for.

    Returns:
        The gradient of each leaf, and of each wanted vertex, that was reached.
    """
    ### BEGIN SOLUTION
    order = topological_order(root)
    check_versions(order)
    gradients = {root: gradient}
    for node in order:
        g = gradients.get(node) if node in wanted else gradients.pop(node, None)
        if g is not None:
            for parent, piece in zip(node.parents, input_gradients(node, g), strict=True):
                if piece is not None:
                    known = gradients.get(parent)
                    gradients[parent] = piece if known is None else known + piece
        if not retain_graph:
            free(node)
    return gradients
    ### END SOLUTION


# %%
x, y = Tensor(2.0, requires_grad=True), Tensor(3.0, requires_grad=True)
left = reverse_pass((x * y + x)._node, np.float32(1))
print(left[x], left[y])
# Expected output:
# 4.0 2.0


# %%
#| test
def test_uses_of_one_value_add_up():
    x, y = Tensor(2.0, requires_grad=True), Tensor(3.0, requires_grad=True)
    found = reverse_pass((x * y + x)._node, np.float32(1))
    assert len(found) == 2
    assert found[x] == 4
    assert found[y] == 2


def test_a_gradient_has_the_shape_and_dtype_of_its_leaf():
    x, b = Tensor(np.ones((4, 3)), requires_grad=True), Tensor([1, 2, 3], requires_grad=True)
    found = reverse_pass((x * b)._node, np.ones((4, 3)))
    np.testing.assert_array_equal(found[b], [4, 4, 4])
    assert found[b].dtype == np.float32
    assert found[x].dtype == np.float64


def test_a_write_into_a_kept_value_is_noticed():
    x, w = Tensor([1.0, 2.0]), Tensor([3.0, 4.0], requires_grad=True)
    y = w * x
    x[0] = 100.0
    np.testing.assert_raises_regex(
        RuntimeError, "modified in place", reverse_pass, y._node, np.ones(2, np.float32)
    )


if __name__ == "__main__":
    test_uses_of_one_value_add_up()
    test_a_gradient_has_the_shape_and_dtype_of_its_leaf()
    test_a_write_into_a_kept_value_is_noticed()

# %% [markdown]
# ## Step 5: `backward`: leave the gradients at the leaves
#
# `y.backward()` means: this is the loss, its own gradient is 1. That makes sense for one element
# only; for any other shape the caller says how much each element counts: `backward(gradient)`.
# Leaves **accumulate**: calling backward for two half batches gives the gradient of the whole, in
# half the memory. So somebody must clear `.grad` between steps: `zero_grad`.
#
# After `tito export`, `Tensor.backward` of module 01 finds this function by itself.


# %%
#| export
def vertex(tensor: Tensor) -> Vertex:
    """Return the place of a tensor in the graph: its node, or itself if it is a leaf."""
    return tensor if tensor._node is None else tensor._node


def backward(tensor: Tensor, gradient: Any = None, retain_graph: bool = False) -> None:
    """Add d(tensor)/d(leaf) to the `.grad` of every leaf that requires grad.

    Args:
        tensor: Where to start, usually a loss.
        gradient: Weights of its elements; may be left out for a single element.
        retain_graph: Keep the graph for another backward; it is freed otherwise.

    Cost: about twice that of the forward pass.
    """
    ### BEGIN SOLUTION
    found = reverse_pass(vertex(tensor), first_gradient(tensor, gradient), retain_graph)
    for leaf, g in found.items():
        total = np.array(g) if leaf.grad is None else np.asarray(leaf.grad.data + g)
        leaf.grad = Tensor._wrap(total)
    ### END SOLUTION


# %%
w = Tensor([1.0, -2.0, 3.0], requires_grad=True)
backward(w * w, [1.0, 1.0, 1.0])
print(w.grad.numpy())
backward(w * w, [1.0, 1.0, 1.0])
print(w.grad.numpy())
# Expected output:
# [ 2. -4.  6.]
# [ 4. -8. 12.]


# %%
#| test
def test_backward_accumulates_at_the_leaves():
    w = Tensor([1.0, -2.0], requires_grad=True)
    for calls in (1, 2, 3):
        backward(w * w, [1.0, 1.0])
        np.testing.assert_array_equal(w.grad.numpy(), [2.0 * calls, -4.0 * calls])


def test_no_two_leaves_share_a_gradient():
    a, b = Tensor([1.0, 2.0], requires_grad=True), Tensor([1.0, 2.0], requires_grad=True)
    backward(a + b, [1.0, 1.0])
    a.grad.data[0] = 7.0
    np.testing.assert_array_equal(b.grad.numpy(), [1, 1])


def test_a_second_backward_needs_the_graph_to_be_kept():
    w = Tensor(3.0, requires_grad=True)
    loss = w * w
    backward(loss, retain_graph=True)
    backward(loss)
    assert w.grad.item() == 12.0
    np.testing.assert_raises_regex(RuntimeError, "retain_graph", backward, loss)


if __name__ == "__main__":
    test_backward_accumulates_at_the_leaves()
    test_no_two_leaves_share_a_gradient()
    test_a_second_backward_needs_the_graph_to_be_kept()

# %% [markdown]
# ## Step 6: `no_grad` and `grad`
#
# Recording costs memory: every kept array lives as long as the result. Evaluating a model, or
# updating its parameters, needs no gradients: `with no_grad():` switches recording off for this
# thread and afterwards restores what was **before** (which may be off already, when blocks nest),
# also when the block ends in an error. `@no_grad()` does it for a whole function.
#
# `grad(output, inputs)` returns gradients instead of adding them to `.grad`: for questions about a
# network ("which pixels matter?") that must not disturb its training. It may also ask for a value
# on the way, not only for leaves.


# %%
#| export
class no_grad:
    """Stop recording: `with no_grad():` for a block, `@no_grad()` for a function."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        """Accept `@no_grad` without brackets too, as PyTorch does."""
        made = super().__new__(cls)
        made._before = []
        return made if function is None else made(function)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that nothing it computes is recorded."""

        @functools.wraps(function)
        def wrapped(*args: Any, **named: Any) -> Any:
            with no_grad():
                return function(*args, **named)

        return wrapped

    def __enter__(self) -> None:
        """Remember whether `grad_mode.enabled`, at the end of `self._before`; switch it off."""
        ### BEGIN SOLUTION
        self._before.append(grad_mode.enabled)
        grad_mode.enabled = False
        ### END SOLUTION

    def __exit__(self, *error: object) -> None:
        """Restore what `__enter__` found last; an error goes on its way."""
        ### BEGIN SOLUTION
        grad_mode.enabled = self._before.pop()
        ### END SOLUTION


def grad(
    output: Tensor,
    inputs: Tensor | Iterable[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """Return d(output)/d(input) for each input, and leave every `.grad` as it is.

    Args:
        output: Where to start.
        inputs: One tensor or several; leaves, or values on the way.
        grad_outputs: Weights of the output's elements; may be left out for a single element.
        retain_graph: Keep the graph for another pass.
        allow_unused: Return None for an input the output does not depend on; an error otherwise.

    Returns:
        A tuple as long as `inputs`, also for one.

    Raises:
        RuntimeError: If an input does not require grad or is not used; names its place.
    """
    ### BEGIN SOLUTION
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    for place, x in enumerate(inputs):
        if not x.requires_grad:
            raise RuntimeError(f"input {place} does not require grad; make it requires_grad=True")
    wanted = {vertex(x) for x in inputs}
    start = first_gradient(output, grad_outputs)
    found = reverse_pass(vertex(output), start, retain_graph, wanted)
    for place, x in enumerate(inputs):
        if vertex(x) not in found and not allow_unused:
            raise RuntimeError(
                f"the output does not depend on input {place}; pass allow_unused=True for None"
            )
    arrays = [found.get(vertex(x)) for x in inputs]
    return tuple(None if a is None else Tensor._wrap(np.array(a)) for a in arrays)
    ### END SOLUTION


# %%
x = Tensor([1.0, 2.0], requires_grad=True)
with no_grad():
    print((x * x).requires_grad)
y = x * x
print([found.numpy() for found in grad(y * y, [x, y], [1.0, 1.0])], x.grad)
# Expected output:
# False
# [array([ 4., 32.], dtype=float32), array([2., 8.], dtype=float32)] None


# %%
#| test
def test_no_grad_restores_what_was_before():
    x = Tensor([1.0], requires_grad=True)
    with no_grad():
        with no_grad():
            pass
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    with np.testing.assert_raises(KeyError), no_grad():
        raise KeyError("inside")
    assert (x * 2).requires_grad


def test_no_grad_decorates():
    @no_grad()
    def double(x):
        return x * 2

    assert not double(Tensor([1.0], requires_grad=True)).requires_grad
    assert double.__name__ == "double"


def test_grad_leaves_grad_alone():
    x = Tensor([3.0], requires_grad=True)
    x.grad = Tensor([7.0])
    (found,) = grad(x * x, x)
    assert (found.item(), x.grad.item()) == (6.0, 7.0)
    unused = Tensor([1.0], requires_grad=True)
    assert grad(x * x, [unused], allow_unused=True) == (None,)


if __name__ == "__main__":
    test_no_grad_restores_what_was_before()
    test_no_grad_decorates()
    test_grad_leaves_grad_alone()

# %% [markdown]
# ## Step 7: `gradcheck`: measure the slope
#
# A wrong rule does not crash; training just goes worse. But a slope can be measured:
#
# $$\frac{\partial L}{\partial x_i} \approx \frac{L(x_i + h) - L(x_i - h)}{2h}$$
#
# The error of this *central* difference has two parts. The curve bends: about $h^2$. And the two
# values of L agree in most digits, so that rounding, about $10^{-16}$ in float64, is divided by
# $h$. With $h = 10^{-6}$ they are $10^{-12}$ and $10^{-10}$: nine good digits. In float32 the
# second would be 0.06, so the check converts its inputs to float64.
#
# An output of many elements is made one number by a weighted sum, with weights drawn at random: of
# a softmax, for example, the plain sum is always 1 and would hide every mistake.
# The cost is two evaluations for *each element*; `backward` is for training, this is for testing.


# %%
#| export
def numeric_gradient(function: Callable[[], float], x: Array, eps: float) -> Array:
    """Measure d(function())/d(x) by moving one element of x at a time, then putting it back.

    Args:
        function: Looks at x itself when it is called.
        x: A float64 array, changed in place meanwhile.
        eps: Distance of each of the two steps.
    """
    ### BEGIN SOLUTION
    slopes = np.empty_like(x)
    for index in np.ndindex(x.shape):
        centre = x[index]
        x[index] = centre + eps
        above = function()
        x[index] = centre - eps
        below = function()
        x[index] = centre
        slopes[index] = (above - below) / (2 * eps)
    return slopes
    ### END SOLUTION


def gradcheck(
    function: Callable[..., Tensor],
    inputs: Tensor | Iterable[Any],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Compare the gradients of a function with central differences, in float64.

    Args:
        function: Called with the inputs; returns a Tensor of any shape.
        inputs: Its arguments; tensors that require grad are checked, others passed on.
        eps: Step of the differences.
        atol, rtol: What may differ: atol + rtol * |numeric|.
        raise_exception: Return False instead when it is False.

    Returns:
        True if all gradients agree.

    Raises:
        GradcheckError: Names the function, argument, index and both values.
        ValueError: If no input requires grad.
    """
    arguments = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = [i for i, x in enumerate(arguments) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError("no input requires grad; make one with requires_grad=True")
    for i in checked:
        arguments[i] = Tensor(arguments[i].data, requires_grad=True, dtype=np.float64)
    ### BEGIN SOLUTION
    output = function(*arguments)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, output.shape)
    found = grad(output, [arguments[i] for i in checked], weights, allow_unused=True)

    @no_grad()
    def weighted_sum() -> float:
        return float((function(*arguments).data * weights).sum())

    for i, gradient in zip(checked, found, strict=True):
        x = arguments[i].data
        analytic = np.zeros_like(x) if gradient is None else gradient.data
        numeric = numeric_gradient(weighted_sum, x, eps)
        if not np.allclose(analytic, numeric, rtol=rtol, atol=atol):
            if raise_exception:
                raise mismatch(function, i, x, analytic, numeric)
            return False
    return True
    ### END SOLUTION


# %%
print(gradcheck(lambda a, b: a * b / (a + 2), [Tensor([1.0, 2.0], True), Tensor([3.0], True)]))
cube = Op("cube", lambda x: x**3)
register_vjp(cube, lambda g, out, x: g * 2 * x**2)  # should be 3
try:
    gradcheck(cube, Tensor([1.0, 2.0], requires_grad=True))
except GradcheckError as error:
    print(error)
# Expected output:
# True
# gradient of cube is wrong: argument 0 of shape (2,), index (1,), input 2
#   analytic: 6.158...
#   numeric:  9.237...
#   mend the rule, or move the input off a kink such as relu at 0


# %%
#| test
def test_gradcheck_passes_right_and_refuses_wrong_rules():
    square = Op("square", lambda x: x * x)
    x = Tensor([[0.5, -1.0, 2.0]], requires_grad=True)
    register_vjp(square, lambda g, out, x: g * 2 * x)
    assert gradcheck(square, x) is True
    register_vjp(square, lambda g, out, x: g * x)
    assert gradcheck(square, x, raise_exception=False) is False
    register_vjp(square, lambda g, out, x: np.where(x == 2, 0, g * 2 * x))  # one wrong element
    fact = r"square is wrong: argument 0 .* index \(0, 2\)"
    np.testing.assert_raises_regex(GradcheckError, fact, gradcheck, square, (x,))


def test_a_joint_rule_gets_what_was_saved():
    half = Op("half", lambda a, b: (a * b / 2, 0.5), saves=True)
    register_vjp(half, joint=lambda needs, g, out, a, b, saved: (g * b * saved, g * a * saved))
    a, b = (Tensor(values, requires_grad=True) for values in ([1.0, 2.0], [3.0]))
    assert gradcheck(half, (a, b))
    assert gradcheck(half, (a, b.detach()))


def test_numeric_gradient_puts_the_input_back():
    x = np.array([1.0, 2.0])
    slopes = numeric_gradient(lambda: float((x**3).sum()), x, 1e-6)
    np.testing.assert_allclose(slopes, [3, 12], rtol=1e-8)
    np.testing.assert_array_equal(x, [1, 2])


if __name__ == "__main__":
    test_gradcheck_passes_right_and_refuses_wrong_rules()
    test_a_joint_rule_gets_what_was_saved()
    test_numeric_gradient_puts_the_input_back()

# %% [markdown]
# ## Step 8: Functions of one element at a time
#
# If each output element depends on one input element, the Jacobian is diagonal and the rule is $g$
# times the slope. Where the slope can be written with the *output*, keep that: the next operation
# keeps the same array as its input anyway, so it costs no memory.
#
# | function | slope | keeps |
# |---|---|---|
# | exp, sqrt | $y$, $\;1/(2y)$ | output |
# | tanh, sigmoid | $1 - y^2$, $\;y(1-y)$ | output |
# | relu | 1 where $y > 0$, else 0 (also at 0) | output |
# | log, abs | $1/x$, $\;\mathrm{sign}(x)$, 0 at 0 | input |
# | clip | 1 inside, limits included, else 0 | input |
# | silu $= x s$ | $s\,(1 + x(1 - s))$, with $s = \mathrm{sigmoid}(x)$ | input |
# | gelu $= x\,\Phi(x)$ | $\Phi(x) + x\,e^{-x^2/2}/\sqrt{2\pi}$ | input |
#
# GPT-2's form of gelu is $\frac{x}{2}(1 + t)$ with $t = \tanh(c\,(x + k x^3))$, $k = 0.044715$ and
# $c = \sqrt{2/\pi}$. Its slope is $\frac{1 + t}{2} + \frac{x}{2}(1 - t^2)\,c\,(1 + 3 k x^2)$.
#
# **Softmax** is not of this kind: raising one score lowers the other probabilities. For
# $y = \mathrm{softmax}(x)$, $\partial y_i / \partial x_j = y_i (\delta_{ij} - y_j)$, so that the
# gradient is $y_j (g_j - \sum_i g_i y_i)$. With $y = [0.25, 0.75]$, $g = [1, 0]$ the sum is 0.25
# and the gradient $[0.1875, -0.1875]$. Of log-softmax it is $g_j - e^{y_j} \sum_i g_i$.
#
# **Two losses** of module 04 are primitives of the prediction and the target t. Both are linear in
# t, so the slope there is the value at t = 1 minus that at t = 0.
#
# | loss | slope in the prediction | slope in t |
# |---|---|---|
# | `bce_with_logits_values(x, t)` | $\mathrm{sigmoid}(x) - t$ | $-x$ |
# | `bce_values(p, t)` | $(p - t)\,/\,p(1 - p)$, divisor at least $10^{-12}$ | by the remark above |


# %%
#| export
def gelu_rule(g: Array, out: Any, x: Array, approximate: str = "none") -> Array:
    """The rule of gelu in both forms; `activations.normal_cdf` is Φ."""
    ### BEGIN SOLUTION
    if approximate == "none":
        density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return g * (activations.normal_cdf(x) + x * density)
    c, k = math.sqrt(2 / math.pi), 0.044715
    t = np.tanh(c * (x + k * x * x * x))
    return g * 0.5 * (1 + t + x * (1 - t * t) * c * (1 + 3 * k * x * x))
    ### END SOLUTION


def silu_rule(g: Array, out: Any, x: Array) -> Array:
    """The rule of silu; `activations.sigmoid.forward` works on arrays."""
    ### BEGIN SOLUTION
    s = activations.sigmoid.forward(x)
    return g * s * (1 + x * (1 - s))
    ### END SOLUTION


def function_rules() -> Rules:
    """The rules of every function in the tables above; of the losses, also for the target t.

    Settings come by name, as the operation has them: min and max for clip, `negative_slope`, axis.
    """
    ### BEGIN SOLUTION
    return {
        ops.exp: (lambda g, out, x: g * out,),
        ops.log: (lambda g, out, x: g / x,),
        ops.sqrt: (lambda g, out, x: g / (2 * out),),
        ops.abs: (lambda g, out, x: g * np.sign(x),),
        ops.clip: (lambda g, out, x, **limits: np.where(ops.clip.forward(x, **limits) == x, g, 0),),
        ops.tanh: (lambda g, out, x: g * (1 - out * out),),
        activations.sigmoid: (lambda g, out, x: g * out * (1 - out),),
        activations.relu: (lambda g, out, x: np.where(out > 0, g, 0),),
        activations.leaky_relu: (
            lambda g, out, x, negative_slope=0.01: np.where(x > 0, g, negative_slope * g),
        ),
        activations.silu: (silu_rule,),
        activations.gelu: (gelu_rule,),
        activations.softmax: (
            lambda g, out, x, axis=-1: out * (g - (g * out).sum(axis=axis, keepdims=True)),
        ),
        activations.log_softmax: (
            lambda g, out, x, axis=-1: g - np.exp(out) * g.sum(axis=axis, keepdims=True),
        ),
        losses.bce_with_logits_values: (
            lambda g, out, x, t: g * (activations.sigmoid.forward(x) - t),
            lambda g, out, x, t: -g * x,
        ),
        losses.bce_values: (
            lambda g, out, p, t: g * (p - t) / np.maximum(p * (1 - p), 1e-12),
            lambda g, out, p, t: (
                g * (losses.bce_values.forward(p, 1) - losses.bce_values.forward(p, 0))
            ),
        ),
    }
    ### END SOLUTION


of_input = (ops.log, ops.abs, ops.clip, activations.leaky_relu, activations.silu, activations.gelu)
of_input += (losses.bce_values, losses.bce_with_logits_values)
of_output = (ops.exp, ops.sqrt, ops.tanh, activations.sigmoid, activations.relu)
of_output += (activations.softmax, activations.log_softmax)
register_table(function_rules, *of_input, keeps=("inputs",))
register_table(function_rules, *of_output, keeps=("output",))

# %%
x = Tensor([-2.0, 0.0, 3.0], requires_grad=True)
print("relu   ", grad(activations.relu(x), x, np.ones(3))[0].numpy())
scores = Tensor([0.0, math.log(3)], requires_grad=True)
print("softmax", grad(activations.softmax(scores), scores, [1.0, 0.0])[0].numpy())
# Expected output:
# relu    [0. 0. 1.]
# softmax [ 0.1875 -0.1875]


# %%
#| test
def test_functions_of_one_element():
    x = Tensor([[0.3, 1.2], [2.5, 0.7]], requires_grad=True)
    for op in (ops.exp, ops.log, ops.sqrt, ops.abs, ops.tanh):
        assert gradcheck(op, x), op.name
    assert gradcheck(lambda x: ops.clip(x, 0.5, 2.0), x)
    kink = Tensor([-1.0, 0.0, 2.0], requires_grad=True)
    np.testing.assert_array_equal(grad(abs(kink), kink, np.ones(3))[0].numpy(), [-1, 0, 1])
    np.testing.assert_array_equal(grad(kink.clip(0, 1), kink, np.ones(3))[0].numpy(), [0, 1, 0])


def test_activations_and_losses():
    x = Tensor([[-1.5, -0.2, 0.4], [2.0, -3.0, 0.1]], requires_grad=True)
    for name in ("relu", "leaky_relu", "sigmoid", "silu", "gelu", "softmax", "log_softmax"):
        assert gradcheck(getattr(activations, name), x)
    assert gradcheck(lambda x: activations.leaky_relu(x, negative_slope=0.3), x)
    assert gradcheck(lambda x: activations.gelu(x, approximate="tanh"), x)
    assert gradcheck(lambda x: activations.softmax(x, axis=0), x)
    assert gradcheck(lambda x: activations.log_softmax(x, axis=0), x)
    t = Tensor([[0.0, 1.0, 0.3]], requires_grad=True)
    assert gradcheck(losses.bce_with_logits_values, [x, t])
    p = Tensor([[0.2, 0.6, 0.9]], requires_grad=True)
    assert gradcheck(losses.bce_values, [p, t])


if __name__ == "__main__":
    test_functions_of_one_element()
    test_activations_and_losses()

# %% [markdown]
# ## Step 9: Matrix multiplication
#
# For $Y = A B$ with shapes (n, k) @ (k, m), $Y_{ij} = \sum_p A_{ip} B_{pj}$. Collect the terms in
# which $A_{ip}$ appears: $\bar A_{ip} = \sum_j g_{ij} B_{pj}$, that is
#
# $$\bar A = g\,B^\top \qquad \bar B = A^\top g$$
#
# The shapes leave no other choice: (n, m) @ (m, k) and (k, n) @ (n, m). So the backward pass of a
# product is two products of the same cost: training costs about three times what evaluation does.
#
# **Vectors.** `matmul` lends a 1-D operand an axis and takes it away again: (k,) @ (k, m) is
# (1, k) @ (k, m) without the 1. Put the axis back into operands and $g$; drop it at the end.
# **Batches.** Leading axes broadcast. (B, T, k) @ (k, m) uses one matrix for a whole batch, and the
# gradient of the matrix is a sum over B and T. Merge the leading axes first: one product with B·T
# rows, instead of B products to be stored and added.


# %%
#| export
def as_matrices(g: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
    """Give vectors the axis of size 1 that matmul lent them, and g the same axis.

    Args:
        g: Gradient of a @ b.
        a: (k,) becomes (1, k), and g gets an axis before its last.
        b: (k,) becomes (k, 1), and g gets an axis at its end.
    """
    ### BEGIN SOLUTION
    if b.ndim == 1:
        b, g = b[:, None], g[..., None]
    if a.ndim == 1:
        a, g = a[None, :], g[..., None, :]
    return g, a, b
    ### END SOLUTION


def matmul_rule_a(g: Array, out: Any, a: Array, b: Array) -> Array:
    """The rule of `a @ b` for a; the engine adds up what broadcasting repeated."""
    ### BEGIN SOLUTION
    g, _, b = as_matrices(g, a, b)
    return g @ b.swapaxes(-1, -2)
    ### END SOLUTION


def matmul_rule_b(g: Array, out: Any, a: Array, b: Array) -> Array:
    """The rule of `a @ b` for b."""
    ### BEGIN SOLUTION
    is_vector = b.ndim == 1
    g, a, b = as_matrices(g, a, b)
    if b.ndim == 2 and a.ndim > 2:  # one matrix for a whole batch: (B, T, k) -> (B * T, k)
        a, g = a.reshape(-1, a.shape[-1]), g.reshape(-1, g.shape[-1])
    gradient = a.swapaxes(-1, -2) @ g
    return gradient[..., 0] if is_vector else gradient
    ### END SOLUTION


register_vjp(ops.matmul, matmul_rule_a, matmul_rule_b, keeps=("inputs",))

# %%
a, b = Tensor([[1.0, 2.0]], requires_grad=True), Tensor([[3.0], [4.0]], requires_grad=True)
print([found.tolist() for found in grad(a @ b, [a, b])])
# Expected output:
# [[[3.0, 4.0]], [[1.0], [2.0]]]


# %%
#| test
def test_matmul_of_matrices_vectors_and_batches():
    rng = np.random.default_rng(0)
    shapes = [((2, 3), (3, 4)), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((5, 2, 3), (3, 4))]
    shapes += [((2, 3), (5, 3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 4)), ((5, 1, 2, 3), (4, 3, 2))]
    for shape_a, shape_b in shapes:
        a = Tensor(rng.standard_normal(shape_a), requires_grad=True)
        b = Tensor(rng.standard_normal(shape_b), requires_grad=True)
        assert gradcheck(ops.matmul, [a, b]), (shape_a, shape_b)


if __name__ == "__main__":
    test_matmul_of_matrices_vectors_and_batches()

# %% [markdown]
# ## Step 10: Reductions
#
# A sum sends the same gradient to everything it added; a mean of n sends $g / n$. `spread` puts the
# reduced axis back and repeats g along it (a view: nothing is copied).
#
# For the variance with mean $\mu$ and correction $c$: $g \cdot 2 (x - \mu) / (n - c)$. That $\mu$
# moves with $x$ cancels out, because deviations sum to zero.
#
# A maximum passes everything to the element that won. If several are equal, it has no derivative,
# and a choice is made. We follow PyTorch: over one axis, its `max(dim)` picks an index, so the
# **first** gets all; over all axes, or several, the equal ones **share**. For x = [3, 1, 3],
# `max(axis=0)` gives [1, 0, 0], and `max()` gives [0.5, 0, 0.5].


# %%
#| export
def spread(g: Array, shape: Shape, axis: Any, keepdims: bool) -> Array:
    """Put back the axes that a reduction dropped, and repeat g along them.

    Args:
        g: Of the shape after the reduction.
        shape: Before it.
        axis: What was reduced: None for all, an int, or a tuple of ints.
        keepdims: Whether g has its axes of size 1 still.
    """
    ### BEGIN SOLUTION
    if axis is not None and not keepdims:
        g = np.expand_dims(g, axis)
    return np.broadcast_to(g, shape)
    ### END SOLUTION


def sum_rule(g: Array, out: Any, shape: Shape, axis: Any = None, keepdims: bool = False) -> Array:
    """The rule of sum; only the shape of the input is kept."""
    ### BEGIN SOLUTION
    return spread(g, shape, axis, keepdims)
    ### END SOLUTION


def mean_rule(g: Array, out: Any, shape: Shape, axis: Any = None, keepdims: bool = False) -> Array:
    """The rule of mean; only the shape of the input is kept."""
    ### BEGIN SOLUTION
    everything = spread(g, shape, axis, keepdims)
    return everything * (g.size / everything.size) if everything.size else everything
    ### END SOLUTION


def var_rule(
    g: Array, out: Any, x: Array, axis: Any = None, keepdims: bool = False, correction: float = 1
) -> Array:
    """The rule of var."""
    ### BEGIN SOLUTION
    deviation = x - x.mean(axis=axis, keepdims=True)
    count = x.size // g.size
    return spread(2 * g / (count - correction), x.shape, axis, keepdims) * deviation
    ### END SOLUTION


def extreme_rule(g: Array, out: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """The rule of max and of min: to the first winner along one axis, else shared."""
    ### BEGIN SOLUTION
    winners = x == spread(out, x.shape, axis, keepdims)
    if isinstance(axis, int):
        winners &= winners.cumsum(axis=axis) == 1
    share = spread(g, x.shape, axis, keepdims) / winners.sum(
        axis=axis, keepdims=True, dtype=g.dtype
    )
    return np.where(winners, share, 0)
    ### END SOLUTION


register_vjp(ops.sum, sum_rule, keeps=())
register_vjp(ops.mean, mean_rule, keeps=())
register_vjp(ops.var, var_rule, keeps=("inputs",))
register_vjp(ops.max, extreme_rule)
register_vjp(ops.min, extreme_rule)

# %%
x = Tensor([3.0, 1.0, 3.0], requires_grad=True)
print(grad(x.mean(), x)[0].numpy().round(4))
print(grad(x.max(axis=0), x)[0].numpy(), grad(x.max(), x)[0].numpy())
# Expected output:
# [0.3333 0.3333 0.3333]
# [1. 0. 0.] [0.5 0.  0.5]


# %%
#| test
def test_reductions_over_every_axis():
    x = Tensor(
        np.random.default_rng(0).permutation(np.arange(24.0)).reshape(2, 3, 4), requires_grad=True
    )
    for axis in (None, 0, 1, -1, (0, 2), (-1, 0)):
        for keepdims in (False, True):
            for op in (ops.sum, ops.mean, ops.var, ops.max, ops.min):
                assert gradcheck(lambda x: op(x, axis=axis, keepdims=keepdims) * 1, x), op.name  # noqa: B023
    assert gradcheck(lambda x: ops.var(x, axis=1, correction=0), x)


def test_equal_winners():
    x = Tensor([[3.0, 1.0, 3.0], [2.0, 2.0, 2.0]], requires_grad=True)
    np.testing.assert_array_equal(grad(x.max(axis=1).sum(), x)[0].numpy(), [[1, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(grad(x.max(), x)[0].numpy(), [[0.5, 0, 0.5], [0, 0, 0]])
    np.testing.assert_array_equal(grad(x.min(), x)[0].numpy(), [[0, 1, 0], [0, 0, 0]])


if __name__ == "__main__":
    test_reductions_over_every_axis()
    test_equal_winners()

# %% [markdown]
# ## Step 11: Moving, picking and joining
#
# Operations that only move numbers move the gradient back: a reshape is undone by a reshape, a
# permutation by its inverse: `permute(axes)` puts old axis `axes[i]` at place i, and
# `argsort(axes)` brings it home. `expand` needs nothing: the engine un-broadcasts. Nor do `clone`
# and `astype`: the engine converts.
#
# **Picking** `x[index]` makes an array of zeros and puts g where it came from. With an index list,
# one element may be picked twice, and its gradients add up: `x[[0, 0, 2]]` gives x `[2, 0, 1]`.
# `zeros[index] = g` would *overwrite* and give `[1, 0, 1]`; `np.add.at` adds. Slices and single
# integers cannot repeat: for them plain assignment is right, and many times faster.
#
# **Joining** cuts g into the pieces that were joined. These rules are joint: one for all inputs.


# %%
#| export
def getitem_rule(g: Array, out: Any, shape: Shape, index: Any) -> Array:
    """The rule of x[index]; what is picked more than once collects all its gradients.

    Args:
        index: An int, slice, None, `...`, list or array of ints or bools, or a tuple of these.
    """
    ### BEGIN SOLUTION
    gradient = np.zeros(shape, g.dtype)
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, list | np.ndarray) for part in parts):
        np.add.at(gradient, index, g)
    else:
        gradient[index] = g
    return gradient
    ### END SOLUTION


def concatenate_rule(needs: Any, g: Array, out: Any, *shapes: Shape, axis: int = 0) -> list[Array]:
    """The joint rule of concatenate: cut where the pieces met."""
    ### BEGIN SOLUTION
    ends = np.cumsum([shape[axis] for shape in shapes])
    return np.split(g, ends[:-1], axis=axis)
    ### END SOLUTION


def stack_rule(needs: Any, g: Array, out: Any, *shapes: Shape, axis: int = 0) -> list[Array]:
    """The joint rule of stack: one slice for each input."""
    ### BEGIN SOLUTION
    return list(np.moveaxis(g, axis, 0))
    ### END SOLUTION


def move_rules() -> Rules:
    """The rules of what keeps, moves, repeats, converts or chooses elements.

    Settings come by name: `axes` of permute; `axis0` and `axis1` of transpose, None to reverse all;
    `shape` of reshape and expand is the new one, the old one comes in place of the input.
    """
    ### BEGIN SOLUTION
    as_before = (lambda g, out, old, **settings: g.reshape(old),)
    as_it_is = (lambda g, out, old, **settings: g,)
    return {
        **dict.fromkeys(
            (ops.reshape, ops.view, ops.flatten, ops.squeeze, ops.unsqueeze), as_before
        ),
        **dict.fromkeys((ops.expand, ops.clone, ops.astype), as_it_is),
        ops.permute: (
            lambda g, out, old, axes: g.transpose(np.argsort([axis % g.ndim for axis in axes])),
        ),
        ops.transpose: (
            lambda g, out, old, axis0=None, axis1=None: (
                g.T if axis0 is None else g.swapaxes(axis0, axis1)
            ),
        ),
        ops.where: (
            None,
            lambda g, out, condition, a, b: np.where(condition, g, 0),
            lambda g, out, condition, a, b: np.where(condition, 0, g),
        ),
    }
    ### END SOLUTION


in_order = (ops.reshape, ops.view, ops.flatten, ops.squeeze, ops.unsqueeze)
moved = (ops.expand, ops.clone, ops.astype, ops.permute, ops.transpose)
register_table(move_rules, *in_order, *moved, keeps=())
register_table(move_rules, ops.where, keeps=("inputs",))
register_vjp(ops.getitem, getitem_rule, keeps=())
register_vjp(ops.concatenate, joint=concatenate_rule, keeps=())
register_vjp(ops.stack, joint=stack_rule, keeps=())

# %%
x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
print(grad(x[[0, 0, 2]].sum(), x)[0].numpy(), grad(x[1:].sum(), x)[0].numpy())
# Expected output:
# [2. 0. 1.] [0. 1. 1.]


# %%
#| test
def test_moving_and_picking():
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 4)), requires_grad=True)
    moves = [
        lambda x: x.reshape(4, 6),
        lambda x: x.flatten(1),
        lambda x: x.permute(2, 0, -2),
        lambda x: x.transpose(0, 2),
        lambda x: x.T,
        lambda x: x.unsqueeze(1).squeeze(1),
        lambda x: x.unsqueeze(0).expand(5, -1, 3, 4),
        lambda x: x[1],
        lambda x: x[..., -1, None, ::2],
        lambda x: x[[0, 1, 0, 0]],
        lambda x: x[np.array([0, 1]), :, np.array([3, 3])],
        lambda x: x[x.data > 0],
    ]
    for move in moves:
        assert gradcheck(move, x)


def test_joining_and_choosing():
    rng = np.random.default_rng(0)
    a, b = (Tensor(rng.standard_normal((2, 3)), requires_grad=True) for _ in range(2))
    for axis in (0, 1, -1):
        assert gradcheck(lambda a, b: ops.concatenate([a, b, a], axis=axis), [a, b])  # noqa: B023
        assert gradcheck(lambda a, b: ops.stack([a, b], axis=axis), [a, b])  # noqa: B023
    condition = np.array([True, False, True])
    assert gradcheck(lambda a, b: ops.where(condition, a, b[0]), [a, b])


if __name__ == "__main__":
    test_moving_and_picking()
    test_joining_and_choosing()

# %% [markdown]
# ## Systems: where the memory of training goes
#
# Ten layers `relu(h @ w + b)`, width 128, batch 256: every intermediate result has 256 × 128 × 4
# bytes, 0.13 MB. How much is still held when the forward pass is over? Without recording, the last
# result. With it, what the rules look at: matmul keeps its input h, which is the output that relu
# keeps: one array a layer. If every node kept its inputs and output, there would be three.

# %%
import tracemalloc

layers = [(ops.randn(128, 128), ops.randn(128)) for _ in range(10)]
layers = [(w.requires_grad_(), b.requires_grad_()) for w, b in layers]


def forward(h):
    for w, b in layers:
        h = activations.relu(h @ w + b)
    return h


def held(batch=256):
    """Say how many arrays of one layer's size a forward pass leaves behind."""
    h = ops.randn(batch, 128)
    tracemalloc.start()
    result = forward(h)
    nbytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return f"{nbytes / result.nbytes:2.0f} arrays of {result.nbytes / 1e6:.2f} MB"


with no_grad():
    print(f"no_grad          {held()}")
print(f"as registered    {held()}")
print(f"  batch doubled  {held(512)}")
registered = {op: op.keeps for op in (ops.matmul, ops.add, activations.relu)}
for op in registered:
    op.keeps = frozenset({"inputs", "output"})
print(f"keeps everything {held()}")
for op, keeps in registered.items():
    op.keeps = keeps
# Expected output:
# no_grad           1 arrays of 0.13 MB
# as registered    10 arrays of 0.13 MB
#   batch doubled  10 arrays of 0.26 MB
# keeps everything 30 arrays of 0.13 MB

# %% [markdown]
# This memory grows with depth × batch; parameters and optimizer state do not. It is what decides
# how large a batch fits. `backward` gives it up node by node on its way.
#
# And time? Two products for each one of the forward pass; the engine's own share is a few
# microseconds a node, whatever the size of the arrays. So large arrays hide it, scalars do not.

# %%
import time


def seconds(function, *args):
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


for batch in (1, 1024):
    runs = [seconds(forward, ops.randn(batch, 128)) for _ in range(5)]
    there = min(run for run, _ in runs)
    back = min(seconds(backward, out, np.ones(out.shape))[0] for _, out in runs)
    print(f"batch {batch}: backward / forward = {back / there:.1f}")

x = y = Tensor(1.0, requires_grad=True)
for _ in range(10_000):
    y = y * 1.0
print(f"10,000 nodes: {seconds(backward, y)[0] * 100:.1f} microseconds a node")
# Expected output:
# batch 1: backward / forward = ...
# batch 1024: backward / forward = ...
# 10,000 nodes: ... microseconds a node

# %% [markdown]
# ## Pitfalls
#
# - **Gradients pile up.** `.grad` accumulates until somebody clears it: `zero_grad` each step.
# - **Writing past the guard.** `x.numpy()[0] = 5` changes the array itself; no version can notice.
#   Write through the tensor: `x[0] = 5` or `x.data = …`.
# - **Summing losses to print them.** `total = total + loss` keeps every step's graph alive; add
#   `loss.item()`.
# - **A float32 gradcheck** measures rounding. Ours converts; one you write by hand may not.
# - **Kinks.** At relu(0) or equal maxima the slope from both sides differs: gradcheck complains
#   about a rule that is right.
# - **`detach` shares memory**: writing into the detached tensor raises the version of both.
#
# ## What PyTorch does differently, and why
#
# - Its rules are made of tensor operations, so a gradient can be differentiated again
#   (`create_graph`). Ours work on arrays: half the overhead, first derivatives only.
# - It saves per operation what each *wanted* gradient needs; ours keeps all inputs or none.
# - It keeps `.grad` in place and can hook every tensor. Its engine runs in C++ on several threads.
# - `detect_anomaly` there tells where a NaN was born; here, walk the graph with a debugger.
# - A function that returns float32 of float64 inputs fails its gradcheck in both.
#
# ## Sources
#
# - Linnainmaa 1970 and Speelpenning 1980: reverse accumulation. Rumelhart, Hinton and Williams
#   1986: back-propagation in networks.
# - Griewank and Walther, *Evaluating Derivatives*, 2nd edition 2008, chapters 3 and 4: the cost of
#   reverse mode is at most a small multiple of the function's.
# - Baydin, Pearlmutter, Radul and Siskind 2018: a survey, with the words used here.
# - Maclaurin, Duvenaud and Adams 2015 (autograd); Paszke et al. 2019 (PyTorch).
# - Kahn 1962: topological sorting. Chen, Xu, Zhang and Guestrin 2016: trading memory for time.
#
# ## Reflect (150–300 words)
#
# You must train a network twice as deep with the same batch, but memory is full. Three ideas are on
# the table: halve the batch and accumulate two gradients; keep only every fourth activation and
# recompute the others in backward; store activations in float16. For each, use your measurements to
# say what happens to memory, to time and to the numbers, and choose one. Write the answer to
# `reflection.md` beside this file.
#
# Then run the checkpoint: `tito checkpoint run 05`
