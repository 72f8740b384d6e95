"""Passing proves that the optimizers step exactly as published, in place, and at a known cost.

Every path of parameters is compared with the formulas written out below in float64; every
hyperparameter is on in at least one test; saving, clipping and the schedules are exact as well.
"""

import math

import numpy as np

from checkpoints.feedback import (
    asks,
    expect,
    expect_at_most,
    expect_equal,
    expect_raises,
    probe,
    timed,
)
from tinytorch.core.layers import Linear
from tinytorch.core.losses import MSELoss
from tinytorch.core.optimizers import (
    SGD,
    Adam,
    AdamW,
    CosineAnnealingLR,
    LinearWarmup,
    OneCycleLR,
    Optimizer,
    RMSprop,
    StepLR,
    clip_grad_norm_,
    state_nbytes,
)
from tinytorch.core.tensor import Tensor

DRIVER = probe('''
import numpy as np

from tinytorch.core import optimizers
from tinytorch.core.tensor import Tensor


def follow(name, start, gradients, options):
    """Make a step for each gradient; return where the parameter was after each."""
    p = Tensor(start, requires_grad=True)
    optimizer = getattr(optimizers, name)([p], **options)
    path = []
    for gradient in gradients:
        p.grad = Tensor(gradient)
        optimizer.step()
        path.append(p.numpy().copy())
    return np.stack(path)


def rates(name, count, lr, options):
    """The learning rate that the optimizer uses at each of `count` moments."""
    optimizer = optimizers.SGD([Tensor([0.0], requires_grad=True)], lr=lr)
    scheduler = getattr(optimizers, name)(optimizer, **options)
    seen = []
    for _ in range(count):
        seen.append(float(optimizer.param_groups[0]["lr"]))
        scheduler.step()
    return seen


def fit(layer, loss_function, optimizer, x, y, steps):
    """Train on one batch for some steps."""
    x, y = Tensor(x), Tensor(y)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_function(layer(x), y).backward()
        optimizer.step()


def many(count, size):
    """Many small parameters, each with a gradient, in one Adam."""
    params = [Tensor(np.ones(size, dtype=np.float32), requires_grad=True) for _ in range(count)]
    for p in params:
        p.grad = Tensor(np.ones(size, dtype=np.float32))
    return optimizers.Adam(params)
''')


def reference_path(name, start, gradients, lr, **given):
    """Each optimizer as its paper writes it, one slow and obvious line per formula."""
    options = {"weight_decay": 0.0, "momentum": 0.0, "dampening": 0.0, "nesterov": False}
    options |= {"alpha": 0.99, "betas": (0.9, 0.999), "eps": 1e-8} | given
    decay, momentum, eps = options["weight_decay"], options["momentum"], options["eps"]
    theta, path = np.array(start, dtype=np.float64), []
    m = v = np.zeros_like(theta)
    for t, g in enumerate(np.asarray(gradients, dtype=np.float64), start=1):
        if name == "AdamW":
            theta = theta - lr * decay * theta
        else:
            g = g + decay * theta
        if name == "SGD":
            m = g if t == 1 else momentum * m + (1 - options["dampening"]) * g
            step = g + momentum * m if options["nesterov"] else (m if momentum else g)
        elif name == "RMSprop":
            v = options["alpha"] * v + (1 - options["alpha"]) * g**2
            m = momentum * m + g / (np.sqrt(v) + eps)
            step = m
        else:
            beta1, beta2 = options["betas"]
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
            step = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
        theta = theta - lr * step
        path.append(theta)
    return np.stack(path)


def compare_path(rng, name, *, lr, size=1.0, steps=12, **options):
    """Compare a random walk of the student's optimizer with the formula's."""
    start = rng.standard_normal((3, 4)).astype(np.float32)
    gradients = (size * rng.standard_normal((steps, 3, 4))).astype(np.float32)
    got = DRIVER.follow(name, start, gradients, {"lr": lr, **options})
    said = ", ".join(f"{key}={value}" for key, value in options.items())
    call = f"{name}(lr={lr}{', ' + said if said else ''}), {steps} steps"
    expect(got, reference_path(name, start, gradients, lr, **options), call=call, rtol=2e-5)


def parameter(values, gradient=None):
    """A tensor to be optimised, with a gradient as `backward` would leave it."""
    p = Tensor(values, requires_grad=True)
    if gradient is not None:
        p.grad = Tensor(gradient)
    return p


