"""Checkpoint 04: can I measure how wrong a network is?

Passing proves that each loss gives the number its formula gives, for every reduction and shape,
that logits of ±10,000 cost neither infinity nor a warning, and that wrong labels and shapes are
refused with a reason instead of being averaged away.
"""

import math

import numpy as np

from checkpoints.feedback import (
    asks,
    expect,
    expect_at_most,
    expect_equal,
    expect_raises,
    expect_true,
    probe,
    timed,
)
from tinytorch.core.activations import log_softmax, relu, softmax
from tinytorch.core.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    BinaryCrossEntropyLoss,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    MeanSquaredError,
    MSELoss,
    NLLLoss,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
)
from tinytorch.core.tensor import Tensor

WATCH = probe('''
import warnings
import numpy as np
from tinytorch.core import losses
from tinytorch.core.tensor import Tensor


def warned(name, predictions, targets):
    """Call a loss without reduction; return its values and the warnings it caused."""
    with warnings.catch_warnings(record=True) as caught, np.errstate(
        over="warn", divide="warn", invalid="warn"
    ):
        warnings.simplefilter("always")
        out = getattr(losses, name)(Tensor(predictions), targets, reduction="none").numpy()
    return np.array(out), [str(w.message) for w in caught]
''')


def log_probabilities_of(scores):
    """Log-softmax of one row, number by number."""
    top = max(scores)
    total = math.log(sum(math.exp(s - top) for s in scores))
    return [s - top - total for s in scores]


def cross_entropy_of(logits, labels):
    """For each row the negative log-probability of its label."""
    return np.array([-log_probabilities_of(row)[y] for row, y in zip(logits, labels, strict=True)])


def bce_of(x, t):
    """Binary cross-entropy from a logit, in two cases so that exp cannot overflow."""
    log_yes = -math.log1p(math.exp(-x)) if x >= 0 else x - math.log1p(math.exp(x))
    log_no = log_yes - x
    return -(t * log_yes + (1 - t) * log_no)


def huber_of(d, delta):
    """Half the square near zero, a straight line beyond delta."""
    return 0.5 * d * d if abs(d) <= delta else delta * (abs(d) - 0.5 * delta)


def each(function, *arrays):
    """Apply a function of numbers to the elements of arrays of one shape."""
    values = [function(*map(float, row)) for row in zip(*(a.ravel() for a in arrays), strict=True)]
    return np.array(values).reshape(arrays[0].shape)


@asks("imports", step=2, of="mse_loss", hint="each name comes from one step; run tito test 04")
def test_losses_are_there():
    """Make one of each loss, aliases too, and measure a perfect prediction."""
    p, t = Tensor([[0.0, 1.0]]), Tensor([[0.0, 1.0]])
    for name, kind in {
        "MSELoss": MSELoss,
        "MeanSquaredError": MeanSquaredError,
        "L1Loss": L1Loss,
        "HuberLoss": HuberLoss,
        "BCELoss": BCELoss,
        "BinaryCrossEntropyLoss": BinaryCrossEntropyLoss,
    }.items():
        expect(kind()(p, t), 0.0, call=f"{name}()(p, p)", dtype=np.float32)
    expect(BCEWithLogitsLoss()(Tensor([[50.0]]), Tensor([[1.0]])), 0.0, call="BCEWithLogitsLoss()")
    expect(CrossEntropyLoss()(Tensor([[0.0, 50.0]]), [1]), 0.0, call="CrossEntropyLoss()(x, y)")
    expect(NLLLoss()(Tensor([[-5.0, 0.0]]), [1]), 0.0, call="NLLLoss()(x, y)")


@asks("functionality", step=2, of="mse_loss", hint="the mean of the squared differences")
def test_mse_by_hand():
    """Measure the predictions [2.5, 0] against the targets [2, 3]."""
    expect(mse_loss(Tensor([2.5, 0.0]), Tensor([2.0, 3.0])), 4.625, call="mse_loss(p, t)")


