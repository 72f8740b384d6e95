"""Checkpoint 03: can I build networks from layers?

Passing proves that a tree of modules finds, switches, saves and restores everything below it, that
the layers compute what NumPy computes from the same weights, and that a fresh network starts in
the range that keeps its signal alive.
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
from tinytorch.core.activations import ReLU, Tanh
from tinytorch.core.layers import (
    MLP,
    Dense,
    Dropout,
    Flatten,
    Linear,
    Module,
    Parameter,
    Sequential,
    create_mlp,
    dropout,
    kaiming_normal_,
    kaiming_uniform_,
    xavier_normal_,
    xavier_uniform_,
)
from tinytorch.core.tensor import Tensor, manual_seed, zeros

TREE = probe('''
import numpy as np
from tinytorch.core.layers import Dropout, Linear, Module, Parameter, Sequential
from tinytorch.core.tensor import Tensor


class Block(Module):
    """A module with a parameter, a buffer, a child and things that are none of these."""

    def __init__(self, size, dtype=np.float32):
        super().__init__()
        self.scale = Parameter(np.full(size, 2.0, dtype=dtype))
        self.inner = Linear(size, size, bias=False)
        self.register_buffer("mean", Tensor(np.full(size, 3.0, dtype=np.float32)))
        self.note, self.plain = "text", Tensor([1.0])

    def forward(self, x):
        return self.inner(x) * self.scale + self.mean


class Net(Module):
    """Two blocks, one of them deep inside, and a dropout deeper still."""

    def __init__(self):
        super().__init__()
        self.first = Block(2)
        self.rest = Sequential(Linear(2, 3), Sequential(Dropout(0.5), Block(3)))

    def forward(self, x):
        return self.rest(self.first(x))


class Tied(Module):
    """One linear layer and one parameter, each under two names."""

    def __init__(self):
        super().__init__()
        self.left = Linear(2, 2)
        self.right = self.left
        self.weight = Parameter([1.0])
        self.same = self.weight


class Fork(Module):
    """Both branches are the same module: a naive walk doubles its work at every level."""

    def __init__(self, depth):
        super().__init__()
        self.own = Parameter([1.0])
        if depth:
            self.left = Fork(depth - 1)
            self.right = self.left


def names(module):
    return [name for name, _ in module.named_parameters()]


def training_flags(module):
    return [bool(part.training) for part in module.modules()]


def visits(module):
    met = []
    module.apply(lambda part: met.append(type(part).__name__))
    return met


def fill_gradients(module):
    for parameter in module.parameters():
        parameter.grad = Tensor(np.ones(parameter.shape, dtype=np.float32))


def gradients_left(module):
    return sum(parameter.grad is not None for parameter in module.parameters())


def state_shapes(module):
    return {name: list(value.shape) for name, value in module.state_dict().items()}


def load_with(module, changes=None, without=(), strict=True):
    """Load the module's own state, some entries changed, added or left out."""
    state = {**module.state_dict(), **(changes or {})}
    state = {name: value for name, value in state.items() if name not in without}
    return module.load_state_dict(state, strict=strict)


def poke(tensor, value):
    """Overwrite the first number in the tensor's memory."""
    tensor.data.reshape(-1)[0] = value