@asks(
    "imports",
    step=1,
    of="Optimizer",
    hint="`update` writes into `data` itself, against the gradient",
)
def test_every_optimizer_moves_downhill():
    """Make SGD, RMSprop, Adam and AdamW, and let each take one step."""
    for kind, name in ((SGD, "SGD"), (RMSprop, "RMSprop"), (Adam, "Adam"), (AdamW, "AdamW")):
        p = parameter([1.0, 1.0], [1.0, -1.0])
        kind([p], lr=0.01).step()
        moved = np.sign(p.numpy() - 1)
        expect(moved, [-1, 1], call=f"the sign of the step of {name}.update(…)")
    groups = Optimizer([parameter([1.0]), parameter([2.0])]).param_groups
    expect_equal(len(groups), 1, call="the number of groups of Optimizer([p, q])")


@asks("imports", step=8, of="StepLR", hint="a schedule writes its rate into every group's 'lr'")
def test_every_schedule_is_there():
    """Make each of the four schedules and read its first rate."""
    made = (
        (StepLR, {"step_size": 2}, 1.0),
        (CosineAnnealingLR, {"T_max": 5}, 1.0),
        (LinearWarmup, {"warmup_steps": 4, "start_factor": 0.5}, 0.5),
        (OneCycleLR, {"max_lr": 1.0, "total_steps": 10}, 0.04),
    )
    for schedule, options, first in made:
        rates = schedule(SGD([parameter([0.0])], lr=1.0), **options).get_last_lr()
        expect(rates, [first], call=f"the first rate of a schedule with {options}")


@asks("functionality", step=2, of="SGD.update", hint="against the gradient, into the data itself")
def test_sgd_by_hand():
    """Step from (1, 2) along the gradient (0.5, -1) with lr=0.1."""
    p = parameter([1.0, 2.0], [0.5, -1.0])
    SGD([p], lr=0.1).step()
    expect(p, [0.95, 2.1], call="SGD(lr=0.1).step()", dtype=np.float32)


@asks("functionality", step=2, of="SGD.update", hint="the velocity is kept from step to step")
def test_momentum_by_hand():
    """Three steps from 1 under the gradient 1, with lr=0.1 and momentum=0.9."""
    path = DRIVER.follow("SGD", [1.0], [[1.0]] * 3, {"lr": 0.1, "momentum": 0.9})
    expect(path, [[0.9], [0.71], [0.439]], call="SGD(lr=0.1, momentum=0.9), 3 steps")


@asks("functionality", step=2, of="SGD.update", hint="how does the first velocity begin?")
def test_momentum_and_dampening_follow_the_formula(rng):
    """Twelve random steps with momentum, with and without dampening."""
    compare_path(rng, "SGD", lr=0.1, momentum=0.9)
    compare_path(rng, "SGD", lr=0.1, momentum=0.8, dampening=0.3)


@asks("functionality", step=2, of="SGD.update", hint="Nesterov looks ahead along the velocity")
def test_nesterov_follows_the_formula(rng):
    """Twelve random steps with Nesterov's momentum."""
    compare_path(rng, "SGD", lr=0.1, momentum=0.9, nesterov=True)


@asks("functionality", step=2, of="SGD.update", hint="the penalty has a gradient of its own")
def test_sgd_weight_decay_follows_the_formula(rng):
    """Twelve random steps with weight decay, plain and with momentum."""
    compare_path(rng, "SGD", lr=0.1, weight_decay=0.3)
    compare_path(rng, "SGD", lr=0.1, weight_decay=0.3, momentum=0.9)


@asks("functionality", step=3, of="RMSprop.update", hint="divide by the root of the mean square")
def test_rmsprop_follows_the_formula(rng):
    """Twelve random steps of RMSprop: plain, with momentum and with weight decay."""
    compare_path(rng, "RMSprop", lr=0.01, alpha=0.9)
    compare_path(rng, "RMSprop", lr=0.01, momentum=0.9, weight_decay=0.2)


