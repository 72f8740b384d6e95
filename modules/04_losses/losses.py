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
# # Module 04: Losses
#
# A loss boils a batch of predictions down to one number: how wrong is the network?
#
# **You will build** `MSELoss`, `L1Loss` and `HuberLoss` for numbers, `NLLLoss` and
# `CrossEntropyLoss` for classes, `BCELoss` and `BCEWithLogitsLoss` for yes or no, each also as a
# function (`mse_loss`, `cross_entropy`, …), and all of them finite for logits up to ±10,000.
#
# **You need** modules 01 (`Tensor`, `where`, indexing) and 02 (`log_softmax`).
#
# **Time**: about two and a half hours.
#
# ## What a loss must be
#
# Smaller is better, zero (or the least possible) is perfect, and it must have a slope almost
# everywhere: training walks downhill on it. Accuracy is not a loss, for it changes in jumps. Most
# losses here are the negative logarithm of the probability that the network gave to the truth
# (Goodfellow et al. 2016, section 5.5); which distribution you assume decides which loss you get.

# %%
#| default_exp core.losses

# %%
#| export
from collections.abc import Callable
from typing import Any

import numpy as np

from tinytorch.core.activations import log_softmax
from tinytorch.core.tensor import Tensor, primitive, where
from tinytorch.labels import by_rows, class_axis

# %% [markdown]
# ## Step 1: One number from many
#
# A loss first computes one value per element or per example and then reduces them. `reduction` says
# how: "mean" (so that the size of the batch does not change the size of a step), "sum", or "none"
# to see every example.
#
#     values [1, 2, 6]:   mean 3,   sum 9,   none [1, 2, 6]
#
# `matched` (given) refuses shapes that differ. Broadcasting (4, 1) against (4,) would compare every
# prediction with every target, 16 pairs instead of 4, and average them into a plausible number.


# %%
#| export
def reduced(values: Tensor, reduction: str) -> Tensor:
    """Reduce values to their mean or sum, or return them as they are ("none").

    Raises:
        ValueError: If `reduction` is none of the three; names it.
    """
    ### BEGIN SOLUTION
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    if reduction == "none":
        return values
    raise ValueError(f"reduction is {reduction!r}; use 'mean', 'sum' or 'none'")
    ### END SOLUTION


