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
# # Module 16: Compression
#
# A trained network holds more numbers than its answers need. You take out those that matter least,
# and measure each time what it costs.
#
# - **You build** an honest account of zeros and bytes, masks by magnitude (of one layer or all),
#   a `Pruner` that keeps them through training, by a schedule if you like, the removal of whole
#   units, low-rank factors, and `DistillationLoss`: a small network learns from a large one.
# - **You need** 07 and what it builds on: `Module`, the losses, `no_grad`, optimizers, `Trainer`.
# - **Time**: about four hours.

# %%
#| default_exp core.compression

# %%
#| export
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinytorch.core.activations import log_softmax, softmax
from tinytorch.core.autograd import no_grad
from tinytorch.core.layers import Linear, Module, Sequential
from tinytorch.core.losses import cross_entropy
from tinytorch.core.tensor import Tensor
from tinytorch.tree import plain_array
from tinytorch.utils import shrinking as given
from tinytorch.utils.shrinking import CSR, checked_share, compression_report, from_csr, prunable

Array = np.ndarray

# %% [markdown]
# ## Step 1: What does a zero save?
#
# The *sparsity* of a model is the share of its weights that are zero. In an ordinary array a zero
# takes four bytes, like any number: **a pruned model saved as before is not one byte smaller.** To
# save, write down the non-zeros only, and where they were. *Compressed sparse rows* (CSR):
#
#     [[5, 0, 0, 7],      values   [5, 7, 6]       nnz numbers of 4 bytes
#      [0, 0, 0, 0],      columns  [0, 3, 1]       nnz int32
#      [0, 6, 0, 0]]      starts   [0, 2, 2, 3]    rows + 1 int32: row i is starts[i]:starts[i+1]
#
# A non-zero now takes 8 bytes, so below a sparsity of one half CSR is *larger*. At 80% it takes
# 0.2 · 8 / 4 = 40% of the dense bytes: 2.5 times smaller, not five.
#
# Given, in `tinytorch/utils/shrinking.py`, here `given`: `prunable(model)` finds the weights of two
# axes or more by name (biases are few, and stay); `from_csr` is the way back, and
# `compression_report(model)` counts size, zeros and bytes of each weight in both forms.


# %%
#| export
def sparsity(model: Module) -> float:
    """Return the share of zeros among all prunable weights, from 0 to 1."""
    weights = prunable(model).values()
    ### BEGIN SOLUTION
    zeros = sum(int((w.data == 0).sum()) for w in weights)
    return zeros / sum(w.size for w in weights)
    ### END SOLUTION


def to_csr(weight: Any) -> CSR:
    """Write a weight by its non-zeros; kernels (out, in, kh, kw) are taken as rows of a matrix."""
    matrix = given.checked_matrix(weight)
    ### BEGIN SOLUTION
    rows, columns = np.nonzero(matrix)
    starts = np.zeros(len(matrix) + 1, np.int32)
    starts[1:] = np.cumsum(np.bincount(rows, minlength=len(matrix)))
    return CSR(matrix[rows, columns], columns.astype(np.int32), starts, matrix.shape)
    ### END SOLUTION


# %%
sparse = to_csr(np.array([[5, 0, 0, 7], [0, 0, 0, 0], [0, 6, 0, 0]], np.float32))
print(sparse.values, sparse.columns, sparse.starts, sparse.nbytes, "bytes of CSR, dense 48")
print(from_csr(sparse)[2])
# Expected output:
# [5. 7. 6.] [0 3 1] [0 2 2 3] 40 bytes of CSR, dense 48
# [0. 6. 0. 0.]


# %%
#| test
def test_csr_gives_the_matrix_back_and_zeros_are_counted():
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((3, 2, 2, 2)).astype(np.float32) * (rng.random((3, 2, 2, 2)) < 0.3)
    np.testing.assert_array_equal(from_csr(to_csr(weight)), weight.reshape(3, -1))
    model = Sequential(Linear(3, 2), Linear(2, 1))
    model[0].weight.data[0] = model[0].bias.data[:] = 0
    assert sparsity(model) == 3 / 8


if __name__ == "__main__":
    test_csr_gives_the_matrix_back_and_zeros_are_counted()