@asks("functionality", step=4, of="Adam.update", hint="both averages start at zero")
def test_first_adam_step_has_the_length_of_the_rate():
    """The first Adam step with lr=0.01 and the gradient (300, -0.2, 0.001)."""
    p = parameter([1.0, 1.0, 1.0], [300.0, -0.2, 0.001])
    Adam([p], lr=0.01).step()
    expect(p, [0.99, 1.01, 0.99], call="the first Adam(lr=0.01).step()", dtype=np.float32)


@asks("functionality", step=4, of="Adam.update", hint="read step 4's formula term by term")
def test_adam_follows_the_formula(rng):
    """Thirty random steps of Adam with its default betas, then with others."""
    compare_path(rng, "Adam", lr=0.01, steps=30)
    compare_path(rng, "Adam", lr=0.05, betas=(0.7, 0.9), eps=0.01)


@asks("functionality", step=3, of="RMSprop.update", hint="what does epsilon guard, and where?")
def test_epsilon_stands_outside_the_root(rng):
    """Steps with gradients near 1e-5, where the place of epsilon shows, in RMSprop and Adam."""
    compare_path(rng, "RMSprop", lr=0.01, size=1e-5)
    compare_path(rng, "Adam", lr=0.01, size=1e-5, eps=1e-6)


@asks("functionality", step=4, of="Adam.update", hint="decay comes in before the averages")
def test_adam_couples_weight_decay(rng):
    """Twelve random steps of Adam with weight decay."""
    compare_path(rng, "Adam", lr=0.05, weight_decay=0.5)


@asks("functionality", step=5, of="AdamW.update", hint="the averages never see the decay")
def test_adamw_decouples_weight_decay(rng):
    """One step without a gradient by hand, then twelve random steps of AdamW."""
    p = parameter([2.0, -4.0], [0.0, 0.0])
    AdamW([p], lr=0.1, weight_decay=0.5).step()
    expect(p, [1.9, -3.8], call="AdamW(lr=0.1, weight_decay=0.5).step() with gradient 0")
    compare_path(rng, "AdamW", lr=0.05, weight_decay=0.5)


@asks("functionality", step=1, of="Optimizer.step", hint="each parameter has a state of its own")
def test_parameters_do_not_share_state(rng):
    """Two parameters of one Adam, the second with its first gradient only in step 4."""
    gradients = rng.standard_normal((6, 3)).astype(np.float32)
    early, late = parameter([1.0, 2.0, 3.0]), parameter([1.0, 2.0, 3.0])
    optimizer = Adam([early, late], lr=0.1)
    for t in range(6):
        early.grad = Tensor(gradients[t])
        if t >= 3:
            late.grad = Tensor(gradients[t])
        optimizer.step()
    start = [1.0, 2.0, 3.0]
    call = "the parameter with gradients from step 1"
    expect(early, reference_path("Adam", start, gradients, 0.1)[-1], call=call)
    call = "the parameter with gradients from step 4"
    expect(late, reference_path("Adam", start, gradients[3:], 0.1)[-1], call=call)


@asks("functionality", step=1, of="Optimizer.step", hint="a parameter without a gradient stays")
def test_groups_have_their_own_options():
    """Two groups with rates 0.1 and 1, and a third parameter without a gradient."""
    slow, fast, idle = parameter([1.0], [1.0]), parameter([1.0], [1.0]), parameter([1.0])
    optimizer = SGD([{"params": [slow]}, {"params": [fast], "lr": 1.0}], lr=0.1)
    optimizer.add_param_group({"params": [idle], "lr": 1.0})
    optimizer.step()
    expect(slow, [0.9], call="the group that takes lr=0.1 from the optimizer")
    expect(fast, [0.0], call="the group with lr=1")
    expect(idle, [1.0], call="the parameter without a gradient")
    expect_equal(len(optimizer.param_groups), 3, call="len(optimizer.param_groups)")


@asks("functionality", step=1, of="Optimizer.zero_grad", hint="every parameter of every group")
def test_zero_grad_forgets_every_gradient():
    """Call zero_grad() on two groups: each .grad becomes None."""
    a, b = parameter([1.0], [5.0]), parameter([1.0], [5.0])
    SGD([{"params": [a]}, {"params": [b]}], lr=0.1).zero_grad()
    expect_equal(a.grad, None, call="the first group's .grad after zero_grad()")
    expect_equal(b.grad, None, call="the second group's .grad after zero_grad()")


