"""Checkpoint 16: can I prune, factor and distil a model?

Passing proves that zeros and bytes are counted honestly, that the right weights go and stay away
through training, that units are really removed, that a low rank loses what it must and no more,
and that a student learns from a teacher who learns nothing.
"""

import numpy as np

from checkpoints.feedback import (
    asks,
    expect,
    expect_at_most,
    expect_equal,
    expect_true,
    probe,
    timed,
)
from tinytorch.core.compression import (
    DistillationLoss,
    Pruner,
    cubic_sparsity,
    factor_linear,
    from_csr,
    global_masks,
    low_rank_error,
    low_rank_factors,
    magnitude_mask,
    prune_units,
    remove_units,
    sparsity,
    to_csr,
    unit_mask,
)
from tinytorch.core.layers import MLP, Linear
from tinytorch.core.tensor import Tensor

WORK = probe('''
import numpy as np
from tinytorch.core.activations import ReLU
from tinytorch.core.compression import DistillationLoss, Pruner, cubic_sparsity, distillation_step
from tinytorch.core.compression import prune_units, sparsity
from tinytorch.core.layers import MLP, Dropout, Linear, Module, Sequential
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.optimizers import SGD, Adam
from tinytorch.core.tensor import Tensor, manual_seed
from tinytorch.core.training import Trainer


def linear(weight, bias=None):
    """A layer with these numbers."""
    weight = np.asarray(weight, np.float32)
    layer = Linear(*weight.shape[::-1], bias=bias is not None)
    layer.weight.data = weight.copy()
    if bias is not None:
        layer.bias.data = np.asarray(bias, np.float32).copy()
    return layer


def chain(*layers):
    return Sequential(*layers)


def three_layers(arrays):
    """Three layers with a ReLU between them, and a dropout that is switched off."""
    first, second, third = (linear(*arrays[i : i + 2]) for i in (0, 2, 4))
    return Sequential(first, ReLU(), Dropout(0.1), second, ReLU(), third).eval()


def steps_with_masks(scope, x, y):
    """Train, prune half, train on with momentum and decay; return weights before, after, masks."""
    manual_seed(0)
    model = MLP(x.shape[1], [6], 3)
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    trainer = Trainer(model, CrossEntropyLoss(), optimizer)
    trainer.fit([(x, y)], epochs=3, verbose=False)
    pruner = Pruner(model, scope)
    pruner.prune(0.5)
    before = [w.numpy().copy() for w in pruner.weights.values()]
    trainer.fit([(x, y)], epochs=4, verbose=False, callbacks=[pruner])
    after = [w.numpy().copy() for w in pruner.weights.values()]
    return before, after


def scheduled(every, count):
    """Follow a schedule of tenths; between steps all weights move. Return sparsities."""
    layer, seen = Linear(10, 10), []
    pruner = Pruner(layer, schedule=lambda step: min(0.1 * step, 0.6), every=every)
    for _ in range(count):
        layer.weight.data = layer.weight.data + 0.01
        pruner.on_step_end(None, 0.0)
        seen.append(sparsity(layer))
    return seen


def prunes_after_infinity():
    """Prune, let a weight become infinite, enforce; return the weights."""
    layer = linear([[1.0, 2.0, 3.0, 4.0]])
    pruner = Pruner(layer)
    pruner.prune(0.5)
    layer.weight.data[0, 0] = np.inf
    pruner.enforce()
    return layer.weight.numpy()


def learn(x, y, share, epochs):
    """Train a network; prune and fine-tune it; return the shares of right answers and of zeros."""
    manual_seed(0)
    model = MLP(x.shape[1], [32], int(y.max()) + 1)
    data = [(x[i : i + 50], y[i : i + 50]) for i in range(0, len(x), 50)]
    right, pruner = [], None
    for callbacks in ([], [Pruner(model)]):
        for pruner in callbacks:
            pruner.prune(share)
        trainer = Trainer(model, CrossEntropyLoss(), Adam(model.parameters(), lr=0.01))
        trainer.fit(data, epochs=epochs, verbose=False, callbacks=callbacks)
        right.append(model(Tensor(x)).numpy())
    return right, [p.numpy() for p in model.parameters()]


class Teacher(Module):
    """Logits with dropout before them, and a note of the mode in which it answered."""

    def __init__(self):
        self.drop, self.layer, self.modes = Dropout(0.5), Linear(4, 3), []

    def forward(self, x):
        self.modes.append(self.training)
        self.recorded = self.layer(self.drop(x))
        return self.recorded


def taught(x, steps, training):
    """Teach a student by answers alone; return what is needed to judge both."""
    manual_seed(0)
    teacher, student = Teacher(), Linear(4, 3)
    teacher.train(training)
    before = teacher.layer.weight.numpy().copy()
    loss, optimizer = DistillationLoss(2.0, alpha=1.0), SGD(student.parameters(), lr=1.0)
    labels = np.zeros(len(x), int)
    losses = [distillation_step(student, teacher, loss, optimizer, Tensor(x), labels)
              for _ in range(steps)]
    return {
        "losses": losses,
        "teacher": [before, teacher.layer.weight.numpy().copy()],
        "gradient": teacher.layer.weight.grad is not None,
        "recorded": bool(teacher.recorded.requires_grad),
        "modes": teacher.modes[:1],
        "training": [teacher.training, teacher.drop.training],
        "student": student(Tensor(x)).numpy(),
        "answers": teacher.eval()(Tensor(x)).numpy(),
    }


def masks_of(size):
    """Prepare weights; return a function that ranks them together."""
    from tinytorch.core.compression import global_masks

    rng = np.random.default_rng(0)
    weights = {str(i): rng.standard_normal((size, 100)).astype(np.float32) for i in range(4)}

    def run():
        global_masks(weights, 0.8)

    return run


def bytes_of(hidden, share):
    """The bytes of all parameters of a network, without some of its units if asked."""
    model = MLP(256, [hidden, hidden], 10)
    model = prune_units(model, share) if share else model
    return sum(p.nbytes for p in model.parameters())
''')