# %% [markdown]
# ## Step 2: Which weights matter least?
#
# Change a weight w by −w and the loss changes by about −w·∂L/∂w + ½w²·∂²L/∂w². In a trained network
# the slope is near 0, and if curvatures are alike w² decides: **the smallest magnitudes go first**.
# That neglects a lot, and works well. A *mask* is an array of booleans, True for what stays.
#
# *Worked example*, sparsity 0.5 for two layers, [1 −2 3 −4] and [10 20]: each layer for itself
# loses its own half, 1, −2 and 10; ranked together, *globally*, the three smallest go: 1, −2, 3.
# The latter spends zeros where weights are small, and can empty a layer.
#
# Exactly `round(sparsity * size)` weights go, also among equals. So no threshold: rank them.
# Cost: a sort of the magnitudes.


# %%
#| export
def magnitude_mask(weight: Any, sparsity: float) -> Array:
    """Mark what stays, True, when exactly round(sparsity * size) smallest magnitudes go."""
    magnitudes = np.abs(plain_array(weight))
    sparsity = checked_share("sparsity", sparsity)
    ### BEGIN SOLUTION
    mask = np.ones(magnitudes.size, bool)
    smallest = np.argsort(magnitudes, axis=None, kind="stable")
    mask[smallest[: round(sparsity * magnitudes.size)]] = False
    return mask.reshape(magnitudes.shape)
    ### END SOLUTION


def global_masks(weights: Mapping[str, Any], sparsity: float) -> dict[str, Array]:
    """Mark what stays, by name, when the smallest magnitudes of all weights together go."""
    arrays = {name: plain_array(weight) for name, weight in weights.items()}
    ### BEGIN SOLUTION
    mask = magnitude_mask(np.concatenate([a.ravel() for a in arrays.values()]), sparsity)
    ends = np.cumsum([a.size for a in arrays.values()])
    parts = np.split(mask, ends[:-1])
    return {n: part.reshape(a.shape) for (n, a), part in zip(arrays.items(), parts, strict=True)}
    ### END SOLUTION


# %%
weights = {"a": np.array([1.0, -2, 3, -4]), "b": np.array([10.0, 20])}
print({name: magnitude_mask(w, 0.5).astype(int) for name, w in weights.items()})
print({name: mask.astype(int) for name, mask in global_masks(weights, 0.5).items()})
# Expected output:
# {'a': array([0, 0, 1, 1]), 'b': array([0, 1])}
# {'a': array([0, 0, 0, 1]), 'b': array([1, 1])}


# %%
#| test
def test_the_smallest_go_and_exactly_so_many():
    weight = np.random.default_rng(0).standard_normal((6, 7))
    mask = magnitude_mask(weight, 0.3)
    assert (mask.shape, int((~mask).sum())) == ((6, 7), round(0.3 * 42))
    assert np.abs(weight[~mask]).max() <= np.abs(weight[mask]).min()
    masks = global_masks({"small": np.full((2, 3), 0.1), "large": np.full((2, 2), -5.0)}, 0.7)
    assert masks["small"].tolist() == [[False] * 3] * 2
    assert masks["large"].sum() == 3


if __name__ == "__main__":
    test_the_smallest_go_and_exactly_so_many()

# %% [markdown]
# ## Step 3: A little at a time, and for good
#
# First, 90% taken away at once may break more than training can mend. Zhu and Gupta (2017) let the
# sparsity rise while the network trains, quickly where much is superfluous, slowly at the end:
#
# $$s_t = s_f + (s_i - s_f)\Big(1 - \frac{t - t_0}{n}\Big)^3 \qquad t_0 \le t \le t_0 + n$$
#
# *Worked example*, from 0 to 0.8 in 10 steps: at step 5 it is 0.8 · (1 − 0.5³) = 0.7. Half of the
# time does seven eighths of the work.
#
# Second, the zeros must stay. Trained on, the weights that are left make up for those that went;
# but the next step of the optimizer fills the zeros again, even if their gradients were set to 0:
# momentum still moves them. So **apply the masks after every step**, to the weights themselves. A
# `Trainer` calls `on_step_end` of its callbacks after every step; your own loop should, too.
#
# With a `schedule`, such as `functools.partial(cubic_sparsity, final=0.8, steps=500)`, masks are
# chosen anew every so many steps. A pruned weight is 0, so it is among the smallest again. Use
# `np.where(mask, data, 0)` rather than a product: 0 times an infinite weight is NaN.


