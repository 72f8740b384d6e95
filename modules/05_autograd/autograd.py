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
# - **You need** 01 (`Op`, `Node`, `apply`), 02, 03 and 04. Nothing in them changes: rules are
#   *registered* on their operations. What begins with `rules.` is given, in `tinytorch/rules.py`.
# - **Time**: 6 to 9 hours. Steps 1 to 5 are the engine; 8 to 11 are derivatives, group by group.
#
# `apply` has hung a `Node` on every result that depends on a tensor with `requires_grad`: which
# operation made it, from which parents, and the arrays it may need again. `loss.backward()` walks
# these nodes from the loss to the parameters.

# %%
#| default_exp core.autograd

# %%
#| export
import math
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from tinytorch import rules
from tinytorch.core import activations, losses
from tinytorch.core import tensor as ops
from tinytorch.core.tensor import Node, Op, Shape, Tensor, grad_mode
from tinytorch.rules import GradcheckError, Rules, register_table, register_vjp, vertex

Array = np.ndarray
Vertex = Node | Tensor  # of the graph: a Node, or a leaf Tensor that requires grad

# %% [markdown]
# ## Step 1: What an operation owes: vector-Jacobian products
#
# Let $L$ be one number, the loss, and $y = f(a, b)$ some value on the way to it. When the pass
# reaches $f$, it knows $g = \partial L / \partial y$, an array of the shape of $y$. The operation
# owes $\partial L / \partial a$ and $\partial L / \partial b$: the vector $g$ times the Jacobian of
# $f$, a **vector-Jacobian product** (VJP). The Jacobian itself is never formed: for `exp` of a
# thousand numbers it has a million entries, all but a thousand zero; the product is `g * exp(x)`.
#
# | operation | for `a` | for `b` |
# |---|---|---|
# | $a + b$, $\;a - b$ | $g$ | $g$, $\;-g$ |
# | $a b$ | $g b$ | $g a$ |
# | $a / b$ | $g / b$ | $-g\,a / b^2$ |
# | $a^b$ | $g\, b\, a^{b-1}$ | $g\, a^b \ln a$ |
#
# At $a = 2$, $b = 3$: raising $a$ by a small $h$ raises $ab$ by $3h$, so with $g = 1$ its rule for
# $a$ gives 3. A rule is called as `rule(g, out, *inputs, **settings)` with arrays, or numbers, and
# returns the gradient for *its* input; the engine minds broadcasting and dtype. `keeps=` says what
# the rules look at. The rest is not stored: shapes stand in for inputs, None for the output.
#
# You write a table: for each operation its rule, or a tuple with one for each input. It is opened
# when a backward pass first meets one of its operations, so you can fill it line by line.


