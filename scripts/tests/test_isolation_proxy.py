"""Proxies: a checkpoint written with ordinary imports works, and judges nothing but values."""

import sys

import numpy as np
import pytest
from isolation_rooms import package, room

from tito import isolation
from tito.isolation import (
    MissingModule,
    MissingName,
    Source,
    StaleHandle,
    StudentError,
    UseOutsideTest,
)

TENSOR = '''
"""A small tensor."""
import numpy as np

VERSION = "1.2"

class ShapeError(ValueError):
    pass

class Tensor:
    """Wraps an array."""

    def __init__(self, data, dtype=None):
        self.data = np.asarray(data, dtype=dtype or np.float32)
        self.grad = None

    __array_ufunc__ = None

    def numpy(self): return self.data
    def item(self): return self.data.item()
    def tolist(self): return self.data.tolist()
    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)

    def __add__(self, other): return Tensor(self.data + getattr(other, "data", other))
    __radd__ = __add__
    def __sub__(self, other): return Tensor(self.data - getattr(other, "data", other))
    def __rsub__(self, other): return Tensor(other - self.data)
    def __pow__(self, n): return Tensor(self.data ** n)
    def __matmul__(self, other): return Tensor(self.data @ other.data)
    def __rmatmul__(self, other): return Tensor(other @ self.data)
    def __neg__(self): return Tensor(-self.data)
    def __abs__(self): return Tensor(abs(self.data))
    def __iadd__(self, other):
        self.data += getattr(other, "data", other)
        return self
    def __eq__(self, other): return Tensor(self.data == getattr(other, "data", other), dtype=bool)
    def __lt__(self, other): return Tensor(self.data < getattr(other, "data", other), dtype=bool)
    def __ge__(self, other): return True
    def __getitem__(self, index): return Tensor(self.data[index])
    def __setitem__(self, index, value): self.data[index] = value
    def __len__(self): return len(self.data)
    def __iter__(self): return (Tensor(row) for row in self.data)
    def __float__(self): return float(self.data)
    def __int__(self): return int(self.data)
    def __index__(self): return int(self.data)
    def __contains__(self, value): return bool((self.data == value).any())
    def __repr__(self): return f"Tensor({self.data.tolist()})"

    def sum(self, axis=None, keepdims=False):
        return Tensor(self.data.sum(axis=axis, keepdims=keepdims))

    def stub(self):
        raise NotImplementedError("module 01, step 4: Tensor.stub")

    def refuse(self, other):
        raise ShapeError(f"cannot add shapes {self.shape} and {other.shape}")


class no_grad:
    entered = 0
    left = []

    def __enter__(self):
        no_grad.entered += 1
        return self

    def __exit__(self, kind, error, trace):
        no_grad.left.append((kind and kind.__name__, str(error)))
        return True


def echo(*arguments, **keywords):
    return [*arguments, keywords] if keywords or len(arguments) != 1 else arguments[0]

def kind_of(value):
    return type(value).__name__

def writable(array):
    array[...] = 1
    return array

def count():
    for i in range(3):
        yield i

def lookup(key):
    return {"a": 1}[key]

def parameters():
    return [Tensor([1]), Tensor([2])]

class Lazy:
    value = property(lambda self: 1 / 0)
'''


@pytest.fixture(scope="module")
def server():
    modules = {
        "core": "",
        "core.tensor": TENSOR,
        "core.broken": "x = 1\n\ndef f(:\n",
        "core.raising": "x = 1\nraise KeyError('at import')\n",
        "core.leaving": "import sys\nsys.exit(3)",
        "core.needy": "from tinytorch.core.tensor import absent\n",
        "core.lonely": "from tinytorch.core.nowhere import x\n",
        "core.circle": "from tinytorch.core.circle2 import a\nb = 1",
        "core.circle2": "from tinytorch.core.circle import b\na = 1",
        "nn": "from tinytorch.core.tensor import Tensor as T\ndef make(): return T([7])",
    }
    sources = package(**modules)
    for name, filename in (("core", "tinytorch/core/__init__.py"), ("nn", "tinytorch/nn.py")):
        sources[f"tinytorch.{name}"] = Source(modules[name], filename, is_package=True)
    sources["tinytorch.core.huge"] = Source("", "modules/huge.py", problem="50 MB: cut it")
    with room(sources) as server:
        yield server