DENSE = [[5, 0, 0, 7], [0, 0, 0, 0], [0, 6, 0, 0]]


def probabilities(logits, temperature):
    """Softmax at a temperature, in float64."""
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def divergence(teacher, student, temperature):
    """T² times the mean over examples of the Kullback-Leibler divergence."""
    q, p = (probabilities(logits, temperature) for logits in (teacher, student))
    return temperature**2 * (q * (np.log(q) - np.log(p))).sum() / len(q)


def expect_smallest_gone(mask, weight, share, call):
    """Require that a mask drops exactly so many entries, none larger than one that stays."""
    dropped, kept = np.abs(weight[~mask]), np.abs(weight[mask])
    expect_equal(dropped.size, round(share * weight.size), call=f"entries dropped by {call}")
    smallest = bool(dropped.max(initial=0) <= kept.min(initial=np.inf))
    expect_true(smallest, call=call, expected="the smallest dropped", got="larger ones")


@asks("imports", step=3, of="Pruner", hint="each name comes from one step; run tito test 16")
def test_names_are_there():
    """Use each part once on a small network."""
    model = MLP(4, [6], 3)
    expect_equal(sparsity(model), 0.0, call="sparsity(MLP(4, [6], 3))")
    Pruner(model).prune(0.5)
    expect_equal(sparsity(model), 0.5, call="sparsity after Pruner(model).prune(0.5)")
    smaller = prune_units(model, 0.5)
    expect_equal(smaller[0].weight.shape, (3, 4), call="prune_units(model, 0.5)[0].weight.shape")
    expect_equal(len(factor_linear(Linear(4, 3), 2)), 2, call="len(factor_linear(layer, 2))")
    loss = DistillationLoss()(Tensor([[1.0, 2.0]]), Tensor([[2.0, 1.0]]), [1])
    expect_equal(loss.shape, (), call="DistillationLoss()(…).shape")


@asks("functionality", step=1, of="sparsity", hint="zeros of all weights over all their numbers")
def test_zeros_are_counted():
    """Count the zeros of two layers of different sizes; biases are not weights."""
    model = WORK.chain(WORK.linear([[0, 0, 0], [1, 0, 2]], [0, 0]), WORK.linear([[3, 4]], [0]))
    expect(sparsity(model), 4 / 8, call="sparsity(model with 4 zeros of 8)")