@asks("functionality", step=1, of="reduced", hint="divide by the number of all elements")
def test_the_mean_is_over_all_elements(rng):
    """Measure (2, 3) and (4, 3) predictions: the mean divides by 6 and 12, the sum by nothing."""
    errors = Tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 2.0]])
    expect(
        mse_loss(errors, Tensor(np.zeros((2, 3)))), 3.0, call="mse_loss(p, t), squares 1 4 9 0 0 4"
    )
    p, t = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    for name, loss, values in (
        ("mse_loss", mse_loss, each(lambda a, b: (a - b) ** 2, p, t)),
        ("l1_loss", l1_loss, each(lambda a, b: abs(a - b), p, t)),
        ("huber_loss", huber_loss, each(lambda a, b: huber_of(a - b, 1.0), p, t)),
    ):
        expect(loss(Tensor(p), Tensor(t)), values.sum() / 12, call=f"{name}(p, t)")
        expect(loss(Tensor(p), Tensor(t), reduction="sum"), values.sum(), call=f'{name}(…, "sum")')
        expect(loss(Tensor(p), Tensor(t), reduction="none"), values, call=f'{name}(…, "none")')


@asks("functionality", step=1, of="reduced", hint="a word that is unknown must not pass silently")
def test_an_unknown_reduction_is_refused():
    """Ask for the reduction "average", of a function and of an object."""
    p = Tensor([1.0, 2.0])
    words = ["average"]
    call = 'mse_loss(p, p, reduction="average")'
    expect_raises(ValueError, mse_loss, p, p, reduction="average", call=call, mentions=words)
    expect_equal(mse_loss(p, p, reduction="none").shape, (2,), call='mse_loss(…, "none").shape')


@asks("functionality", step=2, of="huber_loss", hint="two formulas, chosen by |d| ≤ delta")
def test_huber_in_both_regions(rng):
    """Measure small and large errors with delta 1 and with delta 2.5."""
    d = np.array([-4.0, -2.5, -1.0, -0.3, 0.0, 0.3, 1.0, 2.4, 2.6, 9.0])
    for delta in (1.0, 2.5):
        out = huber_loss(Tensor(d), Tensor(np.zeros(10)), reduction="none", delta=delta)
        expect(out, each(lambda v, c=delta: huber_of(v, c), d), call=f"huber_loss(d, 0, δ={delta})")


@asks("functionality", step=2, of="mse_loss", hint="matched refuses what broadcasting would spread")
def test_shapes_must_match():
    """Compare predictions of shape (4, 1) with targets of shape (4,)."""
    p, t = Tensor([[1.0], [2.0], [3.0], [4.0]]), Tensor([1.0, 2.0, 3.0, 4.0])
    expect(mse_loss(p.reshape(4), t), 0.0, call="mse_loss(p, p)")
    for name, loss in {
        "mse_loss": mse_loss,
        "l1_loss": l1_loss,
        "huber_loss": huber_loss,
        "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
    }.items():
        words = ["(4, 1)", "(4,)"]
        expect_raises(ValueError, loss, p, t, call=f"{name}(p, t)", mentions=words)


@asks(
    "functionality",
    step=3,
    of="nll_loss",
    hint="the entry of the true class; a loss is not negative",
)
def test_nll_picks_the_true_class():
    """Pick the labels [0, 0] from log-probabilities [[-0.1, -2.4], [-1.6, -0.2]]."""
    x = Tensor([[-0.1, -2.4], [-1.6, -0.2]])
    expect(nll_loss(x, [0, 0], reduction="none"), [0.1, 1.6], call='nll_loss(x, y, "none")')
    expect(nll_loss(x, np.array([0, 0])), 0.85, call="nll_loss(x, array)")
    expect(nll_loss(x, Tensor([1, 1])), 1.3, call="nll_loss(x, Tensor([1, 1]))")
    expect(nll_loss(x[1], 0), 1.6, call="nll_loss(one row, one label)")