@pytest.fixture(autouse=True)
def test_begun(server):
    server.begin_test(10)
    yield
    assert server.end_test() is None


@pytest.fixture
def tensor(server):
    import tinytorch.core.tensor as module

    return module


@pytest.fixture
def x(tensor):
    return tensor.Tensor([[1, 2, 3], [4, 5, 6]])


def test_imports_of_every_form_give_proxies(tensor):
    import tinytorch.nn as nn
    from tinytorch import nn as again
    from tinytorch.core import tensor as module
    from tinytorch.core.tensor import Tensor, echo

    assert nn.make().tolist() == again.make().tolist() == [7.0]
    assert module.Tensor([1]).tolist() == Tensor([1]).tolist() == [1.0]
    assert tensor.echo(3) == echo(3) == 3
    assert "tinytorch.core.tensor" in sys.modules


def test_values_cross_and_objects_stay(x):
    assert x.shape == (2, 3)
    assert type(x.shape) is tuple
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x.data, [[1, 2, 3], [4, 5, 6]])
    assert x.sum().item() == 21
    assert x.grad is None
    assert x.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 3, 2.5, 1j, "text", b"bytes", [1, [2.0]], (1, "a"), {"k": [1]}, {(1, 2): 3}),
        *(np.float32(2), np.int64(3), np.dtype("int8"), np.float64, float, bool),
    ],
    ids=str,
)
def test_plain_values_go_there_and_back(tensor, value):
    got = tensor.echo(value)
    assert type(got) is type(value)
    assert got == value


def test_arrays_arrive_writable_there_and_read_only_here(tensor):
    array = np.zeros((2, 2))
    got = tensor.writable(array)
    np.testing.assert_array_equal(got, np.ones((2, 2)))
    np.testing.assert_array_equal(array, 0)
    with pytest.raises(ValueError, match="read-only"):
        got[0, 0] = 5


def test_keywords_slices_and_handles_are_arguments(tensor, x):
    assert x.sum(axis=1, keepdims=True).shape == (2, 1)
    assert x[0, 1:].tolist() == [2, 3]
    assert x[..., None].shape == (2, 3, 1)
    assert x[np.array([True, False])].shape == (1, 3)
    assert x[[0, 0]].shape == (2, 3)
    assert tensor.kind_of(x) == "Tensor"
    assert tensor.kind_of(tensor.Tensor) == "type"
    assert tensor.kind_of(slice(1, None)) == "slice"
    assert [p.item() for p in tensor.parameters()] == [1, 2]


def test_operators_are_forwarded(tensor, x):
    one = tensor.Tensor([1, 2])
    assert (one + 1).tolist() == (1 + one).tolist() == [2, 3]
    assert (1 - one).tolist() == [0, -1]
    assert (one - one).tolist() == [0, 0]
    assert (one**2).tolist() == [1, 4]
    assert (-one).tolist() == [-1, -2]
    assert abs(-one).tolist() == [1, 2]
    assert (x @ x.sum(axis=0)).shape == (2,)
    assert (np.ones((1, 2)) @ x).tolist() == [[5, 7, 9]]
    assert (np.float32(1) + one).tolist() == [2, 3]
    same = one
    one += 1
    assert same.tolist() == [2, 3]
    one[0] = 9
    assert one.tolist() == [9, 3]
    assert 9 in one
    assert 8 not in one
    assert len(one) == 2
    assert [float(row) for row in one] == [9, 3]
    assert (float(one[0]), int(one[0])) == (9.0, 9)
    assert [10, 20][tensor.Tensor(1)] == 20
    assert repr(one) == "Tensor([9.0, 3.0])"
    assert f"{one}" == str(one) == "Tensor([9.0, 3.0])"


def test_comparisons_give_objects_never_verdicts(tensor, x):
    assert (x == x).numpy().all()
    assert (x < 4).numpy().sum() == 3
    with pytest.raises(TypeError, match="compare its values"):
        x >= 1  # noqa: B015
    with pytest.raises(TypeError, match="truth value"):
        bool(x == x)
    with pytest.raises(TypeError, match="truth value"):
        assert x
    with pytest.raises(TypeError, match="unhashable"):
        {x}  # noqa: B018