@asks("functionality", step=1, of="to_csr", hint="values, their columns, and where each row begins")
def test_csr_by_hand():
    """Write a (3, 4) matrix with three non-zeros and an empty row in CSR, and read it again."""
    sparse = to_csr(np.array(DENSE, np.float32))
    expect(sparse.values, [5, 7, 6], call="to_csr(matrix).values", dtype=np.float32)
    expect(sparse.columns, [0, 3, 1], call="to_csr(matrix).columns", dtype=np.int32)
    expect(sparse.starts, [0, 2, 2, 3], call="to_csr(matrix).starts", dtype=np.int32)
    expect_equal(sparse.nbytes, 12 + 12 + 16, call="to_csr(matrix).nbytes")
    expect(from_csr(sparse), DENSE, call="from_csr(to_csr(matrix))")


@asks("functionality", step=2, of="magnitude_mask", hint="rank magnitudes; how many of equals go?")
def test_the_smallest_magnitudes_go(rng):
    """Drop 50% of [1, -2, 3, -4], 70% of ten equal numbers, and 30% of random ones."""
    call = "magnitude_mask([1, -2, 3, -4], 0.5)"
    expect(magnitude_mask(np.array([1.0, -2, 3, -4]), 0.5), [False, False, True, True], call=call)
    equal = magnitude_mask(np.ones((2, 5)), 0.7)
    expect_equal(int(equal.sum()), 3, call="kept by magnitude_mask(ten equal numbers, 0.7)")
    weight = rng.normal(size=(5, 4, 3))
    for share in (0.0, 0.58, 0.9):
        mask = magnitude_mask(Tensor(weight), share)
        call = f"magnitude_mask(weight of shape (5, 4, 3), {share})"
        expect_equal(mask.shape, (5, 4, 3), call=call + ".shape")
        expect_smallest_gone(mask, weight, share, call)


@asks("functionality", step=2, of="global_masks", hint="one ranking of all weights, then cut")
def test_all_weights_are_ranked_together(rng):
    """Drop 60% of three weights whose sizes and magnitudes differ."""
    shapes = {"a": (4, 5), "b": (3, 2, 2), "c": (6, 3)}
    scales = {"a": 1.0, "b": 0.1, "c": 10.0}
    weights = {n: scales[n] * rng.normal(size=shape) for n, shape in shapes.items()}
    masks = global_masks(weights, 0.6)
    for name, shape in shapes.items():
        expect_equal(masks[name].shape, shape, call=f"global_masks(…)[{name!r}].shape")
    mask = np.concatenate([masks[name].ravel() for name in shapes])
    flat = np.concatenate([w.ravel() for w in weights.values()])
    expect_smallest_gone(mask, flat, 0.6, "global_masks(weights, 0.6)")


@asks("functionality", step=3, of="cubic_sparsity", hint="the cube of the share that is left")
def test_the_rise_is_cubic():
    """From 0.1 to 0.9 between steps 10 and 30: before, at the middle, at the end and after."""
    for step, wanted in ((0, 0.1), (10, 0.1), (15, 0.5625), (20, 0.8), (30, 0.9), (99, 0.9)):
        got = cubic_sparsity(step, 0.9, 20, initial=0.1, start=10)
        expect(got, wanted, call=f"cubic_sparsity({step}, 0.9, 20, initial=0.1, start=10)")


@asks("functionality", step=3, of="Pruner.enforce", hint="what moves a weight that was 0?")
def test_masks_survive_training(rng):
    """Prune half of a network, then train on with momentum and weight decay."""
    x, y = rng.normal(size=(20, 5)).astype(np.float32), rng.integers(0, 3, 20)
    for scope in ("global", "layer"):
        before, after = WORK.steps_with_masks(scope, x, y)
        call = f"weights after Pruner(model, {scope!r}) and 4 steps"
        zeros = [int((w == 0).sum()) for w in before]
        total = f"zeros of {[w.size for w in before]} weights, {scope!r}"
        if scope == "layer":
            expect_equal(zeros, [15, 9], call=total)
        expect_equal(sum(zeros), 24, call="all " + total)
        pairs = zip(before, after, strict=True)
        held = [int(((new == 0) & (old == 0)).sum()) for old, new in pairs]
        expect_equal(held, zeros, call=f"zeros 4 steps after prune, {scope!r}")
        for old, new in zip(before, after, strict=True):
            expect(new == 0, old == 0, call=call + ": which are zero")
            moved = bool((np.abs(new - old)[old != 0] > 0).all())
            expect_true(moved, call=call, expected="all others to be trained", got="some unmoved")
    expect(WORK.prunes_after_infinity(), [[0, 0, 3, 4]], call="enforce() after a weight became inf")