@asks("functionality", step=3, of="nll_loss", hint="ignored rows count neither above nor below")
def test_ignored_labels_do_not_count(rng):
    """Measure five rows, two of them labelled with ignore_index."""
    logits, labels = rng.normal(size=(5, 3)), np.array([2, -100, 0, -100, 1])
    counted = cross_entropy_of(logits[[0, 2, 4]], [2, 0, 1])
    out = cross_entropy(Tensor(logits), labels)
    expect(out, counted.mean(), call="cross_entropy with two labels -100")
    out = cross_entropy(Tensor(logits), labels, reduction="none")
    expect(out, [counted[0], 0, counted[1], 0, counted[2]], call='cross_entropy(…, "none")')
    out = nll_loss(log_softmax(Tensor(logits)), np.where(labels < 0, 1, labels), ignore_index=1)
    expect(out, counted[:2].mean(), call="nll_loss(…, ignore_index=1)")


@asks("functionality", step=3, of="nll_loss", hint="classes are axis 1, whatever follows them")
def test_a_label_for_every_pixel(rng):
    """Measure logits (2, 3, 4, 5) against labels (2, 4, 5): the mean is over 40 pixels."""
    logits, labels = rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 3, size=(2, 4, 5))
    rows = logits.transpose(0, 2, 3, 1).reshape(40, 3)
    wanted = cross_entropy_of(rows, labels.ravel()).reshape(2, 4, 5)
    out = cross_entropy(Tensor(logits), labels, reduction="none")
    expect(out, wanted, call='cross_entropy(x (2, 3, 4, 5), y, "none")')
    expect(cross_entropy(Tensor(logits), labels), wanted.mean(), call="cross_entropy(x, y)")


@asks("functionality", step=4, of="cross_entropy", hint="log-softmax first: the input is logits")
def test_cross_entropy_by_hand(rng):
    """Measure logits [2, 0, -1] with label 0, an even guess among 10 classes, and random rows."""
    expect(cross_entropy(Tensor([[2.0, 0.0, -1.0]]), [0]), 0.169846, call="cross_entropy(x, [0])")
    even = cross_entropy(Tensor(np.zeros((4, 10))), [0, 3, 5, 9])
    expect(even, math.log(10), call="cross_entropy of an even guess")
    logits, labels = rng.normal(0, 3, size=(7, 4)), rng.integers(0, 4, size=7)
    values = cross_entropy_of(logits, labels)
    expect(cross_entropy(Tensor(logits), labels), values.mean(), call="cross_entropy(x, y)")
    out = cross_entropy(Tensor(logits), labels, reduction="sum")
    expect(out, values.sum(), call='cross_entropy(x, y, reduction="sum")')


@asks("functionality", step=4, of="cross_entropy", hint="never the log of a rounded probability")
def test_cross_entropy_at_the_extremes():
    """Measure float32 logits of ±10,000: finite, exact, without a warning."""
    logits = np.array([[1e4, -1e4], [1e4, -1e4], [-1e4, -1e4]], dtype=np.float32)
    values, warnings = WATCH.warned("cross_entropy", logits, np.array([0, 1, 0]))
    expect(values, [0, 2e4, math.log(2)], call="cross_entropy(±10,000)")
    expect_equal(warnings, [], call="cross_entropy(±10,000): warnings")


@asks("functionality", step=4, of="cross_entropy", hint="(1 - ε) on the truth, ε spread over all")
def test_label_smoothing(rng):
    """Measure with label_smoothing 0.2, some labels ignored, and with probabilities as targets."""
    logits, labels = rng.normal(size=(6, 4)), np.array([0, 1, 2, 3, -100, 1])
    rows = np.array([log_probabilities_of(row) for row in logits])
    kept = [(row, y) for row, y in zip(rows, labels, strict=True) if y >= 0]
    wanted = sum(-0.8 * row[y] - 0.2 * row.mean() for row, y in kept) / 5
    out = cross_entropy(Tensor(logits), labels, label_smoothing=0.2)
    expect(out, wanted, call="cross_entropy(…, label_smoothing=0.2)")
    shares = rng.dirichlet(np.ones(4), size=6)
    out = cross_entropy(Tensor(logits), Tensor(shares))
    expect(out, -(shares * rows).sum(axis=1).mean(), call="cross_entropy(x, probabilities)")
    out = cross_entropy(Tensor(logits), shares, label_smoothing=0.2)
    wanted = -((0.8 * shares + 0.05) * rows).sum(axis=1).mean()
    expect(out, wanted, call="cross_entropy(x, probabilities, label_smoothing=0.2)")