@asks("functionality", step=2, of="SGD.update", hint="the gradient is only read")
def test_a_step_leaves_the_gradient_alone():
    """Step with weight decay and momentum, then look at .grad."""
    for kind, options in ((SGD, {"momentum": 0.9}), (RMSprop, {}), (Adam, {}), (AdamW, {})):
        p = parameter([3.0, 4.0], [1.0, -2.0])
        optimizer = kind([p], lr=0.1, weight_decay=0.5, **options)
        optimizer.step()
        optimizer.step()
        expect(p.grad, [1.0, -2.0], call="the gradient after two steps with weight decay")


@asks("functionality", step=1, of="Optimizer.step", hint="it may be bound later")
def test_unbound_optimizer_explains_itself():
    """Call step() on SGD(lr=0.5) made without parameters, then bind one and step."""
    optimizer, p = SGD(lr=0.5), parameter([1.0], [1.0])
    expect_raises(RuntimeError, optimizer.step, call="SGD(lr=0.5).step()", mentions=["bind"])
    optimizer.bind([p])
    optimizer.step()
    expect(p, [0.5], call="step() after bind([p])")


@asks("functionality", step=1, of="Optimizer.add_param_group", hint="refuse what cannot be meant")
def test_wrong_input_is_refused():
    """No parameters, one parameter twice, a negative rate, Nesterov without momentum."""
    p = parameter([1.0])
    expect_raises(ValueError, SGD, [p, p], lr=0.1, call="SGD([p, p])")
    expect_raises(ValueError, SGD, [], lr=0.1, call="SGD([])")
    expect_raises(ValueError, SGD, [p], lr=-1.0, call="SGD([p], lr=-1)", mentions=["-1"])
    expect_raises(ValueError, SGD, [p], lr=0.1, nesterov=True, call="SGD([p], nesterov=True)")
    expect_raises(ValueError, Adam, [p], betas=(0.9, 1.0), call="Adam([p], betas=(0.9, 1))")


@asks("functionality", step=6, of="unpack_state", hint="velocity, averages and count all travel")
def test_saved_state_continues_the_same_path(rng):
    """Five steps, save, load into a new optimizer with another rate, five more steps."""
    start = rng.standard_normal(4).astype(np.float32)
    gradients = rng.standard_normal((10, 4)).astype(np.float32)
    for kind, name, options in (
        (SGD, "SGD", {"lr": 0.1, "momentum": 0.9}),
        (Adam, "Adam", {"lr": 0.1}),
        (RMSprop, "RMSprop", {"lr": 0.01, "momentum": 0.5}),
    ):
        p = parameter(start)
        optimizer = kind([p], **options)
        for t, gradient in enumerate(gradients):
            if t == 5:
                saved = optimizer.state_dict()
                optimizer = kind([p], lr=7.0)
                optimizer.load_state_dict(saved)
            p.grad = Tensor(gradient)
            optimizer.step()
        wanted = reference_path(name, start, gradients, **options)[-1]
        expect(p, wanted, call=f"{name}: 5 steps, save, load, 5 steps", rtol=2e-5)


@asks("functionality", step=6, of="pack_state", hint="number the parameters; copy the arrays")
def test_state_dict_has_pytorchs_structure():
    """state_dict() of an Adam with two groups, before and after another step."""
    a, b, c = parameter([1.0], [1.0]), parameter([1.0, 2.0], [1.0, -1.0]), parameter([3.0])
    optimizer = Adam([{"params": [a, c]}, {"params": [b], "lr": 0.5}], lr=0.1)
    optimizer.step()
    saved = optimizer.state_dict()
    optimizer.step()
    groups = saved["param_groups"]
    call = "state_dict()['param_groups']"
    expect_equal([g["params"] for g in groups], [[0, 1], [2]], call=f"'params' in {call}")
    expect_equal([g["lr"] for g in groups], [0.1, 0.5], call=f"'lr' in {call}")
    expect_equal(sorted(saved["state"]), [0, 2], call="the numbers in state_dict()['state']")
    kept = saved["state"][2]["exp_avg"]
    expect(kept, [0.1, -0.1], call="exp_avg, saved after one step, looked at after two")
    other = Adam([parameter([1.0]), parameter([1.0])])
    expect_raises(ValueError, other.load_state_dict, saved, call="loading into other groups")