@asks("functionality", step=3, of="Pruner.on_step_end", hint="count; at every n-th step look it up")
def test_a_schedule_is_followed():
    """Follow a schedule at every step and at every third; the zeros hold in between."""
    expect(WORK.scheduled(1, 4), [0.1, 0.2, 0.3, 0.4], call="sparsity at steps 1 to 4, every=1")
    wanted = [0, 0, 0.3, 0.3, 0.3, 0.6, 0.6]
    expect(WORK.scheduled(3, 7), wanted, call="sparsity at steps 1 to 7, every=3")


@asks("functionality", step=4, of="unit_mask", hint="the length of each row, over all other axes")
def test_the_shortest_rows_go():
    """Drop half of four units of a linear layer, all but one of three, and channels of a kernel."""
    weight = np.array([[3.0, 0], [-3, -3], [1, 1], [0, 4]])
    expect(unit_mask(weight, 0.5), [False, True, False, True], call="unit_mask(weight, 0.5)")
    expect(unit_mask(np.diag([1.0, 3, 2]), 0.99), [0, 1, 0], call="unit_mask(3 units, 0.99)")
    kernel = np.ones((3, 2, 2, 2)) * np.reshape([2.0, -1, 3], (3, 1, 1, 1))
    expect(unit_mask(kernel, 0.3), [1, 0, 1], call="unit_mask(kernel (3, 2, 2, 2), 0.3)")


@asks("functionality", step=4, of="remove_units", hint="rows, their biases, and who reads them")
def test_removed_units_are_as_if_zero(rng):
    """Remove two of five units, with and without biases; compare with zeros in their place."""
    keep = np.array([True, False, True, True, False])
    for biased in (True, False):
        w, v = rng.normal(size=(5, 3)), rng.normal(size=(2, 5))
        b, c = (rng.normal(size=5), rng.normal(size=2)) if biased else (None, None)
        first, second = remove_units(WORK.linear(w, b), WORK.linear(v, c), keep)
        expect(first.weight, w[keep], call="first.weight after remove_units")
        expect(second.weight, v[:, keep], call="second.weight after remove_units")
        expect_equal(first.out_features, 3, call="first.out_features")
        x = rng.normal(size=(4, 3))
        hidden = x @ w.T + (b if biased else 0)
        wanted = (hidden * keep) @ v.T + (c if biased else 0)
        call = "second(first(x)) after remove_units" + ("" if biased else ", without biases")
        expect(second(first(Tensor(x))), wanted, call=call, rtol=1e-4, atol=1e-5)


@asks("functionality", step=4, of="prune_units", hint="each pair takes what the last one left")
def test_a_whole_chain_gets_smaller(rng):
    """Remove half of the units of each hidden layer; the given network stays as it was."""
    w1 = rng.normal(size=(8, 6)) + 3 * np.reshape([0, 1, 0, 1, 1, 0, 1, 0], (8, 1))
    w2 = rng.normal(size=(4, 8)) * 0.1
    w2[:, [1, 3, 4, 6]] += np.reshape([1.0, 2, 3, 4], (4, 1))  # what stays says: rows 2 and 3
    w2[:, [0, 2, 5, 7]] += np.reshape([40.0, 30, 2, 1], (4, 1))  # what goes says: rows 0 and 1
    w3, (b1, b2, b3) = rng.normal(size=(3, 4)), (rng.normal(size=n) for n in (8, 4, 3))
    model = WORK.three_layers([w1, b1, w2, b2, w3, b3])
    smaller = prune_units(model, 0.5)
    shapes = [p.shape for p in smaller.parameters()]
    call = "shapes of prune_units(a chain of 6, 8, 4 and 3, 0.5)"
    expect_equal(shapes, [(4, 6), (4,), (2, 4), (2,), (3, 2), (3,)], call=call)
    expect(model[0].weight, w1, call="first weight of the given model")
    keep, again, x = [1, 3, 4, 6], [2, 3], rng.normal(size=(5, 6))
    hidden = np.maximum(x @ w1[keep].T + b1[keep], 0)
    hidden = np.maximum(hidden @ w2[np.ix_(again, keep)].T + b2[again], 0)
    wanted = hidden @ w3[:, again].T + b3
    expect(smaller(Tensor(x)), wanted, call="the smaller network", rtol=1e-4, atol=1e-5)