# %%
#| export
def cubic_sparsity(
    step: int, final: float, steps: int, initial: float = 0.0, start: int = 0
) -> float:
    """Return the sparsity after `step` steps: `initial` to `start`, `final` from start + steps."""
    given.check_steps(steps)
    ### BEGIN SOLUTION
    left = 1 - min(max((step - start) / steps, 0.0), 1.0)
    return final + (initial - final) * left**3
    ### END SOLUTION


class Pruner:
    """Prune the weights of a model, and keep them pruned; a callback for `Trainer.fit`.

    Args:
        scope: "global": rank all weights together; "layer": the same sparsity in each.
        schedule: From the number of steps made to the sparsity, or None.
        every: Steps from one look at the schedule to the next; a choice costs a sort.
    """

    def __init__(self, model: Module, scope: str = "global",
                 schedule: Callable[[int], float] | None = None, every: int = 1):  # fmt: skip
        given.check_pruner(scope, every)
        self.weights, self.scope = prunable(model), scope
        self.masks = {name: np.ones(w.shape, bool) for name, w in self.weights.items()}
        self.schedule, self.every, self.steps = schedule, every, 0

    def prune(self, sparsity: float) -> None:
        """Choose the masks by today's magnitudes, and enforce them."""
        ### BEGIN SOLUTION
        if self.scope == "global":
            self.masks = global_masks(self.weights, sparsity)
        else:
            self.masks = {n: magnitude_mask(w, sparsity) for n, w in self.weights.items()}
        self.enforce()
        ### END SOLUTION

    def enforce(self) -> None:
        """Set every weight whose mask is False to zero; assign to its `.data`."""
        ### BEGIN SOLUTION
        for name, weight in self.weights.items():
            weight.data = np.where(self.masks[name], weight.data, 0)
        ### END SOLUTION

    def on_step_end(self, trainer: Any = None, loss: float = 0.0) -> None:
        """Count a step; prune by the schedule at every `every`-th, else enforce."""
        ### BEGIN SOLUTION
        self.steps += 1
        if self.schedule is not None and self.steps % self.every == 0:
            self.prune(self.schedule(self.steps))
        else:
            self.enforce()
        ### END SOLUTION


# %%
from tinytorch.core.optimizers import SGD
from tinytorch.core.tensor import manual_seed, randn

print([round(cubic_sparsity(t, final=0.8, steps=10), 3) for t in (0, 1, 5, 9, 10, 99)])
manual_seed(0)
model = Linear(4, 2)
pruner, optimizer = Pruner(model), SGD(model.parameters(), lr=0.1, momentum=0.9)
pruner.prune(0.5)
(model(randn(8, 4)) ** 2).sum().backward()
optimizer.step()
print("after a step:", sparsity(model), pruner.on_step_end() or "masks applied:", sparsity(model))
# Expected output:
# [0.0, 0.217, 0.7, 0.799, 0.8, 0.8]
# after a step: 0.0 masks applied: 0.5


# %%
#| test
def test_a_schedule_is_followed():
    values = [cubic_sparsity(t, 0.9, 20, initial=0.1, start=5) for t in (0, 5, 15, 25, 99)]
    np.testing.assert_allclose(values, [0.1, 0.1, 0.8, 0.9, 0.9])
    model, seen = Linear(10, 10), []
    pruner = Pruner(model, schedule=lambda step: min(0.1 * step, 0.5), every=2)
    for _ in range(7):
        model.weight.data = model.weight.data + 0.01  # a step that fills the zeros
        pruner.on_step_end()
        seen.append(sparsity(model))
    assert seen == [0, 0.2, 0.2, 0.4, 0.4, 0.5, 0.5]


if __name__ == "__main__":
    test_a_schedule_is_followed()