@asks("functionality", step=4, of="cross_entropy", hint="by_rows checks what a label may be")
def test_labels_that_are_no_classes():
    """Give label 3 of 3 classes, label -1, label 0.5, and labels of shape (2, 1)."""
    x = Tensor(np.zeros((2, 3)))
    expect(cross_entropy(x, [0, 2]), math.log(3), call="cross_entropy(x, [0, 2])")
    for labels, words in (([0, 3], [3]), ([-1, 0], [-1]), ([[0], [1]], ["(2, 3)", "(2, 1)"])):
        call = f"cross_entropy(x, {labels})"
        expect_raises((ValueError, IndexError), cross_entropy, x, labels, call=call, mentions=words)
    refused = (ValueError, TypeError)
    expect_raises(refused, cross_entropy, x, [0.0, 0.5], call="cross_entropy(x, [0.0, 0.5])")


@asks("functionality", step=5, of="bce_values", hint="minus, both terms, and logs of at least -100")
def test_bce_by_hand():
    """Measure p = 0.8 against yes and no, p = 1 against yes, p = 0 against yes."""
    p, t = np.array([0.8, 0.8, 1.0, 0.0], dtype=np.float32), np.array([1.0, 0.0, 1.0, 1.0])
    values, warnings = WATCH.warned("binary_cross_entropy", p, t)
    expect(values, [0.2231435, 1.609438, 0, 100], call='binary_cross_entropy(p, t, "none")')
    expect_equal(warnings, [], call="binary_cross_entropy: warnings")
    tiny = binary_cross_entropy(Tensor([1e-9]), Tensor([0.0]))
    expect(tiny, 1e-9, call="binary_cross_entropy(1e-9, 0)", atol=0)


@asks("functionality", step=5, of="binary_cross_entropy", hint="logits belong to the other loss")
def test_probabilities_are_checked():
    """Give binary_cross_entropy a probability, then a logit of 2.5."""
    expect(binary_cross_entropy([0.5], [1]), math.log(2), call="binary_cross_entropy(0.5, 1)")
    call, words = "binary_cross_entropy(2.5, 1)", [2.5]
    expect_raises(ValueError, binary_cross_entropy, [2.5], [1], call=call, mentions=words)


@asks("functionality", step=5, of="bce_with_logits_values", hint="compare each of the three terms")
def test_bce_with_logits(rng):
    """Measure random logits against targets between 0 and 1."""
    x, t = rng.normal(0, 3, size=(5, 4)), rng.uniform(size=(5, 4))
    wanted = each(bce_of, x, t)
    out = binary_cross_entropy_with_logits(Tensor(x), Tensor(t))
    expect(out, wanted.mean(), call="binary_cross_entropy_with_logits(x, t)")
    out = binary_cross_entropy_with_logits(Tensor(x), Tensor(t), reduction="none")
    expect(out, wanted, call='binary_cross_entropy_with_logits(…, "none")')


@asks("functionality", step=5, of="bce_with_logits_values", hint="e is raised to -|x| only")
def test_bce_with_logits_at_the_extremes():
    """Measure float32 logits of ±20 and ±10,000: nothing overflows, nothing rounds to zero."""
    x = np.array([1e4, -1e4, 1e4, -1e4, 20, -20], dtype=np.float32)
    t = np.array([1, 0, 0, 1, 1, 0], dtype=np.float32)
    values, warnings = WATCH.warned("binary_cross_entropy_with_logits", x, t)
    small = math.log1p(math.exp(-20))
    wanted = [0, 0, 1e4, 1e4, small, small]
    expect(values, wanted, call="binary_cross_entropy_with_logits(±10,000)", atol=1e-15)
    expect_equal(warnings, [], call="binary_cross_entropy_with_logits: warnings")