@asks("functionality", step=5, of="low_rank_factors", hint="the largest singular values, half each")
def test_no_matrix_of_this_rank_is_closer(rng):
    """Factor diag(4, 3, 1) at rank 2, and random matrices at every rank."""
    left, right = low_rank_factors(np.diag([4.0, 3, 1]), 2)
    expect(left @ right, np.diag([4, 3, 0]), call="left @ right of diag(4, 3, 1), rank 2")
    error = low_rank_error(np.diag([4.0, 3, 1]), 2)
    expect(error, 1 / np.sqrt(26), call="low_rank_error(diag(4, 3, 1), 2)")
    weight = rng.normal(size=(6, 4)).astype(np.float32)
    sigma = np.linalg.svd(weight.astype(np.float64), compute_uv=False)
    for rank in (1, 3, 4):
        left, right = low_rank_factors(weight, rank)
        shapes = left.shape, right.shape
        expect_equal(shapes, ((6, rank), (rank, 4)), call="shapes of the factors")
        missing = np.linalg.norm(weight - left @ right)
        wanted = np.sqrt((sigma[rank:] ** 2).sum())
        expect(missing, wanted, call=f"‖W - left @ right‖, rank {rank}", rtol=1e-4, atol=1e-5)
        got = low_rank_error(weight, rank)
        expect(got, wanted / np.linalg.norm(sigma), call=f"low_rank_error(W, {rank})", atol=1e-6)
        lengths = (left**2).sum(0), (right**2).sum(1)
        expect(lengths, [sigma[:rank]] * 2, call="squared lengths of both factors", rtol=1e-4)


@asks("functionality", step=5, of="factor_linear", hint="narrow first, then wide with the bias")
def test_a_layer_becomes_two(rng):
    """Factor Linear(5, 3) at full rank: the same answers; at rank 1: the best ones."""
    w, b = rng.normal(size=(3, 5)), rng.normal(size=3)
    x = rng.normal(size=(4, 5))
    for bias in (b, None):
        pair = factor_linear(WORK.linear(w, bias), 3)
        wanted = x @ w.T + (0 if bias is None else b)
        expect(pair(Tensor(x)), wanted, call="factor_linear(layer, 3)(x)", rtol=1e-4, atol=1e-5)
    thin = factor_linear(WORK.linear(w, b), 1)
    shapes = [p.shape for p in thin.parameters()]
    expect_equal(shapes, [(1, 5), (3, 1), (3,)], call="shapes of factor_linear(Linear(5, 3), 1)")


@asks("functionality", step=6, of="DistillationLoss.soft", hint="both at T, and T² in front")
def test_soft_answers(rng):
    """Compare with the formula at several temperatures and shares, also for huge logits."""
    teacher, student = rng.normal(size=(5, 4)) * 3, rng.normal(size=(5, 4)) * 3
    labels = rng.integers(0, 4, 5)
    hard = -np.log(probabilities(student, 1.0)[np.arange(5), labels]).mean()
    for temperature, alpha in ((1.0, 1.0), (4.0, 1.0), (2.0, 0.25), (3.0, 0.0)):
        wanted = alpha * divergence(teacher, student, temperature) + (1 - alpha) * hard
        loss = DistillationLoss(temperature, alpha)
        call = f"DistillationLoss({temperature}, {alpha})(student, teacher, labels)"
        expect(loss(Tensor(student), Tensor(teacher), labels), wanted, call=call, rtol=1e-4)
    huge = np.array([[3000.0, 0]])
    got = DistillationLoss(1.0, 1.0)(Tensor(huge), Tensor(huge), [0])
    expect(got, 0.0, call="DistillationLoss(1, 1)(x, x, [0]) for logits of 3000")