def matched(predictions: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Make both tensors of one shape; targets take the dtype of the predictions."""
    predictions = predictions if isinstance(predictions, Tensor) else Tensor(predictions)
    targets = targets if isinstance(targets, Tensor) else Tensor(targets)
    if predictions.shape != targets.shape:
        raise ValueError(
            f"cannot compare predictions of shape {predictions.shape} with targets of shape "
            f"{targets.shape}: every prediction needs its own target; reshape one of them"
        )
    if targets.dtype != predictions.dtype and predictions.dtype.kind == "f":
        targets = targets.astype(predictions.dtype)
    return predictions, targets


# %%
values = Tensor([1.0, 2.0, 6.0])
print(*(reduced(values, how).numpy() for how in ("mean", "sum", "none")))
try:
    matched(Tensor([[1.0], [2.0]]), Tensor([1.0, 2.0]))
except ValueError as error:
    print(error)
# Expected output:
# 3.0 9.0 [1. 2. 6.]
# cannot compare predictions of shape (2, 1) with targets of shape (2,): every prediction needs
# its own target; reshape one of them


# %%
#| test
def test_reduced():
    values = Tensor([[1.0, 2.0], [3.0, 6.0]])
    assert reduced(values, "mean").item() == 3.0
    assert reduced(values, "sum").item() == 12.0
    assert reduced(values, "none").shape == (2, 2)
    np.testing.assert_raises_regex(ValueError, "average", reduced, values, "average")


if __name__ == "__main__":
    test_reduced()

# %% [markdown]
# ## Step 2: Losses for numbers
#
# With error d = prediction − target:
#
#     squared   d²                                 slope 2d: large errors rule
#     absolute  |d|                                slope ±1: outliers count like all others
#     Huber     d²/2              for |d| ≤ δ      square near 0, straight far out,
#               δ (|d| − δ/2)     otherwise        and no kink where they meet
#
# For d = [0.5, −3] and δ = 1: squared [0.25, 9], absolute [0.5, 3], Huber [0.125, 2.5]. The mean is
# over *all* elements: for an output of shape (N, D) divide by N·D, not by N.


# %%
#| export
def mse_loss(predictions: Any, targets: Any, reduction: str = "mean") -> Tensor:
    """Reduce the squared errors."""
    predictions, targets = matched(predictions, targets)
    ### BEGIN SOLUTION
    error = predictions - targets
    return reduced(error * error, reduction)
    ### END SOLUTION


def l1_loss(predictions: Any, targets: Any, reduction: str = "mean") -> Tensor:
    """Reduce the absolute errors."""
    predictions, targets = matched(predictions, targets)
    ### BEGIN SOLUTION
    return reduced((predictions - targets).abs(), reduction)
    ### END SOLUTION


def huber_loss(
    predictions: Any, targets: Any, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """Reduce errors that count squared up to `delta` and linearly beyond.

    Raises:
        ValueError: If delta is not above 0.
    Source: Huber 1964.
    """
    predictions, targets = matched(predictions, targets)
    if not delta > 0:
        raise ValueError(f"delta is {delta}; give the error, above 0, where the line begins")
    ### BEGIN SOLUTION
    error = predictions - targets
    size = error.abs()
    values = where(size <= delta, 0.5 * error * error, delta * (size - 0.5 * delta))
    return reduced(values, reduction)
    ### END SOLUTION


# %%
predicted, wanted = Tensor([2.5, 0.0]), Tensor([2.0, 3.0])
for loss in (mse_loss, l1_loss, huber_loss):
    print(f"{loss.__name__:10}", loss(predicted, wanted, "none").numpy(), loss(predicted, wanted))
# Expected output:
# mse_loss   [0.25 9.  ] Tensor(4.625)
# l1_loss    [0.5 3. ] Tensor(1.75)
# huber_loss [0.125 2.5  ] Tensor(1.3125)


# %%
#| test
def test_losses_for_numbers():
    p, t = Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([[1.0, 0.0], [0.0, 4.5]])
    assert mse_loss(p, t).item() == (0 + 4 + 9 + 0.25) / 4
    assert l1_loss(p, t, "sum").item() == 5.5
    np.testing.assert_allclose(huber_loss(p, t, "none").numpy(), [[0, 1.5], [2.5, 0.125]])
    np.testing.assert_allclose(huber_loss(p, t, delta=2.0).item(), (2 + 4 + 0.125) / 4)


if __name__ == "__main__":
    test_losses_for_numbers()

# %% [markdown]
# ## Step 3: Negative log-likelihood
#
# A classifier gives the probability p of each class. If the truth is class y, its loss is −log p_y:
# 0 when the network was sure and right, 0.69 at p = ½, 4.6 at p = 0.01, and without limit as p
# approaches 0. Only the entry of the true class counts; pick it by indexing rows and columns
# together:
#
#     log p = [[-0.1, -2.4], [-1.6, -0.2]],  y = [0, 0]   →   [0.1, 1.6]   →   mean 0.85
#
# Labels equal to `ignore_index` (padding in a text) count neither in the sum nor in the number that
# divides it. `by_rows` (given in `tinytorch/labels.py`, with `class_axis`) checks the labels and
# brings all shapes to rows × classes: the class axis is axis 1 of (N, C) and of (N, C, d1, d2 …),
# and axis 0 of a single (C,).


# %%
#| export
def nll_loss(
    log_probabilities: Tensor, targets: Any, *, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Reduce the negative log-probabilities of the true classes.

    Args:
        log_probabilities: Shape (N, C), (C,) or (N, C, ...), from `log_softmax`.
        targets: The classes, of the same shape without the class axis.
        ignore_index: The label of examples that do not count; "none" gives 0 for them.
    """
    rows, labels = by_rows(log_probabilities, targets, ignore_index)
    ### BEGIN SOLUTION
    counts = labels != ignore_index
    picked = rows[np.arange(len(labels)), np.where(counts, labels, 0)]  # (examples,)
    values = -picked * counts.astype(rows.dtype)
    if reduction == "mean":
        return values.sum() / int(counts.sum())
    return reduced(values.reshape(np.shape(targets)), reduction)
    ### END SOLUTION


# %%
log_probabilities = Tensor([[-0.1, -2.4], [-1.6, -0.2]])
print(nll_loss(log_probabilities, [0, 0], reduction="none").numpy())
print(nll_loss(log_probabilities, [0, 0]), nll_loss(log_probabilities, [0, -100]))
try:
    nll_loss(log_probabilities, [0, 2])
except ValueError as error:
    print(error)
# Expected output:
# [0.1 1.6]
# Tensor(0.85) Tensor(0.1)
# label 2 is not one of the 2 classes: labels run from 0 to 1


# %%
#| test
def test_nll_picks_the_true_class():
    x = Tensor(-np.arange(1.0, 7.0).reshape(2, 3))
    assert nll_loss(x, [2, 0], reduction="none").numpy().tolist() == [3, 4]
    assert nll_loss(x, [2, 0], reduction="sum").item() == 7
    assert nll_loss(x, [-100, 1]).item() == 5, "an ignored label counts in the divisor"
    images = Tensor(-np.arange(24.0).reshape(2, 3, 2, 2))  # (N, C, H, W)
    labels = np.array([[[0, 1], [2, 0]], [[1, 1], [0, 2]]])
    expected = [[[0, 5], [10, 3]], [[16, 17], [14, 23]]]
    assert nll_loss(images, labels, reduction="none").numpy().tolist() == expected


if __name__ == "__main__":
    test_nll_picks_the_true_class()

# %% [markdown]
# ## Step 4: Cross-entropy from logits
#
# A network ends in logits, any numbers. Cross-entropy is log-softmax and then negative
# log-likelihood, and it must get the *logits*: module 02 showed that the logarithm of a softmax is
# −∞ as soon as a probability underflows, while log-softmax stays finite.
#
#     logits [2, 0, -1], y = 0:   log Σ exp = 2.1698   →   loss 2.1698 − 2 = 0.1698
#
# A network that guesses evenly among C classes has a loss of log C: 2.3026 for 10 classes. If the
# first loss of a fresh network is far above that, look for a mistake before you train.
#
# **Label smoothing** asks for a little less certainty: the truth gets 1 − ε, and ε is spread evenly
# over all classes: (1 − ε) · nll + ε · (mean over classes of −log p). **Probabilities** as targets,
# of the same shape as the logits, are the general case: −Σ t log p per example.


# %%
#| export
def cross_entropy(
    logits: Tensor,
    targets: Any,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Reduce the cross-entropy between targets and softmax(logits).

    Args:
        logits: Unnormalised scores, shape (N, C), (C,) or (N, C, ...).
        targets: Classes, without the class axis; or probabilities of the shape of the logits.
        ignore_index: The label of examples that do not count.
        label_smoothing: The share of certainty, from 0 to 1, that is spread over all classes.
    """
    axis = class_axis(logits)
    ### BEGIN SOLUTION
    log_p = log_softmax(logits, axis=axis)
    if np.shape(targets) == logits.shape:
        log_p, targets = matched(log_p, targets)
        soft = targets * (1 - label_smoothing) + label_smoothing / logits.shape[axis]
        return reduced(-(soft * log_p).sum(axis=axis), reduction)
    loss = nll_loss(log_p, targets, ignore_index=ignore_index, reduction=reduction)
    if label_smoothing == 0:
        return loss
    average = log_p.mean(axis=axis, keepdims=True)  # one class: the average one
    only = np.where(np.asarray(targets) == ignore_index, ignore_index, 0)
    spread = nll_loss(average, only, ignore_index=ignore_index, reduction=reduction)
    return (1 - label_smoothing) * loss + label_smoothing * spread
    ### END SOLUTION


# %%
logits = Tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
print(cross_entropy(logits, [0, 1], reduction="none").numpy())
print(cross_entropy(Tensor([[1e4, -1e4]]), [1]))
print(cross_entropy(logits, [0, 1], label_smoothing=0.1))
print(cross_entropy(logits, [[1, 0, 0], [0, 0.5, 0.5]], reduction="none").numpy())
# Expected output:
# [0.16984603 1.0986123 ]
# Tensor(20000.)
# Tensor(0.7175625)
# [0.16984603 1.0986123 ]


# %%
#| test
def test_cross_entropy_is_stable():
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        out = cross_entropy(Tensor([[1e4, 0.0], [0.0, 1e4]]), [0, 0], reduction="none")
    assert out.numpy().tolist() == [0, 1e4]
    assert out.dtype == np.float32


def test_one_hot_probabilities_are_labels():
    logits = Tensor(np.array([[0.2, -1.0, 3.0], [1.0, 1.0, 0.0]]))
    for smoothing in (0.0, 0.2):
        by_label = cross_entropy(logits, [2, 0], label_smoothing=smoothing).item()
        by_share = cross_entropy(logits, np.eye(3)[[2, 0]], label_smoothing=smoothing).item()
        np.testing.assert_allclose(by_label, by_share, rtol=1e-12)


if __name__ == "__main__":
    test_cross_entropy_is_stable()
    test_one_hot_probabilities_are_labels()

# %% [markdown]
# ## Step 5: Yes or no
#
# One probability p for "yes", a target t of 1 or 0 (or between): the same logarithm, two classes.
#
#     bce(p, t) = -( t log p + (1 - t) log(1 - p) )
#     bce(0.8, 1) = -log 0.8 = 0.2231          bce(0.8, 0) = -log 0.2 = 1.6094
#
# At p = 0 the logarithm is −∞; as in PyTorch, both logarithms are cut at −100. Better: do not come
# near it. With p = sigmoid(x) the formula becomes, after some algebra,
#
#     bce_with_logits(x, t) = max(x, 0) - x t + log(1 + exp(-|x|))
#
# which is exact for every logit: at x = 20, t = 1 it gives 2.06e-9, where float32 has rounded p to
# 1 and the first formula gives 0. Each term has a kink at x = 0, though their sum is smooth. So
# this is one fused primitive, whose slope, sigmoid(x) − t, module 05 writes down directly: composed
# of parts, the kinks would add up to a wrong slope just where a network of zeros begins.


# %%
#| export
@primitive
def bce_values(p, t):
    """Compute -(t log p + (1 - t) log(1 - p)) elementwise, both logarithms at least -100."""
    ### BEGIN SOLUTION
    with np.errstate(divide="ignore"):
        yes = np.maximum(np.log(p), -100)
        no = np.maximum(np.log1p(-p), -100)
    return -(t * yes + (1 - t) * no)
    ### END SOLUTION


@primitive
def bce_with_logits_values(x, t):
    """Compute bce_values(sigmoid(x), t) from the logit x, without overflow or rounding to 0."""
    ### BEGIN SOLUTION
    return np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))
    ### END SOLUTION


def binary_cross_entropy(probabilities: Any, targets: Any, reduction: str = "mean") -> Tensor:
    """Reduce the binary cross-entropy of probabilities.

    Raises:
        ValueError: If a probability is not in [0, 1]: logits belong to the other function.
    """
    p, t = matched(probabilities, targets)
    if p.size and not (p.data.min() >= 0 and p.data.max() <= 1):
        raise ValueError(
            f"probabilities run from {p.data.min():.4g} to {p.data.max():.4g}, outside [0, 1]; "
            "give logits to binary_cross_entropy_with_logits (BCEWithLogitsLoss)"
        )
    return reduced(bce_values(p, t), reduction)


def binary_cross_entropy_with_logits(logits: Any, targets: Any, reduction: str = "mean") -> Tensor:
    """Reduce the binary cross-entropy of logits."""
    return reduced(bce_with_logits_values(*matched(logits, targets)), reduction)


# %%
print(binary_cross_entropy([0.8, 0.8, 0.0], [1, 0, 1], "none").numpy())
print(binary_cross_entropy_with_logits([20.0, 0.0, -1e4], [1, 1, 1], "none").numpy())
# Expected output:
# [  0.22314353   1.609438   100.        ]
# [2.0611537e-09 6.9314718e-01 1.0000000e+04]


# %%
#| test
def test_bce_by_hand():
    values = bce_values(Tensor([0.8, 0.8, 1.0, 0.0]), Tensor([1.0, 0.0, 1.0, 1.0])).numpy()
    np.testing.assert_allclose(values, [0.22314355, 1.6094379, 0, 100], rtol=1e-6)


def test_bce_with_logits():
    x, t = Tensor(np.linspace(-5, 5, 21)), Tensor(np.linspace(0, 1, 21))
    p = 1 / (1 + np.exp(-x.numpy()))
    one, other = binary_cross_entropy(p, t, "none"), binary_cross_entropy_with_logits(x, t, "none")
    np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-10)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        out = binary_cross_entropy_with_logits([1e4, -1e4, 1e4, -1e4], [1, 0, 0, 1], "none")
    assert out.numpy().tolist() == [0, 0, 1e4, 1e4]


if __name__ == "__main__":
    test_bce_by_hand()
    test_bce_with_logits()

# %% [markdown]
# ## The objects (given)
#
# A training loop is handed a loss whose settings are fixed: `CrossEntropyLoss(label_smoothing=0.1)`
# is called with (logits, labels). As in module 02 an object is a function and its settings, a plain
# callable without parameters.


# %%
#| export
class Loss:
    """A loss and its settings; call it with predictions and targets."""

    function: Callable[..., Tensor]

    def __init__(self, reduction: str = "mean"):
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction is {reduction!r}; use 'mean', 'sum' or 'none'")
        self.reduction = reduction

    def forward(self, predictions: Any, targets: Any) -> Tensor:
        """Apply `function` with the settings in this object's attributes."""
        return type(self).function(predictions, targets, **vars(self))

    def __call__(self, predictions: Any, targets: Any) -> Tensor:
        return self.forward(predictions, targets)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class MSELoss(Loss):
    """`mse_loss` as an object."""

    function = mse_loss


class L1Loss(Loss):
    """`l1_loss` as an object."""

    function = l1_loss


class HuberLoss(Loss):
    """`huber_loss` as an object."""

    function = huber_loss

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction)
        self.delta = delta


class NLLLoss(Loss):
    """`nll_loss` as an object."""

    function = nll_loss

    def __init__(self, *, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__(reduction)
        self.ignore_index = ignore_index


class CrossEntropyLoss(Loss):
    """`cross_entropy` as an object: give it logits, never the output of a softmax."""

    function = cross_entropy

    def __init__(
        self, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ):
        super().__init__(reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing


class BCELoss(Loss):
    """`binary_cross_entropy` as an object: give it probabilities."""

    function = binary_cross_entropy


class BCEWithLogitsLoss(Loss):
    """`binary_cross_entropy_with_logits` as an object: give it logits."""

    function = binary_cross_entropy_with_logits


MeanSquaredError = MSELoss
BinaryCrossEntropyLoss = BCELoss


# %% [markdown]
# ## Systems: what a label costs
#
# Textbooks write the target of a classifier as a one-hot row: C numbers, one of them 1. The index
# says the same in 8 bytes. Measure both for 256 words out of a vocabulary of 10,000, the size of
# one small step of a language model:

# %%
import time

rows, classes = 256, 10_000
generator = np.random.default_rng(0)
logits = Tensor(generator.standard_normal((rows, classes), dtype=np.float32))
labels = generator.integers(0, classes, rows)
one_hot = np.zeros((rows, classes), dtype=np.float32)
one_hot[np.arange(rows), labels] = 1


def best_time(targets):
    times = []
    for _ in range(5):
        start = time.perf_counter()
        cross_entropy(logits, targets)
        times.append(time.perf_counter() - start)
    return min(times)


print(f"labels {labels.nbytes:,} bytes, one-hot {one_hot.nbytes:,} bytes")
print(f"the one-hot loss takes {best_time(one_hot) / best_time(labels):.1f} times as long")
# Expected output:
# labels 2,048 bytes, one-hot 10,240,000 bytes
# the one-hot loss takes ... times as long

# %% [markdown]
# And what stability costs to miss: a confident wrong answer, computed from the rounded probability
# and from the logits. Near a gap of 104 the rounded probability becomes 0 and the loss infinite; a
# mean with one infinity in it trains nothing.

# %%
from tinytorch.core.activations import softmax

for gap in (10.0, 50.0, 100.0, 200.0):
    scores = Tensor([[gap, 0.0]])
    with np.errstate(divide="ignore"):
        naive = -np.log(softmax(scores).numpy()[0, 1])
    print(f"gap {gap:5}: naive {naive:8.4f}   from logits {cross_entropy(scores, [1]).item():8.4f}")
# Expected output:
# gap  10.0: naive  10.0000   from logits  10.0000
# gap  50.0: naive  50.0000   from logits  50.0000
# gap 100.0: naive  99.9831   from logits 100.0000
# gap 200.0: naive      inf   from logits 200.0000

# %% [markdown]
# ## Pitfalls
#
# - **Softmax in the model and cross-entropy as the loss**: probabilities from 0 to 1 are read as
#   logits, and for 3 classes the loss can never fall below log(1 + 2/e) = 0.55.
# - **(N, 1) against (N,)**: refused here, a warning in PyTorch, silent in NumPy.
# - **Comparing losses of different reduction**: "sum" grows with the batch, and the learning rate
#   would have to shrink with it.
# - **BCELoss on logits**: values outside [0, 1] are refused with a pointer to the right loss.
# - **Logging the loss tensor itself** keeps the whole graph alive: log `loss.item()`.
#
# ## What PyTorch does differently, and why
#
# - Its classes carry per-class weights (`weight=`, `pos_weight=`) for unbalanced data; ours leave
#   them to you: `reduction="none"`, multiply, average.
# - It accepts int64 labels only. `Tensor([0, 2, 1])` is float32 here, so whole floats are accepted.
# - `MSELoss` broadcasts and warns. We refuse: no one has ever wanted it.
# - Losses are Modules there, plain callables here: they own no parameters.
#
# ## Sources
#
# - Goodfellow, Bengio and Courville 2016, *Deep Learning*, sections 5.5 (likelihood) and 6.2.
# - Huber 1964, *Robust estimation of a location parameter*.
# - Szegedy et al. 2016, *Rethinking the Inception architecture*: label smoothing.
#
# ## Reflect (150–300 words)
#
# A medical test is to tell 1 ill patient in 1,000. A network that always answers "healthy" is right
# 99.9% of the time. What is its binary cross-entropy if it says p = 0.001 each time, and what if it
# says p = 0? Which of the losses here, and which reduction or weighting, would you train with, and
# what would you report to a doctor instead of the loss? Write the answer to `reflection.md` beside
# this file.
#
# Then run the checkpoint: `tito checkpoint run 04`