@asks("functionality", step=7, of="clip_grad_norm_", hint="all gradients are one vector")
def test_clipping_by_hand():
    """Clip the gradients [3] and [4], whose norm is 5, to 1."""
    a, b = parameter([0.0], [3.0]), parameter([0.0], [4.0])
    norm = clip_grad_norm_([a, b], 1.0)
    expect(float(norm), 5.0, call="clip_grad_norm_ returns the norm before clipping")
    expect(a.grad, [0.6], call="clip_grad_norm_ on [3]", rtol=1e-5)
    expect(b.grad, [0.8], call="clip_grad_norm_ on [4]", rtol=1e-5)


@asks("functionality", step=7, of="clip_grad_norm_", hint="short gradients are left as they are")
def test_clipping_leaves_short_gradients(rng):
    """Clip random gradients to ten times, then to a third of their norm."""
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (5,), ())]
    params = [parameter(np.zeros_like(g), g) for g in arrays]
    norm = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in arrays))
    frozen = parameter([1.0])
    for limit, scale in ((10 * norm, 1.0), (norm / 3, 1 / 3)):
        got = float(clip_grad_norm_([*params, frozen], limit))
        expect(got, norm, call="the norm that clip_grad_norm_ returns")
        for p, g in zip(params, arrays, strict=True):
            expect(p.grad, scale * g, call=f"a gradient clipped to {limit / norm:.2g} of the norm")