@asks("functionality", step=6, of="DistillationLoss.soft", hint="the teacher has no gradient")
def test_gradients_reach_only_the_student(rng):
    """Send the soft loss back when both logits require a gradient."""
    student, teacher = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    learns, fixed = (Tensor(logits, requires_grad=True) for logits in (student, teacher))
    DistillationLoss(4.0, 1.0)(learns, fixed, [0] * 3).backward()
    wanted = 4 * (probabilities(student, 4.0) - probabilities(teacher, 4.0)) / 3
    expect(learns.grad, wanted, call="gradient of the student's logits, T = 4", rtol=1e-4)
    expect_equal(fixed.grad, None, call="gradient of the teacher's logits")


@asks("integration", step=6, of="distillation_step", hint="evaluation, no record, then as it was")
def test_a_student_learns_and_the_teacher_does_not(rng):
    """Teach a linear student for 100 steps; the teacher has a dropout and a mode to give back."""
    x = rng.normal(size=(16, 4)).astype(np.float32)
    for training in (True, False):
        facts = WORK.taught(x, 100, training)
        expect(facts["teacher"][1], facts["teacher"][0], call="the teacher's weight afterwards")
        call = "the teacher"
        expect_equal(facts["gradient"], False, call=f"{call} has a gradient")
        expect_equal(facts["recorded"], False, call=f"{call}'s answer requires a gradient")
        expect_equal(facts["modes"], [False], call=f"training mode while {call} answers")
        expect_equal(facts["training"], [training] * 2, call=f"training mode of {call} afterwards")
        gap = divergence(facts["answers"], facts["student"], 2.0)
        expect_at_most(gap, facts["losses"][0] / 20, call="the student", what="divergence left")


@asks("integration", step=3, of="Pruner.prune", hint="prune, then train on with the masks enforced")
def test_a_sparse_network_keeps_its_accuracy(rng):
    """Train on four clouds of points, take 80% of the weights away, and train on."""
    centres = rng.permutation(np.eye(4, 10)) * 3
    y = np.arange(200) % 4
    x = (centres[y] + rng.normal(size=(200, 10)) * 0.6).astype(np.float32)
    outputs, parameters = WORK.learn(x, y, 0.8, 8)
    dense, sparse = ((out.argmax(axis=1) == y).mean() for out in outputs)
    weights = [p for p in parameters if p.ndim == 2]
    zeros = sum(int((w == 0).sum()) for w in weights)
    expect_equal(zeros, round(0.8 * 448), call="zeros of 448 weights at the end")
    expect_at_most(dense - sparse, 0.03, call="80% sparse, fine-tuned", what="accuracy lost")
    hidden = np.maximum(x @ parameters[0].T + parameters[1], 0)
    wanted = hidden @ parameters[2].T + parameters[3]
    expect(outputs[1], wanted, call="answers of the sparse network", rtol=1e-3, atol=1e-3)


@asks("performance", step=2, of="global_masks", hint="sort once; no loop over the weights")
def test_ranking_is_one_sort():
    """Rank 40,000 weights, against one stable sort of as many in plain NumPy."""
    values = np.random.default_rng(0).random(40_000).astype(np.float32)
    reference = timed(lambda: np.argsort(values, kind="stable"), repeat=3)
    cost = timed(WORK.masks_of(100), repeat=3) / reference
    expect_at_most(cost, 6, call="global_masks of 40,000 weights", what="time against one sort")


@asks("performance", step=4, of="prune_units", hint="smaller matrices, not matrices with zeros")
def test_removed_units_take_no_memory():
    """Count the bytes of a network of 2 × 512 units, and without three quarters of them."""
    whole, part = (WORK.bytes_of(512, share) for share in (0, 0.75))
    expect_equal(whole, 4 * (512 * 257 + 512 * 513 + 10 * 513), call="bytes of the whole network")
    expect_at_most(part / whole, 0.13, call="prune_units(model, 0.75)", what="share of the bytes")