# %%
#| export
def arithmetic_rules() -> Rules:
    """The rules of add, sub, neg, mul, div and pow.

    `pow` has exactly no slope for a where b is 0, even at a = 0; and none for b where a is 0 and
    b is not negative.
    """
    ### BEGIN SOLUTION
    return {
        ops.add: (lambda g, out, a, b: g, lambda g, out, a, b: g),
        ops.sub: (lambda g, out, a, b: g, lambda g, out, a, b: -g),
        ops.neg: lambda g, out, x: -g,
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
for op in (ops.mul, ops.pow):
    print([rule(np.array(1.0), None, 2.0, 3.0).item() for rule in arithmetic_rules()[op]])
# Expected output:
# [3.0, 2.0]
# [12.0, 5.545...]


# %%
#| test
def test_arithmetic_rules_match_small_differences():
    a, b, g, h = *np.random.default_rng(0).uniform(0.5, 2.0, (3, 4)), 1e-6
    for op in (ops.add, ops.sub, ops.mul, ops.div, ops.pow):
        f, of_both = op.forward, arithmetic_rules()[op]
        rises = f(a + h, b) - f(a - h, b), f(a, b + h) - f(a, b - h)
        for rule, rise in zip(of_both, rises, strict=True):
            np.testing.assert_allclose(rule(g, f(a, b), a, b), g * rise / (2 * h), rtol=1e-6)


if __name__ == "__main__":
    test_arithmetic_rules_match_small_differences()

# %% [markdown]
# ## Step 2: Undo broadcasting
#
# In `x + b` with x of shape (4, 3) and b of shape (3,), each element of b is used four times, and
# uses add up. So the gradient of b is g, shape (4, 3), **summed over the axes that broadcasting
# made**: those it put in front, and those it stretched from size 1. For g all ones: [4, 4, 4]. A
# mean would train at a quarter of the rate.


# %%
#| export
def unbroadcast(g: Array, shape: Shape) -> Array:
    """Sum a gradient back to the shape its input had before broadcasting: (3,), (4, 1), () …"""
    ### BEGIN SOLUTION
    added = g.ndim - len(shape)
    stretched = [axis for axis, n in enumerate(shape, added) if n == 1 != g.shape[axis]]
    return g.sum(axis=(*range(added), *stretched)).reshape(shape)
    ### END SOLUTION


# %%
#| test
def test_unbroadcast_sums_added_and_stretched_axes():
    g = np.arange(24.0).reshape(2, 3, 4)
    for shape, axes in [((2, 3, 4), ()), ((4,), (0, 1)), ((3, 1), (0, 2)), ((), None)]:
        assert unbroadcast(g, shape).tolist() == g.sum(axes).reshape(shape).tolist()


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
# Lists of work instead of recursion: Python gives up near 1,000 nested calls. Cost: once per node
# and edge. `rules.known_parents(node)` complains if an earlier pass freed the node (step 4).


# %%
#| export
def topological_order(root: Vertex) -> list[Node]:
    """List the nodes below a root, each one after all nodes that use it; [] for a leaf Tensor."""
    ### BEGIN SOLUTION
    if isinstance(root, Tensor):
        return []
    uses: dict[Node, int] = {root: 0}
    waiting = [root]
    while waiting:
        for parent in rules.known_parents(waiting.pop()):
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
    y = Tensor(1.0, requires_grad=True)
    for _ in range(60):
        y = y + y
    place = {node: i for i, node in enumerate(topological_order((y.tanh() * y)._node))}
    assert sorted(place.values()) == list(range(62))
    assert all(place[p] > place[n] for n in place for p in n.parents if type(p) is Node)


if __name__ == "__main__":
    test_each_node_comes_once_and_after_its_uses()

# %% [markdown]
# ## Step 4: The reverse pass
#
# Keep a dictionary from vertex to gradient that starts as `{root: gradient}`. For each node in
# order: take its gradient out, turn it into gradients for its inputs, and **add** each to what the
# parent has so far. What is left in the end belongs to the leaves. $L = x y + x$ at $x = 2$,
# $y = 3$: `add` gives 1 to `mul` and 1 to x; `mul` gives 3 to x and 2 to y. Left: 4 for x, 2 for y.
#
# **Versions.** A rule that looks at an array finds what is there *now*. If someone wrote into it
# since the forward pass, the gradient would be wrong, silently. `apply` recorded in `node.versions`
# a pair (cell, number) for each kept tensor, and every write raises `cell[0]`. So before anything
# runs: if a cell differs from its number, raise `rules.modified(node, number, cell[0])`.
#
# **Memory.** A node that has run gives up its arrays, `rules.free(node)`, unless `retain_graph`.


# %%
#| export
def input_gradients(node: Node, g: Array) -> list[Array | None]:
    """Turn a gradient of a node's output into one for each input, None if its parent is None."""
    pieces = rules.call(node, g)
    for i, piece in enumerate(pieces):
        if piece is not None:
            piece = piece if piece.shape == node.shapes[i] else unbroadcast(piece, node.shapes[i])
            pieces[i] = piece if piece.dtype is node.dtypes[i] else piece.astype(node.dtypes[i])
    return pieces


def reverse_pass(
    root: Vertex, gradient: Array, retain_graph: bool = False, wanted: Collection[Vertex] = ()
) -> dict[Vertex, Array]:
    """Carry a gradient from a root to the leaves, through every node once.

    Returns:
        The gradient of each leaf that was reached, and of each wanted vertex (for step 6).
    """
    ### BEGIN SOLUTION
    order = topological_order(root)
    for node in order:
        for cell, number in node.versions:
            if cell[0] != number:
                raise rules.modified(node, number, cell[0])
    gradients = {root: gradient}
    for node in order:
        g = gradients.get(node) if node in wanted else gradients.pop(node, None)
        if g is not None:
            for parent, piece in zip(node.parents, input_gradients(node, g), strict=True):
                if piece is not None:
                    known = gradients.get(parent)
                    gradients[parent] = piece if known is None else known + piece
        if not retain_graph:
            rules.free(node)
    return gradients
    ### END SOLUTION


# %%
#| test
def test_gradients_add_up_in_the_shape_and_dtype_of_their_leaves():
    x, b = Tensor(np.ones((4, 3)), requires_grad=True), Tensor([1, 2, 3], requires_grad=True)
    found = reverse_pass((x * b + b)._node, np.ones((4, 3)))
    assert [found[b].tolist(), found[b].dtype, found[x].dtype] == [[8, 8, 8], "f4", "f8"]


def test_what_a_node_kept_may_be_late_but_not_stale():
    double, x = Op("double", lambda x: x * 2), Tensor([1.0, 2.0], requires_grad=True)
    y, product = double(x), x * x
    register_vjp(double, lambda g, out, shape: 2 * g * len(shape), keeps=())  # after its use
    assert reverse_pass(y._node, np.ones(2))[x].tolist() == [2, 2]
    x.data = np.zeros(2)
    np.testing.assert_raises(RuntimeError, reverse_pass, product._node, np.ones(2))


if __name__ == "__main__":
    test_gradients_add_up_in_the_shape_and_dtype_of_their_leaves()
    test_what_a_node_kept_may_be_late_but_not_stale()

# %% [markdown]
# ## Step 5: `backward`: leave the gradients at the leaves
#
# `y.backward()` means: this is the loss, its own gradient is 1. That makes sense for one element
# only; for any other shape the caller says how much each element counts: `backward(gradient)`.
# `rules.first_gradient(tensor, gradient)` returns that array, or says why there is none, and
# `vertex(tensor)` where to start. Leaves **accumulate**: calling backward for two half batches
# gives the gradient of the whole, in half the memory. So somebody must clear `.grad`: `zero_grad`.


# %%
#| export
def backward(tensor: Tensor, gradient: Any = None, retain_graph: bool = False) -> None:
    """Add d(tensor)/d(leaf) to the `.grad` of every leaf that requires grad.

    After `tito export`, `Tensor.backward` of module 01 finds this function by itself.
    """
    ### BEGIN SOLUTION
    start = rules.first_gradient(tensor, gradient)
    for leaf, g in reverse_pass(vertex(tensor), start, retain_graph).items():
        total = np.array(g) if leaf.grad is None else np.asarray(leaf.grad.data + g)
        leaf.grad = Tensor._wrap(total)
    ### END SOLUTION


# %%
#| test
def test_backward_accumulates_and_shares_nothing():
    a, b = Tensor([1.0, 2.0], requires_grad=True), Tensor([1.0, 2.0], requires_grad=True)
    total = a + b
    backward(total, [1.0, 1.0], retain_graph=True)
    a.grad.data[0] = 7.0
    backward(total, [1.0, 1.0])
    assert [a.grad.tolist(), b.grad.tolist()] == [[8, 2], [2, 2]]
    np.testing.assert_raises_regex(RuntimeError, "retain_graph", backward, total, [1.0, 1.0])


if __name__ == "__main__":
    test_backward_accumulates_and_shares_nothing()

# %% [markdown]
# ## Step 6: `no_grad` and `grad`
#
# Recording costs memory: every kept array lives as long as the result. To evaluate a model, or
# update its parameters, `with no_grad():` switches recording off for this thread and afterwards
# restores what was **before** (which may be off already, when blocks nest), also after an error.
#
# `grad(output, inputs)` returns gradients instead of adding them to `.grad`: for questions about a
# network ("which pixels matter?") that must not disturb its training. It may also ask for a value
# on the way. `rules.differentiable(inputs)` makes a tuple of them and refuses constants;
# `rules.reached` refuses places for which nothing was found.


# %%
#| export
class no_grad(rules.Switch):
    """Stop recording: `with no_grad():` for a block, `@no_grad()` for a function."""

    def __enter__(self) -> None:
        """Put `grad_mode.enabled` at the end of the list `self._before`, then switch it off."""
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
    """Return d(output)/d(input) for each input, also for one; leave every `.grad` as it is.

    Args:
        grad_outputs: Weights of the output's elements; may be left out for a single element.
        allow_unused: Return None for an input the output does not depend on; an error otherwise.
    """
    ### BEGIN SOLUTION
    places = [vertex(x) for x in rules.differentiable(inputs)]
    start = rules.first_gradient(output, grad_outputs)
    found = reverse_pass(vertex(output), start, retain_graph, set(places))
    if not allow_unused:
        rules.reached(places, found)
    return tuple(Tensor._wrap(np.array(found[p])) if p in found else None for p in places)
    ### END SOLUTION


# %%
x = Tensor([1.0, 2.0], requires_grad=True)
with no_grad():
    print((x * x).requires_grad)
y = x * x
print([found.tolist() for found in grad(y * y, [x, y], [1.0, 1.0])], x.grad)
# Expected output:
# False
# [[4.0, 32.0], [2.0, 8.0]] None


# %%
#| test
def test_no_grad_and_grad_leave_all_as_it_was():
    x, unused = Tensor([3.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    twice = no_grad()(lambda: x * 2)
    with np.testing.assert_raises(KeyError), no_grad():
        assert not twice().requires_grad
        assert not (x * 2).requires_grad
        raise KeyError("inside")
    found, nothing = grad(x * x, [x, unused], allow_unused=True)
    assert (found.item(), nothing, x.grad) == (6.0, None, None)


if __name__ == "__main__":
    test_no_grad_and_grad_leave_all_as_it_was()

# %% [markdown]
# ## Step 7: `gradcheck`: measure the slope
#
# A wrong rule does not crash; training just goes worse. But a slope can be measured:
#
# $$\frac{\partial L}{\partial x_i} \approx \frac{L(x_i + h) - L(x_i - h)}{2h}$$
#
# The error of this *central* difference has two parts. The curve bends: about $h^2$. And rounding,
# about $10^{-16}$ in float64, is divided by $h$. With $h = 10^{-6}$ they are $10^{-12}$ and
# $10^{-10}$: nine good digits. In float32 the second would be 0.06, so the check is in float64.
#
# An output of many elements is made one number by a weighted sum, with weights drawn at random: of
# a softmax, for example, the plain sum is always 1 and would hide every mistake. The cost is two
# evaluations for *each element*; `backward` is for training, this is for testing.


# %%
#| export
def numeric_gradient(function: Callable[[], float], x: Array, eps: float) -> Array:
    """Measure d(function())/d(x): move one element of x at a time by eps, then put it back.

    `function` looks at x, a float64 array, whenever it is called.
    """
    ### BEGIN SOLUTION
    slopes = np.empty_like(x)
    for index in np.ndindex(x.shape):
        centre = x[index]
        x[index] = centre + eps
        above = function()
        x[index] = centre - eps
        slopes[index] = (above - function()) / (2 * eps)
        x[index] = centre
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
    """Compare the gradients of a function with central differences, for inputs that require grad.

    They may differ by atol + rtol * |numeric|. If they do by more, raise the GradcheckError that
    `rules.mismatch(function, i, x, analytic, numeric)` words; without raise_exception return False.
    """
    arguments, checked = rules.in_float64(inputs)  # as a list, and which of them to check
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
                raise rules.mismatch(function, i, x, analytic, numeric)
            return False
    return True
    ### END SOLUTION


# %%
cube = Op("cube", lambda x: x**3)
register_vjp(cube, lambda g, out, x: g * 2 * x**2)  # should be 3
try:
    gradcheck(cube, Tensor([1.0, 2.0], requires_grad=True))
except GradcheckError as error:
    print(error)
# Expected output:
# gradient of cube is wrong: argument 0 of shape (2,), index (1,), input 2
#   analytic: 6.158...
#   numeric:  9.237...
#   mend the rule, or move the input off a kink such as relu at 0


# %%
#| test
def test_gradcheck_passes_right_and_refuses_wrong_rules():
    half = Op("half", lambda a, b: (a * b / 2, 0.5), saves=True)
    a, b = Tensor([[0.5, -1.0, 2.0]], requires_grad=True), Tensor([3.0], requires_grad=True)
    register_vjp(half, joint=lambda needs, g, out, a, b, saved: (g * b * saved, g * a * saved))
    assert gradcheck(half, (a, b)) is True
    register_vjp(half, joint=lambda needs, g, out, a, b, saved: (g * b * (a < 2) / 2, g * a / 2))
    fact = r"half is wrong: argument 0 .* index \(0, 2\)"
    np.testing.assert_raises_regex(GradcheckError, fact, gradcheck, half, (a, b.detach()))


if __name__ == "__main__":
    test_gradcheck_passes_right_and_refuses_wrong_rules()

# %% [markdown]
# ## Step 8: Functions of one element at a time
#
# If each output element depends on one input element, the Jacobian is diagonal and the rule is $g$
# times the slope. Where the slope can be written with the *output* $y$, keep that: the next
# operation keeps the same array as its input anyway, so it costs no memory.
#
# | function | slope by its output | function | slope by its input |
# |---|---|---|---|
# | exp, sqrt | $y$, $\;1/(2y)$ | log, abs | $1/x$, $\;\mathrm{sign}(x)$ |
# | tanh | $1 - y^2$ | clip | 1 inside, limits included, else 0 |
# | sigmoid $s$ | $y(1-y)$ | silu $= x\,s(x)$ | $s(x)\,(1 + x(1 - s(x)))$ |
# | relu | 1 where $y > 0$, else 0 | gelu $= x\,\Phi(x)$ | $\Phi(x) + x\,e^{-x^2/2}/\sqrt{2\pi}$ |
#
# GPT-2's form of gelu is $\frac{x}{2}(1 + t)$ with $t = \tanh(c\,(x + k x^3))$, $k = 0.044715$ and
# $c = \sqrt{2/\pi}$. Its slope is $\frac{1 + t}{2} + \frac{x}{2}(1 - t^2)\,c\,(1 + 3 k x^2)$.
#
# **Softmax** is not of this kind: raising one score lowers the other probabilities. For
# $y = \mathrm{softmax}(x)$, $\partial y_i / \partial x_j = y_i (\delta_{ij} - y_j)$, so that the
# gradient is $y_j (g_j - \sum_i g_i y_i)$. With $y = [0.25, 0.75]$, $g = [1, 0]$ the sum is 0.25
# and the gradient $[0.1875, -0.1875]$. Of log-softmax it is $g_j - e^{y_j} \sum_i g_i$.
#
# **Two losses** of module 04 are primitives of the prediction and the target t. The slope of
# `bce_with_logits_values(x, t)` is $\mathrm{sigmoid}(x) - t$ in x, and $-x$ in t; that of
# `bce_values(p, t)` in p is $(p - t)\,/\,p(1 - p)$, with a divisor of at least $10^{-12}$. It is
# linear in t, so the slope there is its value at t = 1 minus that at t = 0.


# %%
#| export
def gelu_rule(g: Array, out: Any, x: Array, approximate: str = "none") -> Array:
    """The rule of gelu in both forms; `activations.normal_cdf` is Φ."""
    ### BEGIN SOLUTION
    if approximate == "none":
        density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return g * (activations.normal_cdf(x) + x * density)
    c, k = math.sqrt(2 / math.pi), 0.044715
    slope = np.asarray(k * x * x)
    t = np.array(slope)
    t += 1  # in place: a dozen new arrays would cost more than the arithmetic
    t *= x
    t *= c
    np.tanh(t, out=t)
    slope *= 3 * c
    slope += c
    slope *= x
    slope *= 1 - t * t
    slope += t
    slope += 1
    slope *= g
    slope *= 0.5
    return slope
    ### END SOLUTION


def function_rules() -> Rules:
    """The rules of every function above; `sigmoid` and `loss` (of bce_values) work on arrays.

    Settings come by name, as the operation has them: min and max for clip, `negative_slope`, axis.
    """
    sigmoid, loss = activations.sigmoid.forward, losses.bce_values.forward
    ### BEGIN SOLUTION
    return {
        ops.exp: lambda g, out, x: g * out,
        ops.log: lambda g, out, x: g / x,
        ops.sqrt: lambda g, out, x: g / (2 * out),
        ops.abs: lambda g, out, x: g * np.sign(x),
        ops.clip: lambda g, out, x, **limits: np.where(ops.clip.forward(x, **limits) == x, g, 0),
        ops.tanh: lambda g, out, x: g * (1 - out * out),
        activations.sigmoid: lambda g, out, x: g * out * (1 - out),
        activations.relu: lambda g, out, x: g * (out > 0),
        activations.leaky_relu: lambda g, out, x, negative_slope=0.01: np.where(
            x > 0, g, negative_slope * g
        ),
        activations.silu: lambda g, out, x: g * (s := sigmoid(x)) * (1 + x * (1 - s)),
        activations.gelu: gelu_rule,
        activations.softmax: lambda g, out, x, axis=-1: (
            out * (g - (g * out).sum(axis=axis, keepdims=True))
        ),
        activations.log_softmax: lambda g, out, x, axis=-1: (
            g - np.exp(out) * g.sum(axis=axis, keepdims=True)
        ),
        losses.bce_with_logits_values: (
            lambda g, out, x, t: g * (sigmoid(x) - t),
            lambda g, out, x, t: -g * x,
        ),
        losses.bce_values: (
            lambda g, out, p, t: g * (p - t) / np.maximum(p * (1 - p), 1e-12),
            lambda g, out, p, t: g * (loss(p, 1) - loss(p, 0)),
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
#| test
def test_rules_of_functions_match_measured_slopes():
    x, t = (Tensor([[0.3, 0.8], [0.6, 0.1]], requires_grad=True) for _ in range(2))
    for op, rule in function_rules().items():
        assert gradcheck(op, [x, t] if isinstance(rule, tuple) else x), op.name
    for op in (activations.softmax, activations.log_softmax):
        assert gradcheck(lambda x, op=op: op(x, axis=0), x)
    x = Tensor([-1.0, 0.0, 2.0], requires_grad=True)
    assert gradcheck(lambda x: activations.gelu(x, approximate="tanh"), x)
    assert grad(x.clip(0, 1), x, np.ones(3))[0].tolist() == [0, 1, 0]


if __name__ == "__main__":
    test_rules_of_functions_match_measured_slopes()

# %% [markdown]
# ## Step 9: Matrix multiplication
#
# For $Y = A B$ with shapes (n, k) @ (k, m), $Y_{ij} = \sum_p A_{ip} B_{pj}$. Collect the terms in
# which $A_{ip}$ appears: $\bar A_{ip} = \sum_j g_{ij} B_{pj}$, that is
#
# $$\bar A = g\,B^\top \qquad \bar B = A^\top g$$
#
# The shapes leave no other choice. So the backward pass of a product is two products of the same
# cost: training costs about three times what evaluation does. With A = [[1, 2]], B = [[3], [4]] and
# g = [[1]], A gets [[3, 4]] and B gets [[1], [2]].
#
# **Vectors.** `matmul` lends a 1-D operand an axis and takes it away again: (k,) @ (k, m) is
# (1, k) @ (k, m) without the 1. Put the axis back into operands and $g$; drop that of b at the end.
# **Batches.** Leading axes broadcast. (B, T, k) @ (k, m) uses one matrix for a whole batch, and the
# gradient of the matrix is a sum over B and T. Merge the leading axes first: one product with B·T
# rows, instead of B products to be stored and added.
#
# This rule is *joint*: it returns the gradients of both, None for an input that needs none.


# %%
#| export
def matmul_rule(needs: Any, g: Array, out: Any, a: Array, b: Array) -> list[Array | None]:
    """The joint rule of `a @ b`; the engine adds up what broadcasting repeated."""
    ### BEGIN SOLUTION
    is_vector = b.ndim == 1
    if is_vector:  # (k,) -> (k, 1)
        b, g = b[:, None], g[..., None]
    if a.ndim == 1:  # (k,) -> (1, k)
        a, g = a[None, :], g[..., None, :]
    for_a = g @ b.swapaxes(-1, -2) if needs[0] else None
    if not needs[1]:
        return [for_a, None]
    if b.ndim == 2 and a.ndim > 2:  # one matrix for a whole batch: (B, T, k) -> (B * T, k)
        a, g = a.reshape(-1, a.shape[-1]), g.reshape(-1, g.shape[-1])
    for_b = a.swapaxes(-1, -2) @ g
    return [for_a, for_b[..., 0] if is_vector else for_b]
    ### END SOLUTION


register_vjp(ops.matmul, joint=matmul_rule, keeps=("inputs",))


# %%
#| test
def test_matmul_of_matrices_vectors_and_batches():
    rng = np.random.default_rng(0)
    for shape_a in [(3,), (2, 3), (5, 2, 3)]:
        for shape_b in [(3,), (3, 4), (5, 3, 4), (2, 1, 3, 4)]:
            a, b = (rng.standard_normal(shape) for shape in (shape_a, shape_b))
            assert gradcheck(ops.matmul, [Tensor(a, True), Tensor(b, True)]), (shape_a, shape_b)


if __name__ == "__main__":
    test_matmul_of_matrices_vectors_and_batches()

# %% [markdown]
# ## Step 10: Reductions
#
# A sum sends the same gradient to everything it added; a mean of n sends $g / n$. `spread` puts the
# reduced axis back and repeats g along it (a view: nothing is copied). For the variance with mean
# $\mu$ and correction $c$: $g \cdot 2 (x - \mu) / (n - c)$. That $\mu$ moves with $x$ cancels out,
# because deviations sum to zero.
#
# A maximum passes everything to the element that won. If several are equal, it has no derivative,
# and a choice is made. We follow PyTorch: over one axis, its `max(dim)` picks an index, so the
# **first** gets all; over all axes, or several, the equal ones **share**. For [3, 1, 3],
# `max(axis=0)` gives [1, 0, 0], and `max()` gives [0.5, 0, 0.5].


# %%
#| export
def spread(g: Array, shape: Shape, axis: Any = None, keepdims: bool = False) -> Array:
    """Put back the axes that a reduction of `shape` dropped, and repeat g along them.

    `axis` is None for all, an int, or a tuple; with keepdims, g has its axes of size 1 still.
    """
    ### BEGIN SOLUTION
    if axis is not None and not keepdims:
        g = np.expand_dims(g, axis)
    return np.broadcast_to(g, shape)
    ### END SOLUTION


def extreme_rule(g: Array, out: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """The rule of max and of min: to the first winner along one axis (an int), else shared."""
    ### BEGIN SOLUTION
    winners = x == spread(out, x.shape, axis, keepdims)
    if isinstance(axis, int):
        winners &= winners.cumsum(axis=axis) == 1
    count = winners.sum(axis=axis, keepdims=True, dtype=g.dtype)
    return np.where(winners, spread(g, x.shape, axis, keepdims) / count, 0)
    ### END SOLUTION


def reduction_rules() -> Rules:
    """The rules of sum, mean and var; settings are axis, keepdims and the correction of var."""
    ### BEGIN SOLUTION
    return {
        ops.sum: lambda g, out, shape, **axes: spread(g, shape, **axes),
        ops.mean: lambda g, out, shape, **axes: (
            spread(g, shape, **axes) * (g.size / max(math.prod(shape), 1))
        ),
        ops.var: lambda g, out, x, correction=1, axis=None, keepdims=False: (
            spread(2 * g / (x.size // g.size - correction), x.shape, axis, keepdims)
            * (x - x.mean(axis=axis, keepdims=True))
        ),
    }
    ### END SOLUTION


register_table(reduction_rules, ops.sum, ops.mean, keeps=())
register_table(reduction_rules, ops.var, keeps=("inputs",))
register_vjp(ops.max, extreme_rule)
register_vjp(ops.min, extreme_rule)


# %%
#| test
def test_reductions_over_every_axis():
    x = Tensor(np.random.default_rng(0).permutation(24).reshape(2, 3, 4) / 8, requires_grad=True)
    settings = [(None, False), (None, True), (1, False), (-1, True), ((0, 2), False)]
    for op in (ops.sum, ops.mean, ops.var, ops.max, ops.min):
        for axis_and_keepdims in settings:
            assert gradcheck(op, [x, *axis_and_keepdims]), (op.name, axis_and_keepdims)


if __name__ == "__main__":
    test_reductions_over_every_axis()

# %% [markdown]
# ## Step 11: Moving, picking and joining
#
# Operations that only move numbers move the gradient back: a reshape is undone by a reshape, a
# permutation by its inverse: `permute(axes)` puts old axis `axes[i]` at place i, and
# `argsort(axes)` brings it home. `expand`, `clone` and `astype` leave all to the engine.
#
# **Picking** `x[index]` makes an array of zeros and puts g where it came from. With an index list,
# one element may be picked twice, and its gradients add up: `x[[0, 0, 2]]` gives x `[2, 0, 1]`.
# `zeros[index] = g` would *overwrite* and give `[1, 0, 1]`; `np.add.at` adds. Slices and single
# integers cannot repeat: for them plain assignment is right, and many times faster.
#
# **Joining** cuts g where the pieces met. The rule for `stack` is given.


# %%
#| export
reshaped = (ops.reshape, ops.view, ops.flatten, ops.squeeze, ops.unsqueeze)
unmoved = (ops.expand, ops.clone, ops.astype)


def move_rules() -> Rules:
    """The rules of `reshaped`, `unmoved`, `ops.permute`, `ops.transpose` and `ops.where`.

    Settings come by name: `axes` of permute; `axis0` and `axis1` of transpose, None to reverse all.
    The first three keep nothing: the old shape comes in place of the input.
    """
    ### BEGIN SOLUTION
    return {
        **dict.fromkeys(reshaped, lambda g, out, old, **settings: g.reshape(old)),
        **dict.fromkeys(unmoved, lambda g, out, old, **settings: g),
        ops.permute: lambda g, out, old, axes: g.transpose(
            np.argsort([axis % g.ndim for axis in axes])
        ),
        ops.transpose: lambda g, out, old, axis0=None, axis1=None: (
            g.T if axis0 is None else g.swapaxes(axis0, axis1)
        ),
        ops.where: (
            None,
            lambda g, out, condition, a, b: np.where(condition, g, 0),
            lambda g, out, condition, a, b: np.where(condition, 0, g),
        ),
    }
    ### END SOLUTION


def getitem_rule(g: Array, out: Any, shape: Shape, index: Any) -> Array:
    """The rule of x[index]; what is picked more than once collects all its gradients.

    `index` is an int, slice, None, `...`, list or array of ints or bools, or a tuple of these.
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
    """The joint rule of concatenate: a piece of g for each input."""
    ### BEGIN SOLUTION
    ends = np.cumsum([shape[axis] for shape in shapes])
    return np.split(g, ends[:-1], axis=axis)
    ### END SOLUTION


def stack_rule(needs: Any, g: Array, out: Any, *shapes: Shape, axis: int = 0) -> list[Array]:
    """Give each input of stack its slice."""
    return list(np.moveaxis(g, axis, 0))


register_table(move_rules, *reshaped, *unmoved, ops.permute, ops.transpose, keeps=())
register_table(move_rules, ops.where, keeps=("inputs",))
register_vjp(ops.getitem, getitem_rule, keeps=())
register_vjp(ops.concatenate, joint=concatenate_rule, keeps=())
register_vjp(ops.stack, joint=stack_rule, keeps=())


# %%
#| test
def test_moving_picking_and_joining():
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 4)), requires_grad=True)
    for move in (
        lambda x: x.flatten(1).reshape(4, 6).T,
        lambda x: x.permute(2, 0, -2).unsqueeze(0).expand(5, -1, 2, 3),
        lambda x: x[..., -1, None, ::2],
        lambda x: x[np.array([0, 1, 1]), :, np.array([3, 2, 2])],
        lambda x: ops.stack([ops.concatenate([x, x[:1]]), ops.ones(3, 3, 4)], axis=-1),
        lambda x: ops.where(np.array([True, False, True, True]), x, x[0]),
    ):
        assert gradcheck(move, x)


if __name__ == "__main__":
    test_moving_picking_and_joining()

# %% [markdown]
# ## Systems: where the memory of training goes
#
# Ten layers `relu(h @ w + b)`, width 128, batch 256: every intermediate result has 256 × 128 × 4
# bytes, 0.13 MB. How much is still held when the forward pass is over? Without recording, the last
# result. With it, what the rules look at: matmul keeps its input h, which is the output that relu
# keeps: one array a layer. If every node kept its inputs and output, there would be three. This
# memory grows with depth × batch, parameters do not: it decides how large a batch fits.
#
# And time? Two products for each one of the forward pass, and the engine's own few microseconds for
# each of the thirty nodes, which large arrays hide and small ones do not.

# %%
import timeit
import tracemalloc

b, layers = ops.zeros(128), [ops.randn(128, 128, requires_grad=True) for _ in range(10)]


def forward(h):
    for w in layers:
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


print("no_grad         ", no_grad()(held)())
print(f"as registered    {held()}\n  batch doubled  {held(512)}")
registered = {op: op.keeps for op in (ops.matmul, ops.add, activations.relu)}
for op in registered:
    op.keeps = frozenset({"inputs", "output"})
print("keeps everything", held())
for op, keeps in registered.items():
    op.keeps = keeps
for batch in (1, 1024):
    h, given = ops.randn(batch, 128), np.ones((batch, 128))
    for run in ("forward(h)", "backward(forward(h), given)"):
        took = timeit.timeit(run, globals=globals(), number=20) / 20
        print(f"batch {batch}: {run} {took * 1e6:.0f} µs")
# Expected output:
# no_grad           1 arrays of 0.13 MB
# as registered    10 arrays of 0.13 MB
#   batch doubled  10 arrays of 0.26 MB
# keeps everything 30 arrays of 0.13 MB
# batch 1: forward(h) ... µs
# batch 1: backward(forward(h), given) ... µs
# batch 1024: forward(h) ... µs
# batch 1024: backward(forward(h), given) ... µs

# %% [markdown]
# ## Pitfalls
#
# - **Gradients pile up.** `.grad` accumulates until somebody clears it: `zero_grad` each step.
# - **Writing past the guard.** `x.numpy()[0] = 5` changes the array itself; no version can notice.
# - **Summing losses to print them.** `total = total + loss` keeps every step's graph alive; add
#   `loss.item()`.
# - **Kinks.** At relu(0) or equal maxima gradcheck complains about a rule that is right.
# - **`detach` shares memory**: writing into the detached tensor raises the version of both.
#
# ## What PyTorch does differently, and why
#
# - Its rules are made of tensor operations, so a gradient can be differentiated again
#   (`create_graph`). Ours work on arrays: half the overhead, first derivatives only.
# - It saves per operation what each *wanted* gradient needs; ours keeps all inputs or none.
# - It keeps `.grad` in place and can hook every tensor. Its engine runs in C++ on several threads.
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