@pytest.mark.parametrize("judge", [np.asarray, np.sum, lambda x: np.allclose(x, 1), np.float32])
def test_numpy_does_not_take_an_object_for_values(x, judge):
    with pytest.raises(TypeError):
        judge(x)


def test_an_object_cannot_be_copied_out(x):
    import copy
    import pickle

    for function in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied"):
            function(x)


@pytest.mark.parametrize("value", [lambda: 1, print, object(), {1, 2}, sys, ValueError])
def test_what_the_grader_can_do_does_not_enter_the_worker(tensor, value):
    with pytest.raises(TypeError, match="enter the worker"):
        tensor.echo(value)


def test_attributes_can_be_set(x):
    x.grad = np.ones(3)
    assert x.grad.tolist() == [1, 1, 1]
    del x.grad
    assert not hasattr(x, "grad")


def test_names_of_the_package_cannot_be_replaced(tensor):
    with pytest.raises(TypeError, match="use a probe"):
        tensor.echo = None


def test_iteration_is_lazy(tensor):
    counting = tensor.count()
    assert next(counting) == 0
    assert list(counting) == [1, 2]
    with pytest.raises(StopIteration):
        next(counting)


def test_constants_of_a_module_can_be_read(tensor):
    from tinytorch.core.tensor import VERSION

    assert isolation.fetch(VERSION) == "1.2"
    assert isolation.fetch(tensor.VERSION) == "1.2"
    assert isolation.fetch(3) == 3
    assert str(VERSION) == "1.2"


def test_with_statements_never_swallow_a_verdict(tensor):
    with tensor.no_grad():
        pass
    with pytest.raises(AssertionError, match="the expected value is 42"), tensor.no_grad():
        raise AssertionError("the expected value is 42")
    with pytest.raises(StudentError), tensor.no_grad():
        tensor.lookup("z")
    assert tensor.no_grad.entered == 3
    # the worker learns that there was an exception, and of which builtin kind, no more
    assert tensor.no_grad.left == [(None, "None"), ("AssertionError", ""), ("KeyError", "")]


def test_exceptions_arrive_as_the_nearest_builtin(tensor, x):
    with pytest.raises(ValueError, match="cannot add shapes") as caught:
        x.refuse(x)
    error = caught.value
    assert isinstance(error, StudentError)
    assert (error.remote_type, error.kind, error.call) == ("ShapeError", "raised", "Tensor.refuse")
    assert error.mro[:2] == ("ShapeError", "ValueError")
    (frame,) = error.frames
    assert (frame.file, frame.function) == ("modules/core.tensor.py", "Tensor.refuse")
    assert TENSOR.splitlines()[frame.line - 1].strip().startswith("raise ShapeError")
    with pytest.raises(KeyError) as caught:
        tensor.lookup("z")
    assert str(caught.value) == "'z'"
    with pytest.raises(NotImplementedError, match="step 4"):
        x.stub()
    with pytest.raises(ZeroDivisionError):
        tensor.Lazy().value  # noqa: B018
    with pytest.raises(AttributeError):
        x.absent  # noqa: B018
    with pytest.raises(TypeError):
        tensor.Tensor()


def test_a_missing_name_is_known_at_first_use(tensor):
    from tinytorch.core.tensor import Tensr

    with pytest.raises(MissingName) as caught:
        Tensr([1])
    error = caught.value
    assert (error.name, error.module) == ("Tensr", "tinytorch.core.tensor")
    assert (error.file, error.nearest[0]) == ("modules/core.tensor.py", "Tensor")
    assert str(error) == "modules/core.tensor.py has no 'Tensr'; nearest: Tensor"
    assert not isinstance(error, AttributeError | ImportError)
    with pytest.raises(MissingName):
        tensor.echo(tensor.ones)


def test_a_missing_module_is_known_at_first_use():
    from tinytorch.core.tensors import Tensor

    with pytest.raises(MissingModule) as caught:
        Tensor([1])
    assert caught.value.module == "tinytorch.core.tensors"
    assert "tinytorch.core.tensor" in caught.value.nearest
    assert not isinstance(caught.value, ImportError)


