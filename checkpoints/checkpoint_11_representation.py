"""Checkpoint 11: can I represent discrete tokens as vectors with positions?

Passing proves that token ids become rows of a table, that each row collects the gradients of all
its uses, that padding stays silent, that what is no id is refused, and that places are written
along the sequence, by fixed waves or by a trained table.
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
from tinytorch.core.embeddings import (
    Embedding,
    LearnedPositionalEmbedding,
    PositionalEncoding,
    embedding,
    one_hot,
    sinusoidal_encoding,
)
from tinytorch.core.tensor import Tensor

WORK = probe('''
import numpy as np
from tinytorch.core.activations import relu
from tinytorch.core.embeddings import Embedding, LearnedPositionalEmbedding, PositionalEncoding
from tinytorch.core.embeddings import embedding
from tinytorch.core.layers import Linear, Module
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.tensor import Tensor, manual_seed


class Model(Module):
    """Tokens, places, a bend and a linear layer: the answer needs the token and its place."""

    def __init__(self, places):
        self.tokens = Embedding(6, 32, padding_idx=0)
        self.places = places
        self.head = Linear(32, 6)

    def forward(self, ids):
        return self.head(relu(self.places(self.tokens(ids))))


def train(learned, steps):
    """Learn sequences whose next token depends on the place; return losses and the padding row."""
    manual_seed(0)
    model = Model(LearnedPositionalEmbedding(32, 4) if learned else PositionalEncoding(32, 4))
    ids = np.array([[1, 2, 1, 0], [3, 1, 2, 2], [2, 3, 3, 1]])
    targets = (ids + np.arange(4)) % 6
    losses = []
    for _ in range(steps):
        loss = CrossEntropyLoss()(model(ids).reshape(12, 6), Tensor(targets.reshape(12)))
        losses.append(loss.item())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data = p.data - 0.5 * p.grad.data
    return losses, model.tokens.weight.numpy()[0]


def names(module):
    return [name for name, _ in module.named_parameters()]


def backward_once(tokens, ids, dim):
    """Prepare a lookup of random ids; return a function of its gradient."""
    rng = np.random.default_rng(0)
    weight = Tensor(rng.random((tokens, dim), np.float32), requires_grad=True)
    out = embedding(rng.integers(0, tokens, ids), weight)
    g = rng.random((ids, dim), np.float32)

    def run():
        weight.grad = None
        out.backward(g, retain_graph=True)

    return run


def lookup_once(tokens, dim=64, ids=2000):
    """Prepare a table; return a function that looks ids up."""
    rng = np.random.default_rng(0)
    weight, ids = Tensor(rng.random((tokens, dim), np.float32)), rng.integers(0, tokens, ids)

    def run():
        embedding(ids, weight)

    return run
''')

TABLE = [[1, 2], [3, 4], [5, 6]]


def gradient_by_loops(ids, g, rows):
    """Each row collects the gradients of the places where its id stands."""
    gradient = np.zeros((rows, g.shape[-1]))
    for place in np.ndindex(ids.shape):
        gradient[ids[place]] += g[place]
    return gradient


def waves_by_loops(length, dim):
    """Column 2i is sin(t / 10000^(2i/C)), column 2i + 1 is cos of the same angle."""
    waves = np.zeros((length, dim))
    for t in range(length):
        for c in range(dim):
            angle = t / 10_000 ** ((c - c % 2) / dim)
            waves[t, c] = math.cos(angle) if c % 2 else math.sin(angle)
    return waves


def integers(values):
    """Ids as a Tensor of int64."""
    return Tensor(np.array(values, dtype=np.int64))


@asks("imports", step=3, of="Embedding", hint="each name comes from one step; run tito test 11")
def test_layers_are_there():
    """Make one of each layer, and look at the shape of what it gives."""
    x = Tensor(np.zeros((2, 3, 4), np.float32))
    expect_equal(one_hot([0, 2], 3).shape, (2, 3), call="one_hot([0, 2], 3).shape")
    expect_equal(Embedding(5, 4)([[0, 1, 2]]).shape, (1, 3, 4), call="Embedding(5, 4)(ids).shape")
    expect_equal(PositionalEncoding(4)(x).shape, (2, 3, 4), call="PositionalEncoding(4)(x).shape")
    learned = LearnedPositionalEmbedding(4, 6)
    expect_equal(learned(x).shape, (2, 3, 4), call="LearnedPositionalEmbedding(4, 6)(x).shape")
    expect_equal(learned.weight.shape, (6, 4), call="LearnedPositionalEmbedding(4, 6).weight.shape")


@asks("functionality", step=1, of="one_hot", hint="a new last axis, with a 1 in the id's place")
def test_one_hot():
    """Write the ids [[2, 0]] as vectors of 3 numbers."""
    wanted = [[[0, 0, 1], [1, 0, 0]]]
    expect(one_hot(integers([[2, 0]]), 3), wanted, call="one_hot([[2, 0]], 3)", dtype=np.float32)


@asks("functionality", step=2, of="lookup", hint="row number id of the table, for each id")
def test_lookup_by_hand():
    """Look ids up, given as a Tensor, an array, a list; a float64 table stays float64."""
    table = Tensor(TABLE)
    wanted = [[5, 6], [1, 2], [5, 6]]
    expect(embedding(integers([2, 0, 2]), table), wanted, call="embedding([2, 0, 2], table)")
    expect(embedding([2, 0, 2], table), wanted, call="embedding(a list, table)")
    ids = np.array([[1], [2]], dtype=np.uint8)
    wide = Tensor(np.array(TABLE, dtype=np.float64))
    call = "embedding(ids of shape (2, 1), float64 table)"
    expect(embedding(ids, wide), [[[3, 4]], [[5, 6]]], call=call, dtype=np.float64)


@asks("functionality", step=2, of="lookup", hint="one-hot times the table gives the same rows")
def test_lookup_equals_the_one_hot_product(rng):
    """Compare a lookup with one_hot(ids) @ weight on random ids of shape (4, 5)."""
    ids, weight = rng.integers(0, 7, (4, 5)), rng.normal(size=(7, 3)).astype(np.float32)
    product = np.eye(7, dtype=np.float32)[ids] @ weight
    expect(one_hot(ids, 7) @ Tensor(weight), product, call="one_hot(ids) @ weight")
    expect(embedding(ids, Tensor(weight)), product, call="embedding(ids, weight)")


@asks("functionality", step=2, of="lookup_rule", hint="gradients of one row add up; never assign")
def test_repeated_ids_collect_their_gradients():
    """Look up [2, 0, 2] and send back gradients 1, 10 and 100."""
    table = Tensor(TABLE, requires_grad=True)
    embedding([2, 0, 2], table).backward(np.array([[1, 1], [10, 10], [100, 100]], np.float32))
    wanted = [[10, 10], [0, 0], [101, 101]]
    expect(table.grad, wanted, call="gradient of embedding(ids, table)", dtype=np.float32)


@asks("functionality", step=2, of="lookup_rule", hint="runs of equal ids, from start to next start")
def test_gradient_on_random_ids(rng):
    """Compare the gradient with loops, for ids of shape (3, 4, 5) of which some never occur."""
    for rows in (1, 4, 200):
        ids, g = rng.integers(0, rows, (3, 4, 5)), rng.normal(size=(3, 4, 5, 6))
        table = Tensor(rng.normal(size=(rows, 6)), requires_grad=True)
        embedding(ids, table).backward(g)
        wanted = gradient_by_loops(ids, g, rows)
        expect(table.grad, wanted, call=f"gradient of a table of {rows} rows")


@asks("functionality", step=2, of="lookup_rule", hint="the padding row gets no gradient")
def test_padding_gets_no_gradient():
    """Look up [1, 0, 1, 2] with padding_idx=1, and [2, 2] with padding_idx=-1, the last row."""
    for ids, padding, wanted in (([1, 0, 1, 2], 1, [1, 0, 1]), ([2, 0, 2], -1, [1, 0, 0])):
        table = Tensor(TABLE, requires_grad=True)
        out = embedding(ids, table, padding_idx=padding)
        expect(out, np.array(TABLE)[ids], call=f"embedding(…, padding_idx={padding})")
        out.backward(np.ones((len(ids), 2), np.float32))
        call = f"gradient with padding_idx={padding}"
        expect(table.grad.numpy()[:, 0], wanted, call=call)


@asks("functionality", step=2, of="embedding", hint="an id is a whole number from 0 to V - 1")
def test_what_is_no_id_is_refused():
    """Look up ids that are negative, too large, or floats: each is an error that names them."""
    table = Embedding(3, 2)
    refused = (IndexError, ValueError)
    expect_raises(refused, table, [0, -1], call="Embedding(3, 2)([0, -1])", mentions=["-1"])
    expect_raises(refused, table, [[0, 3]], call="Embedding(3, 2)([[0, 3]])", mentions=["3"])
    call = "Embedding(3, 2)(Tensor([0.0, 1.0]))"
    expect_raises(TypeError, table, Tensor([0.0, 1.0]), call=call, mentions=["float32"])
    expect_raises(refused, one_hot, [-1], 3, call="one_hot([-1], 3)", mentions=["-1"])
    expect_raises(ValueError, Embedding, 3, 2, 3, call="Embedding(3, 2, 3)", mentions=["3"])


@asks("functionality", step=3, of="Embedding.reset_parameters", hint="normal, mean 0, deviation 1")
def test_embedding_starts_like_pytorch():
    """Make a table of 500 rows of 40: normal numbers, but a padding row of zeros."""
    table = Embedding(500, 40, padding_idx=7)
    values = table.weight.numpy()
    expect(values[7], np.zeros(40), call="Embedding(500, 40, padding_idx=7).weight[7]")
    others = np.delete(values, 7, axis=0)
    expect(others.mean(), 0, call="mean of Embedding(500, 40).weight", atol=0.04)
    expect(others.std(), 1, call="deviation of Embedding(500, 40).weight", atol=0.04)
    kurtosis = ((others - others.mean()) ** 4).mean() / others.var() ** 2
    expect(kurtosis, 3, call="fourth moment of Embedding(500, 40).weight", atol=0.5)


@asks("functionality", step=4, of="sinusoidal_encoding", hint="sine in even columns, cosine in odd")
def test_waves_by_hand():
    """Write places 0 and 1 with 4 columns, whose rates are 1 and 1/100."""
    wanted = [[0, 1, 0, 1], [0.841471, 0.540302, 0.01, 0.99995]]
    expect(sinusoidal_encoding(2, 4), wanted, call="sinusoidal_encoding(2, 4)", dtype=np.float32)


@asks(
    "functionality",
    step=4,
    of="sinusoidal_encoding",
    hint="the exponent is -2i / C; of an odd width, the last sine has no cosine",
)
def test_waves_of_every_width():
    """Write places 0 to 299 with 1, 2, 5 and 16 columns."""
    for dim in (1, 2, 5, 16):
        call = f"sinusoidal_encoding(300, {dim})"
        expect(sinusoidal_encoding(300, dim), waves_by_loops(300, dim), call=call, atol=2e-6)


@asks("functionality", step=4, of="sinusoidal_encoding", hint="a pair of columns is a clock hand")
def test_a_step_is_a_rotation():
    """Turn every pair of columns by the angle of 3 places: this gives the encoding 3 places on."""
    waves = np.asarray(sinusoidal_encoding(40, 6), dtype=np.float64)
    for i in range(3):
        angle = 3 / 10_000 ** (2 * i / 6)
        turn = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        pair = waves[:, 2 * i : 2 * i + 2]
        call = f"columns {2 * i} and {2 * i + 1}, 3 places on"
        expect(pair[3:], pair[:-3] @ np.transpose(turn), call=call, atol=1e-5)


@asks("functionality", step=5, of="PositionalEncoding.forward", hint="axis -2 counts places")
def test_encoding_is_added_along_the_sequence(rng):
    """Encode (T, C), (B, T, C) with B = T and B ≠ T, and two tokens after two others."""
    layer, waves = PositionalEncoding(5, max_len=9), waves_by_loops(9, 5)
    for shape in ((4, 5), (4, 4, 5), (2, 7, 5)):
        x = rng.normal(size=shape).astype(np.float32)
        wanted = x + waves[: shape[-2]]
        expect(
            layer(Tensor(x)),
            wanted,
            call=f"PositionalEncoding(5)(x of shape {shape})",
            dtype=np.float32,
        )
    call, hint = (
        "PositionalEncoding(5)(zeros, offset=2)",
        "offset says at which place the first of these tokens stands",
    )
    expect(layer(Tensor(np.zeros((2, 5))), offset=2), waves[2:4], call=call, atol=2e-6, hint=hint)


@asks("functionality", step=5, of="PositionalEncoding", hint="a buffer: kept, but never trained")
def test_encoding_is_not_trained():
    """Ask a PositionalEncoding for its parameters and buffers; go backward through it."""
    layer, x = PositionalEncoding(4), Tensor(np.zeros((2, 3, 4)), requires_grad=True)
    expect_equal(WORK.names(layer), [], call="names of PositionalEncoding(4).parameters()")
    buffers = [name for name, _ in layer.named_buffers()]
    expect_equal(len(buffers), 1, call="number of PositionalEncoding(4).named_buffers()")
    layer(x).backward(np.full((2, 3, 4), 5.0))
    expect(x.grad, np.full((2, 3, 4), 5), call="gradient of the input")


@asks("functionality", step=5, of="PositionalEncoding", hint="the table has max_len rows of C")
def test_too_long_or_too_wide_is_refused():
    """Encode 5 tokens with max_len=4, and 3 columns where 4 were promised."""
    for layer in (PositionalEncoding(4, max_len=4), LearnedPositionalEmbedding(4, 4)):
        call, x = "layer(x)", Tensor(np.zeros((1, 5, 4)))
        expect_equal(layer(x[:, :4]).shape, (1, 4, 4), call="layer(4 tokens).shape")
        expect_raises(ValueError, layer, x, call=call, mentions=["max_len", "4"])
        expect_raises(ValueError, layer, x[:, :2], offset=3, call=call, mentions=["4"])
        expect_raises(ValueError, layer, Tensor(np.zeros((2, 3))), call=call, mentions=["(2, 3)"])


@asks(
    "functionality", step=6, of="LearnedPositionalEmbedding.forward", hint="rows offset to offset+T"
)
def test_learned_places(rng):
    """Add trained places from 1 on to (3, 2, 4), and send back ones: each place is used 3 times."""
    layer, x = LearnedPositionalEmbedding(4, max_len=5), rng.normal(size=(3, 2, 4))
    weight = layer.weight.numpy().copy()
    expect_equal(WORK.names(layer), ["weight"], call="names of the parameters")
    expect(
        layer(Tensor(x), offset=1),
        x + weight[1:3],
        call="LearnedPositionalEmbedding(…)(x, offset=1)",
    )
    layer(Tensor(x), offset=1).backward(np.ones(x.shape))
    expect(layer.weight.grad.numpy()[:, 0], [0, 3, 3, 0, 0], call="gradient of the places")
    start = LearnedPositionalEmbedding(60, 60).weight.numpy().std()
    expect(start, 0.02, call="deviation of LearnedPositionalEmbedding(60, 60).weight", rtol=0.1)


@asks("integration", step=3, of="Embedding.forward", hint="ids → rows → gradient → table")
def test_a_model_of_tokens_and_places_learns():
    """Train a model in which the answer depends on the token and its place; padding stays zero."""
    for learned in (False, True):
        losses, padding = WORK.train(learned, 300)
        name = "LearnedPositionalEmbedding" if learned else "PositionalEncoding"
        expect_at_most(losses[-1] / losses[0], 0.35, call=f"training with {name}", what="loss left")
        expect(padding, np.zeros(32), call="padding row after training")


@asks("integration", step=3, of="Embedding", hint="the table is a Parameter named weight")
def test_state_has_pytorchs_names():
    """Read the states of the three layers, and load one into another."""
    table, other = Embedding(3, 2), Embedding(3, 2)
    other.load_state_dict(table.state_dict())
    expect(other([2, 1]), table([2, 1]).numpy(), call="a loaded Embedding")
    expect_equal(list(table.state_dict()), ["weight"], call="names of Embedding's state")
    places = list(LearnedPositionalEmbedding(2, 3).state_dict())
    expect_equal(places, ["weight"], call="names of LearnedPositionalEmbedding's state")


@asks("performance", step=2, of="lookup_rule", hint="sort the ids, then add up whole runs at once")
def test_gradient_is_quick():
    """Send back 20,000 gradients to 65 rows, against the sum over sorted ids in plain NumPy."""
    rng = np.random.default_rng(0)
    ids, g = rng.integers(0, 65, 20_000), rng.random((20_000, 8), np.float32)

    def reference():
        order = np.argsort(ids, kind="stable")
        starts = np.flatnonzero(np.diff(ids[order], prepend=-1))
        return np.add.reduceat(g[order], starts, axis=0)

    cost = timed(WORK.backward_once(65, 20_000, 8), repeat=9) / timed(reference, repeat=9)
    expect_at_most(cost, 6, call="gradient of 20,000 lookups", what="time against the reference")


@asks("performance", step=2, of="lookup", hint="copy rows; do not multiply by a one-hot matrix")
def test_lookup_does_not_depend_on_the_vocabulary():
    """Look 2000 ids up in tables of 500 and of 20,000 rows."""
    small, large = (timed(WORK.lookup_once(tokens), repeat=9) for tokens in (500, 20_000))
    expect_at_most(large / small, 12, call="lookup in 40 times the rows", what="growth of the time")