# %% [markdown]
# ## Step 4: Whole units, really gone
#
# Scattered zeros help only a program that knows about them. A whole unit (a neuron, a channel of a
# convolution) can be *removed*: its row in one weight, its number in the bias, and what the next
# layer multiplies it by. What is left is an ordinary, smaller, faster network:
#
#     first.weight (4, 3) → rows → (2, 3)        second.weight (5, 4) → columns → (5, 2)
#
# Which? Those with the smallest ‖row‖₂. And the network answers as if their weights and bias were
# zero, as long as f(0) = 0 between the layers (`neighbours` sees to it): ReLU does that, a sigmoid
# makes ½ of 0. Half of the units of *both* sides of a layer take three quarters of its weights.
#
# `given.resized(layer, weight, bias)` copies a layer with other numbers; `readers` repeats `keep`
# after a Flatten; `named_layers` is a dictionary of the chain's layers, from which `Sequential`
# makes a chain again; `neighbours` names the pairs of layers to treat, in order.


# %%
#| export
def unit_mask(weight: Any, sparsity: float) -> Array:
    """Mark the units that stay, (out,), when round(sparsity * out) shortest rows go, not all."""
    rows, sparsity = given.checked_matrix(weight), checked_share("sparsity", sparsity)
    ### BEGIN SOLUTION
    keep = np.ones(len(rows), bool)
    order = np.argsort(np.linalg.norm(rows, axis=1), kind="stable")
    keep[order[: min(round(sparsity * len(rows)), len(rows) - 1)]] = False
    return keep
    ### END SOLUTION


def remove_units(first: Module, second: Module, keep: Array) -> tuple[Module, Module]:
    """Return copies of two layers without the units of the first for which `keep` is False."""
    columns = given.readers(keep, second.weight.shape[1])
    ### BEGIN SOLUTION
    bias = None if first.bias is None else first.bias.data[keep]
    shorter = given.resized(first, first.weight.data[keep], bias)
    return shorter, given.resized(second, second.weight.data[:, columns], second.bias)
    ### END SOLUTION


def prune_units(model: Sequential, sparsity: float) -> Sequential:
    """Return a smaller copy of a chain: of each layer but the last, this share of units removed."""
    layers = given.named_layers(model)
    pairs = given.neighbours(layers, Tensor(np.zeros((1, 1, 8, 8))))  # (name, name of its reader)
    ### BEGIN SOLUTION
    for a, b in pairs:
        keep = unit_mask(layers[a].weight, sparsity)
        layers[a], layers[b] = remove_units(layers[a], layers[b], keep)
    return Sequential(layers)
    ### END SOLUTION


# %%
from tinytorch.core.layers import MLP

model = MLP(64, [128, 128], 10)
for net in (model, prune_units(model, 0.5)):
    print([p.shape for p in net.parameters() if p.ndim == 2], sum(p.size for p in net.parameters()))
# Expected output:
# [(128, 64), (128, 128), (10, 128)] 26122
# [(64, 64), (64, 64), (10, 64)] 8970


# %%
#| test
from tinytorch.core.layers import MLP
from tinytorch.core.optimizers import SGD
from tinytorch.core.tensor import manual_seed, randn


def test_removed_units_are_as_if_zero():
    manual_seed(1)
    model, x = MLP(4, [6], 3), randn(5, 4)
    keep, smaller = unit_mask(model[0].weight, 0.5), prune_units(model, 0.5)
    assert [keep.sum(), smaller[0].out_features, smaller[2].in_features] == [3, 3, 3]
    for parameter in (model[0].weight, model[0].bias):
        parameter.data[~keep] = 0
    np.testing.assert_allclose(smaller(x).numpy(), model(x).numpy(), rtol=1e-5, atol=1e-6)


if __name__ == "__main__":
    test_removed_units_are_as_if_zero()

# %% [markdown]
# ## Step 5: Two thin matrices for a thick one
#
# Every matrix is a sum of rank-one matrices in the order of their weight, $W = \sum_i \sigma_i u_i
# v_i^\top$ (the singular value decomposition). Keep the first r terms, and no matrix of rank r is
# closer to W (Eckart and Young 1936). What is missing is exactly what was discarded:
#
# $$\|W - W_r\|_F = \sqrt{\sigma_{r+1}^2 + \dots + \sigma_n^2}$$
#
# One layer becomes two, (in → r) without a bias and (r → out): r · (in + out) numbers in the place
# of in · out. It pays while r < in · out / (in + out): for 128 × 128 below 64. Cut σ in two equal
# parts, √σ for each side: otherwise one factor learns much faster than the other.
#
# *Worked example*: diag(4, 3, 1) at rank 2 loses the 1: error 1, of the length √26: 0.196.