''')

NET_NAMES = ["first.scale", "first.inner.weight", "rest.0.weight", "rest.0.bias"]
NET_NAMES += ["rest.1.1.scale", "rest.1.1.inner.weight"]


def set_linear(layer, weight, bias):
    """Give a layer known numbers, without needing load_state_dict."""
    layer.weight.data = np.array(weight, dtype=np.float32)
    layer.bias.data = np.array(bias, dtype=np.float32)


def linear_by_loops(x, weight, bias):
    """Each output is the sum over inputs of weight times input, plus its bias."""
    out = np.zeros((len(x), len(weight)))
    for n in range(len(x)):
        for o in range(len(weight)):
            out[n, o] = sum(weight[o][i] * x[n][i] for i in range(len(x[n]))) + bias[o]
    return out


def expect_spread(tensor, std, uniform, call):
    """Require zero mean, the given standard deviation, and its bound if uniform."""
    values = tensor.numpy()
    expect(values.std(), std, call=f"{call}: standard deviation", rtol=0.05)
    expect(values.mean(), 0, call=f"{call}: mean", atol=0.05 * std)
    largest = np.abs(values).max() / std
    low, high = (1.68, math.sqrt(3) * 1.0001) if uniform else (3, 8)
    kind = "uniform" if uniform else "normal"
    words = f"a {kind} distribution: largest value {low:.2f} to {high:.2f} deviations from 0"
    expect_true(bool(low <= largest <= high), call=call, expected=words, got=f"{largest:.2f}")


@asks("imports", step=4, of="Linear", hint="Dense is another name of Linear, create_mlp of MLP")
def test_layers_are_there():
    """Make one of each layer and look at the shape of what it computes for zeros (2, 3)."""
    x = np.zeros((2, 3), dtype=np.float32)
    layers = {"Linear": Linear(3, 4), "Dense": Dense(3, 4), "MLP": MLP(3, [5], 4)}
    layers |= {"create_mlp": create_mlp(3, [5], 4), "Sequential": Sequential(Linear(3, 4))}
    for name, layer in layers.items():
        expect_equal(layer(Tensor(x)).shape, (2, 4), call=f"{name}(…)(x).shape")
    for name, layer in {"Dropout": Dropout(), "Flatten": Flatten()}.items():
        expect_equal(layer(Tensor(x)).shape, (2, 3), call=f"{name}()(x).shape")


@asks("imports", step=1, of="Module", hint="a module without forward has nothing to compute")
def test_module_and_parameter_are_there():
    """A Parameter requires a gradient; a bare Module has no parameters and cannot be called."""
    expect_equal(Parameter([1.0, 2.0]).requires_grad, True, call="Parameter([1, 2]).requires_grad")
    expect_equal(len(list(Module().parameters())), 0, call="number of Module().parameters()")
    expect_raises((TypeError, ValueError), Module(), Tensor([1.0]), call="Module()(x)")


@asks(
    "functionality", step=1, of="walk_parameters", hint="go down into every child, and its children"
)
def test_parameters_of_nested_modules():
    """List the names of all parameters of a network with blocks inside a Sequential."""
    expect_equal(TREE.names(TREE.Net()), NET_NAMES, call="named_parameters()")
    expect_equal(len(list(TREE.Net().parameters())), 6, call="number of parameters()")


@asks("functionality", step=1, of="walk_parameters", hint="remember what was met, by id(...)")
def test_shared_parameters_are_listed_once():
    """A layer and a parameter that sit under two names are each listed once."""
    wanted = ["weight", "left.weight", "left.bias"]
    expect_equal(TREE.names(TREE.Tied()), wanted, call="named_parameters()")


@asks("functionality", step=1, of="set_training", hint="the switch must reach every level")
def test_train_and_eval_reach_every_level():
    """Call eval() and then train() on a nested network and read every module's flag."""
    net = TREE.Net()
    expect_equal(TREE.training_flags(net.eval()), [False] * 9, call="training after eval()")
    expect_equal(TREE.training_flags(net.train()), [True] * 9, call="training after train()")


@asks("functionality", step=1, of="clear_gradients", hint="every parameter, at every level")
def test_zero_grad():
    """Give every parameter a gradient, then call zero_grad(): each is None again."""
    net = TREE.Net()
    TREE.fill_gradients(net)
    net.zero_grad()
    expect_equal(TREE.gradients_left(net), 0, call="gradients left by zero_grad()")


@asks("functionality", step=1, of="apply_to_all", hint="children first, then the module itself")
def test_apply_visits_children_first():
    """Apply a function that notes the names of the classes it meets."""
    wanted = ["Linear", "Block", "Linear", "Dropout", "Linear", "Block", "Sequential", "Sequential"]
    expect_equal(TREE.visits(TREE.Net()), [*wanted, "Net"], call="apply(function)")


@asks("functionality", step=2, of="read_state", hint="parameters and buffers, by their path")
def test_state_dict_has_names_and_shapes():
    """Ask for the state: parameters and buffers with PyTorch's names, shared ones by each name."""
    wanted = {"0.weight": [3, 2], "0.bias": [3], "2.weight": [1, 3], "2.bias": [1]}
    model = Sequential(Linear(2, 3), ReLU(), Linear(3, 1))
    expect_equal(TREE.state_shapes(model), wanted, call="state_dict() of a Sequential")
    wanted = {"scale": [2], "mean": [2], "inner.weight": [2, 2]}
    expect_equal(TREE.state_shapes(TREE.Block(2)), wanted, call="state_dict() with a buffer")
    wanted = ["left.bias", "left.weight", "right.bias", "right.weight", "same", "weight"]
    call = "names of a shared state"
    expect_equal(sorted(TREE.state_shapes(TREE.Tied())), wanted, call=call)


@asks(
    "functionality", step=2, of="read_state", hint="a photograph does not change with its subject"
)
def test_a_state_is_a_copy():
    """Take a state, change the network, and look at the state again."""
    layer = Linear(2, 1)
    set_linear(layer, [[1, 2]], [3])
    state = layer.state_dict()
    TREE.poke(layer.weight, 9.0)
    expect(state["weight"], [[1, 2]], call='state_dict()["weight"]')


@asks("functionality", step=2, of="write_state", hint="copy the numbers; do not share the memory")
def test_loading_copies():
    """Load one layer's state into another, then change the first."""
    source, target = Linear(2, 1), Linear(2, 1)
    set_linear(source, [[1, 2]], [3])
    arrays = {"weight": np.array([[5.0, 6.0]]), "bias": np.array([7.0])}
    target.load_state_dict(source.state_dict())
    TREE.poke(source.weight, 9.0)
    expect(target.weight, [[1, 2]], call="load_state_dict(other.state_dict())")
    target.load_state_dict(arrays)
    expect(target.weight, arrays["weight"], call="load_state_dict(arrays)", dtype=np.float32)
    state = target.state_dict()
    target.load_state_dict(state)
    TREE.poke(target.weight, 9.0)
    expect(state["weight"], [[5, 6]], call="a state after it was loaded")


@asks("functionality", step=2, of="write_state", hint="check all names and shapes, then write")
def test_a_bad_state_is_refused_whole():
    """Load states with a missing name, an unknown name and a wrong shape: nothing changes."""
    net, refused = TREE.Net(), (ValueError, KeyError)
    before = net.first.scale.numpy().copy()
    new = {"first.scale": np.zeros(2)}
    call, load = "load_state_dict(…)", TREE.load_with
    expect_raises(refused, load, net, new, ["rest.0.bias"], call=call, mentions=["rest.0.bias"])
    expect_raises(refused, load, net, {**new, "tail": np.zeros(1)}, call=call, mentions=["tail"])
    wrong = {**new, "rest.0.weight": np.zeros((2, 3))}
    words = ["rest.0.weight", "(3, 2)", "(2, 3)"]
    expect_raises(refused, load, net, wrong, call=call, mentions=words)
    expect(net.first.scale, before, call="a parameter after the refusals")
    load(net, {**new, "tail": np.zeros(1)}, ["rest.0.bias"], strict=False)
    expect(net.first.scale, [0, 0], call="load_state_dict(…, strict=False)")


@asks("functionality", step=3, of="xavier_std", hint="variance gain² · 2 / (fan_in + fan_out)")
def test_xavier():
    """Fill weights of shapes (300, 500) and (40, 20, 5, 5), a convolution's, by Xavier's rules."""
    std = math.sqrt(2 / 800)
    expect_spread(xavier_uniform_(zeros(300, 500)), std, True, "xavier_uniform_(w)")
    expect_spread(xavier_normal_(zeros(300, 500), gain=2), 2 * std, False, "xavier_normal_(w, 2)")
    std = math.sqrt(2 / (25 * 60))
    expect_spread(xavier_uniform_(zeros(40, 20, 5, 5)), std, True, "xavier_uniform_(conv)")


@asks("functionality", step=3, of="kaiming_std", hint="variance gain² / fan; for ReLU gain² is 2")
def test_kaiming():
    """Fill weights of shape (300, 500) by Kaiming's two rules, forward and backward."""
    weight = kaiming_normal_(zeros(300, 500), nonlinearity="relu")
    expect_spread(weight, math.sqrt(2 / 500), False, "kaiming_normal_(w)")
    weight = kaiming_uniform_(zeros(300, 500), a=1.0)
    expect_spread(weight, math.sqrt(1 / 500), True, "kaiming_uniform_(w, a=1)")
    weight = kaiming_normal_(zeros(300, 500), mode="fan_out", nonlinearity="relu")
    expect_spread(weight, math.sqrt(2 / 300), False, 'kaiming_normal_(w, mode="fan_out")')


@asks(
    "functionality",
    step=4,
    of="Linear.forward",
    hint="a product and a shift; a weight is stored as (out, in)",
)
def test_linear_by_hand():
    """Apply a layer with weight [[1, 0, 0], [1, 1, 1]] and bias [0.5, 0] to two rows."""
    layer = Linear(3, 2)
    set_linear(layer, [[1, 0, 0], [1, 1, 1]], [0.5, 0])
    expect(layer(Tensor([[1, 2, 3], [4, 5, 6]])), [[1.5, 6], [4.5, 15]], call="Linear(3, 2)(x)")
    expect(layer(Tensor([1, 2, 3])), [1.5, 6], call="Linear(3, 2)(one row)")


@asks("functionality", step=4, of="Linear.forward", hint="axes before the last pass through")
def test_linear_on_random_input(rng):
    """Compare a fresh layer with loops over its own weights: (N, in), (N, T, in), without bias."""
    layer, x = Linear(4, 3), rng.normal(size=(6, 4)).astype(np.float32)
    weight, bias = layer.weight.numpy(), layer.bias.numpy()
    expect_equal(weight.shape, (3, 4), call="Linear(4, 3).weight.shape")
    wanted = linear_by_loops(x, weight, bias)
    expect(layer(Tensor(x)), wanted, call="Linear(4, 3)(x)", dtype=np.float32)
    deep = layer(Tensor(x.reshape(2, 3, 4)))
    expect(deep, wanted.reshape(2, 3, 3), call="Linear(4, 3)(x of shape (2, 3, 4))")
    bare = Linear(4, 3, bias=False)
    wanted = linear_by_loops(x, bare.weight.numpy(), np.zeros(3))
    expect(bare(Tensor(x)), wanted, call="Linear(4, 3, bias=False)(x)")
    expect_equal(TREE.names(bare), ["weight"], call="names of Linear(…, bias=False)")


@asks("functionality", step=4, of="Linear.forward", hint="fit_features merges the trailing axes")
def test_linear_flattens_images(rng):
    """Feed images (5, 1, 4, 3) to Linear(12, 2); refuse a batch (4, 3), whose product is 12."""
    x = rng.normal(size=(5, 1, 4, 3)).astype(np.float32)
    layer = Linear(12, 2)
    wanted = linear_by_loops(x.reshape(5, 12), layer.weight.numpy(), layer.bias.numpy())
    expect(layer(Tensor(x)), wanted, call="Linear(12, 2)(images)")
    words = ["(4, 3)", 12]
    expect_raises(ValueError, layer, zeros(4, 3), call="Linear(12, 2)(x (4, 3))", mentions=words)


@asks("functionality", step=4, of="Linear.reset_parameters", hint="both from [-1/√in, 1/√in]")
def test_linear_starts_like_pytorch():
    """Look at the spread of weight and bias of a fresh Linear(100, 20000), and at a second one."""
    manual_seed(1)
    layer, std = Linear(100, 20_000), 1 / math.sqrt(100) / math.sqrt(3)
    expect_spread(layer.weight, std, True, "Linear(100, 20000).weight")
    expect_spread(layer.bias, std, True, "Linear(100, 20000).bias")
    manual_seed(1)
    again = Linear(100, 20_000).weight.numpy()
    expect(layer.weight, again, call="Linear after the same manual_seed")
    other = bool((Linear(100, 20_000).weight.numpy() != again).any())
    expect_true(other, call="two fresh Linears", expected="different weights", got="the same")


@asks(
    "functionality", step=6, of="Sequential.forward", hint="first layer first; each feeds the next"
)
def test_sequential_keeps_the_order():
    """Chain (x → 2x + 1) and ReLU and (x → 3x), and look at the layers by their index."""
    first, last = Linear(1, 1), Linear(1, 1)
    set_linear(first, [[2]], [1])
    set_linear(last, [[3]], [0])
    model = Sequential(first, ReLU(), last)
    expect(model(Tensor([[-2.0], [1.0]])), [[0], [9]], call="Sequential(…)(x)")
    expect_equal(len(model), 3, call="len(Sequential(…))")
    expect(model[2](Tensor([[1.0]])), [[3]], call="Sequential(…)[2](x)")
    wanted = ["0.weight", "0.bias", "2.weight", "2.bias"]
    expect_equal(TREE.names(model), wanted, call="named_parameters()")


@asks("functionality", step=6, of="Flatten.forward", hint="the batch axis stays")
def test_flatten(rng):
    """Flatten (2, 3, 4, 5) to (2, 60), keeping the order of the numbers."""
    x = rng.normal(size=(2, 3, 4, 5))
    expect(Flatten()(Tensor(x)), x.reshape(2, 60), call="Flatten()(x)")


@asks("functionality", step=5, of="dropout", hint="survivors are divided by 1 - p")
def test_dropout_keeps_the_mean():
    """Drop a quarter of 200,000 ones: the rest becomes 4/3, and the mean stays near 1."""
    out = Dropout(0.25)(Tensor(np.ones(200_000, dtype=np.float32))).numpy()
    expect(np.unique(out), [0, 4 / 3], call="distinct values of Dropout(0.25)(ones)")
    expect((out == 0).mean(), 0.25, call="share of zeros of Dropout(0.25)(ones)", atol=0.01)
    expect_equal(out.dtype, np.dtype(np.float32), call="Dropout(0.25)(ones).dtype")


@asks("functionality", step=5, of="Dropout.forward", hint="nothing is dropped in evaluation")
def test_dropout_is_off_in_evaluation(rng):
    """Call a dropout after eval(), inside a Sequential, and with training=False."""
    x = rng.normal(size=(50, 4))
    model = Sequential(Sequential(Dropout(0.9))).eval()
    expect(model(Tensor(x)), x, call="Dropout(0.9) after eval()")
    expect(dropout(Tensor(x), 0.9, training=False), x, call="dropout(x, 0.9, training=False)")
    expect(Dropout(0.0)(Tensor(x)), x, call="Dropout(0)(x)")
    expect(Dropout(1.0)(Tensor(x)), np.zeros((50, 4)), call="Dropout(1)(x)")


@asks("functionality", step=5, of="dropout", hint="draw a new mask at each call, from rand")
def test_dropout_draws_a_new_mask_each_time():
    """Call a dropout twice, then again after the same manual_seed; refuse p = 1.5."""
    x, drop = Tensor(np.ones(200, dtype=np.float32)), Dropout(0.5)
    manual_seed(5)
    first, second = drop(x).numpy(), drop(x).numpy()
    different = bool((first != second).any())
    words = "a different mask at each call"
    expect_true(different, call="Dropout(0.5)(x) twice", expected=words, got="the same mask")
    manual_seed(5)
    expect(drop(x), first, call="Dropout(0.5)(x) after the same manual_seed")
    expect_raises(ValueError, Dropout, 1.5, call="Dropout(1.5)", mentions=[1.5])


@asks("functionality", step=6, of="MLP", hint="a bend between layers, none after the last")
def test_mlp_is_a_chain():
    """Look at the parameters of MLP(4, [8, 6], 3) and at the layers of one with dropout."""
    wanted = {"0.weight": [8, 4], "0.bias": [8], "2.weight": [6, 8], "2.bias": [6]}
    wanted |= {"4.weight": [3, 6], "4.bias": [3]}
    expect_equal(TREE.state_shapes(MLP(4, [8, 6], 3)), wanted, call="MLP(4, [8, 6], 3)")
    expect_equal(len(MLP(4, [8, 6], 3)), 5, call="len(MLP(4, [8, 6], 3))")
    expect_equal(len(MLP(4, [8, 6], 3, dropout=0.1)), 7, call="len(MLP(…, dropout=0.1))")


@asks("integration", step=6, of="MLP", hint="linear, bend, linear: nothing bends the logits")
def test_mlp_computes_what_numpy_computes(rng):
    """Run MLP(6, [16], 3) with ReLU and with Tanh, and repeat it in NumPy from its own weights."""
    x = rng.normal(size=(9, 6)).astype(np.float32)
    for bend, reference in ((ReLU, lambda v: np.maximum(v, 0)), (Tanh, np.tanh)):
        model = MLP(6, [16], 3, activation=bend)
        w0, b0 = model[0].weight.numpy(), model[0].bias.numpy()
        w1, b1 = model[2].weight.numpy(), model[2].bias.numpy()
        out = model(Tensor(x))
        expect(out, reference(x @ w0.T + b0) @ w1.T + b1, call="MLP(6, [16], 3)(x)", atol=1e-5)
        expect_equal(out.requires_grad, True, call="MLP(6, [16], 3)(x).requires_grad")


@asks(
    "integration", step=2, of="write_state", hint="the state holds all that the outputs depend on"
)
def test_a_loaded_network_computes_the_same(rng):
    """Copy the state of one network, buffers included, into another; compare their outputs."""
    one, other = TREE.Net().eval(), TREE.Net().eval()
    one.first.mean.data = np.array([5.0, -5.0], dtype=np.float32)
    x = rng.normal(size=(4, 2)).astype(np.float32)
    state = one.state_dict()
    arrays = {name: state[name].numpy() for name in state}
    h = (x @ arrays["first.inner.weight"].T) * arrays["first.scale"] + [5.0, -5.0]
    h = h @ arrays["rest.0.weight"].T + arrays["rest.0.bias"]
    h = h @ arrays["rest.1.1.inner.weight"].T * arrays["rest.1.1.scale"] + 3
    other.load_state_dict(arrays)
    expect(other(Tensor(x)), h, call="the second network's output", atol=1e-5)


@asks("performance", step=4, of="Linear.forward", hint="one matrix product for the whole batch")
def test_linear_is_one_matrix_product(rng):
    """Run Linear(4, 4) on 16,000 rows, compared with the same product in NumPy."""
    layer, x = Linear(4, 4), rng.normal(size=(16_000, 4)).astype(np.float32)
    weight, bias = layer.weight.numpy(), layer.bias.numpy()
    ratio = timed(layer, Tensor(x)) / timed(lambda: x @ weight.T + bias)
    expect_at_most(ratio, 10, call="Linear(4, 4)(x)", what="a multiple of NumPy's time")


@asks("performance", step=1, of="walk_modules", hint="a module that was met is not walked again")
def test_walking_shared_modules_is_linear():
    """List the parameters of modules nested 16 deep, each holding the next one twice."""
    few, many = TREE.Fork(4), TREE.Fork(16)
    expect_equal(len(TREE.names(many)), 17, call="number of parameters")
    growth = timed(TREE.names, many) / timed(TREE.names, few)
    expect_at_most(growth, 60, call="parameters()", what="16 levels over 4 levels, time")


@asks("performance", step=4, of="Linear", hint="float32 numbers, four bytes each, held once")
def test_parameters_take_four_bytes():
    """Add up the bytes of the parameters of MLP(784, [128], 10)."""
    total = sum(int(p.nbytes) for p in MLP(784, [128], 10).parameters())
    expect_equal(total, 407_080, call="bytes of MLP(784, [128], 10)")