def test_broken_modules_say_where():
    from tinytorch.core import broken, circle, huge, leaving, lonely, needy, raising

    def failure(module):
        with pytest.raises(StudentError) as caught:
            module.x()
        return caught.value

    error = failure(broken)
    assert (error.kind, error.remote_type) == ("syntax", "SyntaxError")
    assert error.frames[-1][:2] == ("modules/core.broken.py", 3)
    assert str(error) == "invalid syntax"
    error = failure(raising)
    assert (error.kind, error.remote_type) == ("import", "KeyError")
    assert error.frames[-1][:2] == ("modules/core.raising.py", 2)
    assert failure(leaving).kind == "crash"
    error = failure(needy)
    assert error.kind == "import"
    assert "cannot import name 'absent'" in str(error)
    error = failure(lonely)
    assert (error.kind, str(error)) == ("import", "No module named 'tinytorch.core.nowhere'")
    assert "partially initialized" in str(failure(circle))
    error = failure(huge)
    assert (error.kind, str(error)) == ("import", "50 MB: cut it")


def test_probes_run_beside_the_code_in_any_worker(server):
    source = """
        from tinytorch.core.tensor import Tensor
        calls = []
        def double(x):
            calls.append(1)
            return Tensor(x.data * 2)
        def times():
            return len(calls)
        def fail():
            return Tensor([1]).stub()
    """
    import textwrap

    from tinytorch.core.tensor import Tensor

    probe = isolation.probe(textwrap.dedent(source), "doubling")
    double = probe.double
    assert double(Tensor([1, 2])).tolist() == [2, 4]
    assert probe.times() == 1
    with pytest.raises(NotImplementedError) as caught:
        probe.fail()
    assert [frame.file for frame in caught.value.frames] == [
        "<doubling>",
        "modules/core.tensor.py",
    ]
    server.fresh()
    server.begin_test(10)
    assert double(Tensor([1, 2])).tolist() == [2, 4]
    assert probe.times() == 1
    with pytest.raises(MissingName):
        probe.absent()


def test_a_broken_probe_says_so():
    with pytest.raises(SyntaxError):
        isolation.probe("def f(:").f()


def test_references_survive_a_worker_and_handles_do_not(server, x):
    from tinytorch.core.tensor import Tensor

    server.fresh()
    server.begin_test(10)
    with pytest.raises(StaleHandle, match="Tensor"):
        x.numpy()
    with pytest.raises(StaleHandle):
        Tensor(x)
    assert Tensor([1]).tolist() == [1]


def test_forgotten_objects_are_forgotten_by_the_worker(server, tensor):
    held = isolation.probe(
        "import gc\ndef tensors(kind): return sum(type(o) is kind for o in gc.get_objects())"
    ).tensors
    kept = tensor.Tensor([1])
    for _ in range(50):
        tensor.Tensor([1])
    assert held(tensor.Tensor) <= 2
    assert kept.tolist() == [1]


def test_nothing_is_used_outside_a_test(server, tensor):
    server.end_test()
    with pytest.raises(UseOutsideTest):
        tensor.Tensor([1])
    assert repr(tensor.Tensor) == "<tinytorch.core.tensor.Tensor>"
    server.begin_test(10)


def test_pytest_finds_nothing_of_its_own_in_a_reference(tensor):
    for name in ("__test__", "_pytestfixturefunction", "pytestmark", "__wrapped__", "__code__"):
        assert getattr(tensor.echo, name, None) is None


def test_results_too_large_to_cross_are_errors_of_the_call(tensor, server):
    big = isolation.probe("import numpy as np\ndef big(): return np.zeros(1 << 24)").big
    with pytest.raises(StudentError, match="too large") as caught:
        big()
    assert caught.value.kind == "unsendable"
    assert tensor.echo(1) == 1


def test_uninstall_brings_the_real_package_back(server):
    import tinytorch

    isolation.uninstall()
    try:
        assert isolation.current() is None
        assert "tinytorch" not in sys.modules or sys.modules["tinytorch"] is not tinytorch
        with pytest.raises(UseOutsideTest):
            isolation.probe("def f(): pass").f()
    finally:
        isolation.install(server)