# %%
#| export
def low_rank_factors(weight: Any, rank: int) -> tuple[Array, Array]:
    """Factor a weight (out, in) into left (out, rank) @ right (rank, in), each with half of σ."""
    matrix = plain_array(weight)
    rank = given.checked_rank(rank, matrix.shape)
    ### BEGIN SOLUTION
    u, sigma, vt = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    root = np.sqrt(sigma[:rank])
    left, right = u[:, :rank] * root, root[:, None] * vt[:rank]
    return left.astype(matrix.dtype), right.astype(matrix.dtype)
    ### END SOLUTION


def low_rank_error(weight: Any, rank: int) -> float:
    """Return ‖W − W_r‖ / ‖W‖ (Frobenius) of the best approximation, from singular values alone."""
    matrix = plain_array(weight).astype(np.float64)
    rank = given.checked_rank(rank, matrix.shape)
    ### BEGIN SOLUTION
    sigma = np.linalg.svd(matrix, compute_uv=False)
    return math.sqrt((sigma[rank:] ** 2).sum() / max((sigma**2).sum(), 1e-300))
    ### END SOLUTION


def factor_linear(layer: Linear, rank: int) -> Sequential:
    """Return two layers that compute nearly what `layer` does; the bias goes to the second."""
    left, right = low_rank_factors(layer.weight, rank)
    ### BEGIN SOLUTION
    thin = given.resized(layer, right, None)
    return Sequential(thin, given.resized(layer, left, layer.bias))
    ### END SOLUTION


# %%
left, right = low_rank_factors(np.diag([4.0, 3, 1]), 2)
print((left @ right).round(3).diagonal(), round(low_rank_error(np.diag([4.0, 3, 1]), 2), 3))
print([p.shape for p in factor_linear(Linear(128, 128), 16).parameters()])
# Expected output:
# [4. 3. 0.] 0.196
# [(16, 128), (128, 16), (128,)]