@asks("functionality", step=8, of="StepLR.lr_at", hint="count whole intervals of step_size")
def test_step_schedule():
    """Ten rates of StepLR(step_size=3, gamma=0.5) from 2."""
    rates = DRIVER.rates("StepLR", 10, 2.0, {"step_size": 3, "gamma": 0.5})
    wanted = [2, 2, 2, 1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    expect(rates, wanted, call="StepLR(step_size=3, gamma=0.5)")


@asks("functionality", step=8, of="CosineAnnealingLR.lr_at", hint="from the first rate to eta_min")
def test_cosine_schedule():
    """The rates of CosineAnnealingLR(T_max=6, eta_min=0.2) from 2."""
    wanted = [0.2 + 1.8 * (1 + math.cos(math.pi * t / 6)) / 2 for t in range(7)]
    rates = DRIVER.rates("CosineAnnealingLR", 7, 2.0, {"T_max": 6, "eta_min": 0.2})
    expect(rates, wanted, call="CosineAnnealingLR(T_max=6, eta_min=0.2)")


@asks("functionality", step=8, of="LinearWarmup.lr_at", hint="a straight line, then flat")
def test_linear_warmup():
    """The rates of LinearWarmup over 4 steps, from 0 and from half of the rate 2."""
    rates = DRIVER.rates("LinearWarmup", 7, 2.0, {"warmup_steps": 4})
    expect(rates, [0, 0.5, 1, 1.5, 2, 2, 2], call="LinearWarmup(warmup_steps=4)")
    rates = DRIVER.rates("LinearWarmup", 5, 2.0, {"warmup_steps": 2, "start_factor": 0.5})
    expect(rates, [1, 1.5, 2, 2, 2], call="LinearWarmup(warmup_steps=2, start_factor=0.5)")


@asks("functionality", step=8, of="OneCycleLR.curve", hint="two half cosines, meeting at max_lr")
def test_one_cycle():
    """The 20 rates of OneCycleLR(max_lr=3, total_steps=20, pct_start=0.3)."""

    def cosine(a, b, part):
        return b + (a - b) * (1 + math.cos(math.pi * part)) / 2

    wanted = [cosine(0.12, 3, t / 5) for t in range(5)]
    wanted += [cosine(3, 0.12 / 1e4, (t - 5) / 14) for t in range(5, 20)]
    options = {"max_lr": 3.0, "total_steps": 20, "pct_start": 0.3}
    expect(DRIVER.rates("OneCycleLR", 20, 1.0, options), wanted, call="OneCycleLR", rtol=1e-6)


@asks("functionality", step=8, of="StepLR.lr_at", hint="the step must use the group's rate of now")
def test_a_schedule_changes_the_steps():
    """Three SGD steps under the gradient 1 with the rate halved after each."""
    p = parameter([10.0], [1.0])
    optimizer = SGD([p], lr=4.0)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    path = []
    for _ in range(3):
        optimizer.step()
        scheduler.step()
        path.append(float(p))
    expect(path, [6.0, 4.0, 3.0], call="SGD(lr=4) with StepLR(step_size=1, gamma=0.5)")
    expect(scheduler.get_last_lr(), [0.5], call="get_last_lr() after three steps")


@asks("integration", step=1, of="Optimizer.step", hint="the loop, then each update rule")
def test_every_optimizer_fits_a_line():
    """Fit y = 2 x1 - x2 + 0.5 on a grid from zero, with Linear, MSELoss and each optimizer."""
    x = np.array([(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)], dtype=np.float32)
    y = x @ np.array([[2.0], [-1.0]], dtype=np.float32) + np.float32(0.5)
    for kind, options in (
        (SGD, {"lr": 0.1, "momentum": 0.9}),
        (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        (RMSprop, {"lr": 0.02}),
        (Adam, {"lr": 0.05}),
        (AdamW, {"lr": 0.05, "weight_decay": 0.0}),
    ):
        layer = Linear(2, 1)
        layer.load_state_dict({"weight": np.zeros((1, 2)), "bias": np.zeros(1)})
        DRIVER.fit(layer, MSELoss(), kind(layer.parameters(), **options), x, y, 250)
        got = x @ layer.weight.numpy().T + layer.bias.numpy()
        error = float(((got - y) ** 2).mean())
        expect_at_most(error, 0.01, call=f"250 steps with {options}", what="mean squared error")


@asks("integration", step=1, of="Optimizer.zero_grad", hint="backward adds to what is there")
def test_gradients_do_not_pile_up():
    """Two rounds of zero_grad, backward, step on L = 3 p with lr=0.1."""
    p = parameter([1.0])
    optimizer = SGD([p], lr=0.1)
    for wanted in (0.7, 0.4):
        optimizer.zero_grad()
        (p * 3).sum().backward()
        optimizer.step()
        expect(p, [wanted], call="zero_grad, backward of 3 p, step")


@asks("integration", step=1, of="Optimizer.step", hint="store the array back through .data")
def test_a_step_is_seen_by_autograd():
    """Record p * p, step, then ask for the gradient of the old value: it must be refused."""
    p = parameter([3.0])
    square = (p * p).sum()
    p.grad = Tensor([1.0])
    SGD([p], lr=0.1).step()
    expect_raises(RuntimeError, square.backward, call="backward() through the old value")


@asks("performance", step=9, of="state_nbytes", hint="count the arrays that live between steps")
def test_memory_of_the_state():
    """The bytes of state for 1,000 float32 parameters: 0, 1, 1 and 2 copies."""
    for kind, options, copies in (
        (SGD, {}, 0),
        (SGD, {"momentum": 0.9}, 1),
        (RMSprop, {}, 1),
        (Adam, {}, 2),
        (AdamW, {}, 2),
    ):
        p = parameter(np.zeros(1000, dtype=np.float32), np.ones(1000, dtype=np.float32))
        optimizer = kind([p], lr=0.1, **options)
        optimizer.step()
        call = f"state_nbytes after a step with {copies} copies of 4000 bytes"
        expect_equal(state_nbytes(optimizer), 4000 * copies, call=call)


@asks("performance", step=4, of="Adam.update", hint="whole arrays at a time, no loop")
def test_adam_costs_a_few_passes():
    """A step on a million parameters against the same formula in plain NumPy."""
    p = parameter(np.ones(1_000_000, dtype=np.float32), np.ones(1_000_000, dtype=np.float32))
    optimizer = Adam([p])
    g = m = v = np.ones(1_000_000, dtype=np.float32)

    def plain():
        mean, square = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        return g - 0.001 * (mean / 0.1) / (np.sqrt(square / 0.001) + 1e-8)

    ratio = timed(optimizer.step, repeat=7) / timed(plain, repeat=7)
    expect_at_most(ratio, 4, call="Adam.step() of a million", what="time over plain NumPy")


@asks("performance", step=1, of="Optimizer.step", hint="one visit per parameter, no search")
def test_a_step_is_linear_in_the_number_of_parameters():
    """Sixteen times as many parameters may cost about sixteen times as long."""
    few, many = DRIVER.many(50, 8), DRIVER.many(800, 8)
    growth = timed(many.step, repeat=7) / timed(few.step, repeat=7)
    expect_at_most(growth, 48, call="step() of 800 against 50 parameters", what="growth of time")