@asks("functionality", step=4, of="Loss.forward", hint="hand the remembered settings on")
def test_objects_remember_their_settings(rng):
    """Make losses with settings and call them."""
    x, y = rng.normal(size=(6, 4)), np.array([0, 1, 2, 3, 9, 1])
    rows = np.array([log_probabilities_of(row) for row in x])
    kept = [-0.9 * rows[i, k] - 0.1 * rows[i].mean() for i, k in enumerate(y) if k != 9]
    loss = CrossEntropyLoss(ignore_index=9, reduction="sum", label_smoothing=0.1)
    expect(loss(Tensor(x), y), np.sum(kept), call="CrossEntropyLoss(…)(x, y)")
    loss = NLLLoss(ignore_index=9, reduction="sum")
    wanted = -sum(rows[i, k] for i, k in enumerate(y) if k != 9)
    expect(loss(Tensor(rows), y), wanted, call="NLLLoss(…)(x, y)")
    d, zero = np.array([0.5, -3.0]), Tensor(np.zeros(2))
    expect(HuberLoss(delta=2.0)(Tensor(d), zero), 2.0625, call="HuberLoss(delta=2)(p, t)")
    expect(MSELoss(reduction="sum")(Tensor(d), zero), 9.25, call='MSELoss(reduction="sum")(p, t)')
    expect(L1Loss(reduction="none")(Tensor(d), zero), [0.5, 3], call='L1Loss(reduction="none")')
    out = BCEWithLogitsLoss(reduction="sum")(Tensor(d), zero)
    expect(out, bce_of(0.5, 0) + bce_of(-3, 0), call='BCEWithLogitsLoss(reduction="sum")')


@asks("integration", step=4, of="cross_entropy", hint="logits in, log-softmax inside, the mean out")
def test_the_loss_of_a_network(rng):
    """Compute the loss of relu(x W) V in float32, from labels in a Tensor."""
    x, w, v = (rng.normal(size=s).astype(np.float32) for s in ((8, 5), (5, 6), (6, 3)))
    y = rng.integers(0, 3, size=8)
    logits = relu(Tensor(x) @ Tensor(w)) @ Tensor(v)
    wanted = cross_entropy_of(np.maximum(x @ w, 0) @ v, y)
    loss = CrossEntropyLoss()(logits, Tensor(y))
    expect(loss, wanted.mean(), call="CrossEntropyLoss()(logits, y)", dtype=np.float32, rtol=1e-4)
    parts = nll_loss(log_softmax(logits, axis=1), y)
    expect(parts, wanted.mean(), call="nll_loss(log_softmax(logits), y)", rtol=1e-4)
    shares = softmax(logits, axis=1)
    expect_equal(shares.shape, (8, 3), call="softmax(logits).shape")


@asks("integration", step=5, of="bce_values", hint="compute with tensors; .data leaves the graph")
def test_losses_take_part_in_the_graph():
    """Call each loss with predictions that require grad: the result must require it too."""
    x = Tensor([[0.2, 0.7], [0.9, 0.4]], requires_grad=True)
    t, y = Tensor([[0.0, 1.0], [1.0, 1.0]]), [1, 0]
    for name, loss, targets in (
        ("mse_loss", mse_loss, t),
        ("l1_loss", l1_loss, t),
        ("huber_loss", huber_loss, t),
        ("binary_cross_entropy", binary_cross_entropy, t),
        ("binary_cross_entropy_with_logits", binary_cross_entropy_with_logits, t),
        ("nll_loss", nll_loss, y),
        ("cross_entropy", cross_entropy, y),
    ):
        out = loss(x, targets)
        expect_equal(out.shape, (), call=f"{name}(x, targets).shape")
        call = f"{name}(x, targets).requires_grad"
        expect_true(out.requires_grad is True, call=call, expected="True", got="False")


@asks(
    "performance", step=3, of="nll_loss", hint="index all rows at once; no loop, no one-hot array"
)
def test_cross_entropy_works_on_whole_arrays(rng):
    """Measure 20,000 rows of 10 classes, compared with the same passes in NumPy."""
    x, y = rng.normal(size=(20_000, 10)).astype(np.float32), rng.integers(0, 10, size=20_000)
    rows = np.arange(20_000)

    def passes():
        shifted = x - x.max(axis=1, keepdims=True)
        return -(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))[rows, y].mean()

    ratio = timed(cross_entropy, Tensor(x), Tensor(y)) / timed(passes)
    expect_at_most(ratio, 6, call="cross_entropy(x, y)", what="a multiple of NumPy's time")