# %%
#| test
def test_the_error_is_what_was_discarded():
    weight = np.random.default_rng(0).standard_normal((6, 4))
    left, right = low_rank_factors(weight, 2)
    error = np.linalg.norm(weight - left @ right) / np.linalg.norm(weight)
    np.testing.assert_allclose(low_rank_error(weight, 2), error, atol=1e-12)
    np.testing.assert_allclose((left**2).sum(0), (right**2).sum(1))
    layer, x = Linear(5, 3), randn(4, 5)
    pair = factor_linear(layer, 3)
    np.testing.assert_allclose(pair(x).numpy(), layer(x).numpy(), rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    test_the_error_is_what_was_discarded()

# %% [markdown]
# ## Step 6: Learn from the answers of a larger model
#
# A label says "7". A good teacher says "7, perhaps a 1, certainly no 0", which is worth more.
# Divide its logits by a temperature T > 1, and small probabilities become visible:
#
#     logits [4, 2, 0]      T = 1: [0.867 0.117 0.016]      T = 4: [0.506 0.307 0.186]
#
# The student should have the same distribution at the same T. With q of the teacher and p of the
# student, both softened,
#
# $$L = \alpha\, T^2 \operatorname{mean}_n \sum_c q_c (\log q_c - \log p_c)
# + (1 - \alpha)\,\text{CE}(\text{student}, y)$$
#
# Why T²? The gradient of the first part by a logit is (p − q)/T, and p − q itself is about 1/T as
# large: without the factor the soft part would fade as 1/T². The teacher is finished: **no gradient
# reaches it**, it runs in evaluation and records nothing.


# %%
#| export
class DistillationLoss:
    """Mix the teacher's softened answers (share alpha) with the labels: Hinton et al. 2015."""

    def __init__(self, temperature: float = 4.0, alpha: float = 0.5):
        self.temperature = given.checked_temperature(temperature)
        self.alpha = checked_share("alpha", alpha, whole=True)

    def soft(self, student: Tensor, teacher: Tensor) -> Tensor:
        """T² times the mean over examples of KL(teacher at T ‖ student at T); logits (N, C)."""
        ### BEGIN SOLUTION
        fixed = teacher.detach() / self.temperature
        log_p = log_softmax(student / self.temperature)
        divergence = (softmax(fixed) * (log_softmax(fixed) - log_p)).sum()
        return divergence * (self.temperature**2 / len(student))
        ### END SOLUTION

    def __call__(self, student: Tensor, teacher: Any, targets: Any) -> Tensor:
        """Compute the loss of the student's logits (N, C), given the teacher's, and the labels."""
        teacher = teacher if isinstance(teacher, Tensor) else Tensor(teacher)
        given.check_logits(student, teacher)
        ### BEGIN SOLUTION
        soft = self.soft(student, teacher)
        return self.alpha * soft + (1 - self.alpha) * cross_entropy(student, targets)
        ### END SOLUTION


def distillation_step(
    student: Module, teacher: Module, loss: Callable[..., Tensor], optimizer: Any,
    x: Any, targets: Any,
) -> float:  # fmt: skip
    """Make one update of the student by `loss(its logits, the teacher's, targets)`; return it.

    The teacher answers in evaluation, without recording, and then has its mode again.
    """
    ### BEGIN SOLUTION
    x, was_training = x if isinstance(x, Tensor) else Tensor(x), teacher.training
    teacher.eval()
    with no_grad():
        answers = teacher(x)
    teacher.train(was_training)
    optimizer.zero_grad()
    value = loss(student(x), answers, targets)
    value.backward()
    optimizer.step()
    return value.item()
    ### END SOLUTION


# %%
teacher = Tensor([[4.0, 2.0, 0.0]])
for T in (1, 4, 16):
    student = Tensor([[1.0, 1.0, 1.0]], requires_grad=True)
    DistillationLoss(T, alpha=1.0)(student, teacher, [0]).backward()
    print(T, softmax(teacher / T).numpy().round(3), student.grad.numpy().round(2))
# Expected output:
# 1 [[0.867 0.117 0.016]] [[-0.53  0.22  0.32]]
# 4 [[0.506 0.307 0.186]] [[-0.69  0.1   0.59]]
# 16 [[0.376 0.332 0.293]] [[-0.68  0.03  0.65]]


# %%
#| test
def test_distillation_by_hand():
    teacher, student = np.array([[2.0, 0], [0, 4]]), np.array([[0.0, 0], [2, 2]])
    q = np.exp(teacher / 2) / np.exp(teacher / 2).sum(1, keepdims=True)
    divergence = (q * (np.log(q) - np.log(0.5))).sum() / 2
    loss = DistillationLoss(temperature=2.0, alpha=0.25)
    wanted = 0.25 * 4 * divergence + 0.75 * np.log(2)
    got = loss(Tensor(student), Tensor(teacher), [0, 1])
    np.testing.assert_allclose(got.item(), wanted, rtol=1e-6)


def test_only_the_student_learns():
    manual_seed(0)
    teacher, student, x = Linear(4, 3), Linear(4, 3), randn(8, 4)
    loss, optimizer = DistillationLoss(2.0, alpha=1.0), SGD(student.parameters(), lr=0.5)
    losses = [distillation_step(student, teacher, loss, optimizer, x, [0] * 8) for _ in range(200)]
    assert losses[-1] < losses[0] / 50
    assert (teacher.weight.grad, teacher.training) == (None, True)


if __name__ == "__main__":
    test_distillation_by_hand()
    test_only_the_student_learns()

# %% [markdown]
# ## Systems: what is left of a network for digits
#
# 64-128-128-10, for the digits shipped with the course: 1,472 images to train, 325 to test. Each
# line: the accuracy, the bytes of the weights dense and in CSR. The last three are a network of 16
# units with only 128 labels; with the large one's answers to these images; and to all, no label.

# %%
import copy

from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.optimizers import Adam
from tinytorch.core.training import Accuracy, Trainer, evaluate_model

train, test = given.digit_batches()


def trained(model, epochs, *callbacks):
    trainer = Trainer(model, CrossEntropyLoss(), Adam(model.parameters(), lr=2e-3))
    trainer.fit(train, epochs=epochs, callbacks=callbacks, verbose=False)
    return model


def line(name, model):
    right = evaluate_model(model, test, CrossEntropyLoss(), [Accuracy()])["accuracy"]
    counts = compression_report(model).values()
    print(
        f"{name}: {right:.3f},", *(sum(c[k] for c in counts) for k in ("dense_bytes", "csr_bytes"))
    )
    return right


manual_seed(0)
large = trained(MLP(64, [128, 128], 10), 15)
before = line("as trained", large)
for share in (0.8, 0.95):
    pruner = Pruner(pruned := copy.deepcopy(large))
    pruner.prune(share)
    line(f"{share:.0%} zeros", pruned)
    after = line(f"{share:.0%} fine-tuned", trained(pruned, 5, pruner))
    print("keeps its accuracy within a point:", after > before - 0.01)
rising = Pruner(gradual := copy.deepcopy(large), schedule=lambda t: cubic_sparsity(t, 0.95, 60))
line("95% gradually", trained(gradual, 5, rising))
line("half of the units, fine-tuned", trained(prune_units(large, 0.5), 5))
thin = [factor_linear(part, 16) if i in (0, 2) else part for i, part in enumerate(large)]
line("rank 16", Sequential(thin))
for name, alpha, data in (("labels", 0, train[:2]), ("answers", 1, train[:2]), ("all", 1, train)):
    manual_seed(0)
    small, loss = MLP(64, [16], 10), DistillationLoss(temperature=4.0, alpha=alpha)
    optimizer = Adam(small.parameters(), lr=5e-3)
    for step in range(400):
        distillation_step(small, large, loss, optimizer, *data[step % len(data)])
    line(f"16 units, {name}", small)
# Expected output:
# as trained: 0.9... 103424 207924
# 80% zeros: 0... 103424 42444
# 80% fine-tuned: 0.9... 103424 42444
# keeps its accuracy within a point: True
# 95% zeros: 0... 103424 11420
# 95% fine-tuned: 0... 103424 11420
# keeps its accuracy within a point: False
# 95% gradually: 0.9... 103424 11420
# half of the units, fine-tuned: 0.9... 35328 ...
# rank 16: 0.9... 33792 ...
# 16 units, labels: 0.9... 4736 ...
# 16 units, answers: 0.9... 4736 ...
# 16 units, all: 0.9... 4736 ...

# %% [markdown]
# With four of five weights gone the fine-tuned network is as good as before. At 95% it is not, and
# the gradual way saves most of it. In an array none of this saves a byte. Removing units does, and
# so does a low rank, without any special format; but 3 times, not the 9 times of CSR at 95%.
#
# ## Pitfalls
#
# - Reporting "95% smaller" from a sparsity: count the bytes of the file, indices included.
# - A threshold, `abs(w) > t`: of equal magnitudes it takes all or none.
# - Masks on gradients only: momentum and weight decay move the zeros all the same.
# - The teacher in training mode: its dropout answers differently each time.
#
# ## What PyTorch does differently, and why
#
# - `torch.nn.utils.prune` replaces `weight` by `weight_orig * weight_mask` before each forward: no
#   callback is needed, but until `prune.remove` the state has other names, and there are three
#   arrays in the place of one.
# - Its 2:4 sparsity drops two of every four neighbours, which some GPUs can skip.
# - `F.kl_div` expects log-probabilities first, and needs `reduction="batchmean"`.
#
# ## Sources
#
# LeCun, Denker and Solla 1990 (Optimal Brain Damage) · Han, Pool, Tran and Dally 2015 · Zhu and
# Gupta 2017 · Li et al. 2017 (filters) · Eckart and Young 1936 · Hinton, Vinyals and Dean 2015.
#
# ## Reflection
#
# Your network must run on a device with 64 KB of memory for its weights and no sparse arithmetic.
# In 150–300 words in `modules/16_compression/reflection.md`: which of the four ways do you take, in
# which order, and what do you measure after each? Where does your figure of "smaller" come from?
#
# ## Checkpoint
#
#     tito checkpoint run 16
