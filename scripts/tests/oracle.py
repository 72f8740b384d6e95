"""PyTorch as the oracle: run the same operation in both, compare values and gradients.

The course is imported from modules/ as it stands (no export needed), and leaves `sys.modules` as
it found it. Errors are relative to the largest element of what PyTorch gave, or to a hundredth of
what went in where that is more: a result of almost 0 is a difference of rounded numbers. The
largest error of each operation is collected in `errors` and printed when pytest ends.
"""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tito.export import exported_text
from tito.ladder import load_ladder
from tito.source import parse

ROOT = Path(__file__).resolve().parents[2]
LAST = "07"  # the modules up to here are compared
INSTALL = "needs PyTorch, the oracle: pip install -e '.[oracle]'"
TOLERANCE = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 2e-12}
DTYPES = (np.float32, np.float64)


class Sources(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports `tinytorch.core.*` from the exported text of the modules' sources."""

    def __init__(self, last: str = LAST) -> None:
        self.texts = {}
        for rung in load_ladder(ROOT).checkpoints:
            path = ROOT / rung.source
            if rung.id <= last and path.is_file():
                text = exported_text(parse(path.read_text(encoding="utf-8"), rung.source))
                self.texts[f"tinytorch.core.{rung.module}"] = (text, str(path))

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Claim the modules of the course."""
        return importlib.machinery.ModuleSpec(name, self) if name in self.texts else None

    def exec_module(self, module: Any) -> None:
        """Run the exported text; tracebacks show the module's source."""
        text, file = self.texts[module.__name__]
        exec(compile(text, file, "exec"), module.__dict__)


@contextlib.contextmanager
def forgotten_imports(package: str) -> Iterator[None]:
    """Hide the loaded submodules of a package, and afterwards bring back just these."""
    parent = importlib.import_module(package)
    before = {name: sys.modules[name] for name in sys.modules if name.startswith(package + ".")}
    attributes = dict(vars(parent))
    for name in before:
        del sys.modules[name]
        vars(parent).pop(name.rpartition(".")[2], None)
    try:
        yield
    finally:
        for name in [n for n in sys.modules if n.startswith(package + ".")]:
            del sys.modules[name]
        sys.modules.update(before)
        vars(parent).clear()
        vars(parent).update(attributes)


def load_course(last: str = LAST) -> SimpleNamespace:
    """Import the modules of the course up to `last` privately, one attribute for each."""
    finder = Sources(last)
    with forgotten_imports("tinytorch.core"):
        sys.meta_path.insert(0, finder)
        try:
            names = [name for name in finder.texts if not name.endswith(".setup")]
            return SimpleNamespace(
                **{name.rpartition(".")[2]: importlib.import_module(name) for name in names}
            )
        finally:
            sys.meta_path.remove(finder)


def importable(course: SimpleNamespace) -> Any:
    """Make the fixture under which `import tinytorch.core.x`, run late, finds these modules."""

    @pytest.fixture(scope="module", autouse=True)
    def lent() -> Iterator[None]:
        with forgotten_imports("tinytorch.core"):
            parent = importlib.import_module("tinytorch.core")
            for name, module in vars(course).items():
                sys.modules[f"tinytorch.core.{name}"] = module
                setattr(parent, name, module)
            yield

    return lent


@dataclass
class Errors:
    """The largest relative error of each operation: of its values and of its gradients."""

    largest: dict[tuple[str, str, str], float] = field(default_factory=dict)
    compared: int = 0

    def note(self, name: str, dtype: np.dtype, what: str, error: float) -> None:
        """Keep an error if it is the largest of its kind."""
        key = (name, str(dtype), what)
        self.compared += 1
        self.largest[key] = max(error, self.largest.get(key, 0.0))

    def table(self) -> str:
        """The largest errors as text: an operation a row."""
        columns = [(dtype, what) for dtype in ("float32", "float64") for what in ("value", "grad")]
        heads = "".join(f"{f'{dtype} {what}':>15}" for dtype, what in columns)
        lines = [f"{'largest relative error':<26}{heads}"]
        names = sorted({name for name, _, _ in self.largest})
        for name in ["all", *names]:
            row = f"{name:<26}"
            for dtype, what in columns:
                of_all = [e for (_, d, w), e in self.largest.items() if (d, w) == (dtype, what)]
                own = self.largest.get((name, dtype, what))
                error = max(of_all, default=None) if name == "all" else own
                row += f"{'-' if error is None else f'{error:.1e}':>15}"
            lines.append(row)
        return "\n".join(lines)


errors = Errors()


class Summary:
    """A pytest plugin: prints the errors when all tests have run."""

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say how much was compared, and the largest error of each operation."""
        if errors.compared:
            terminalreporter.section(f"PyTorch as the oracle: {errors.compared:,} comparisons")
            terminalreporter.write_line(errors.table())


@pytest.fixture(scope="session", autouse=True)
def oracle_summary(request: pytest.FixtureRequest) -> None:
    """Have the table printed at the end."""
    plugins = request.config.pluginmanager
    if not plugins.has_plugin("oracle-summary"):
        plugins.register(Summary(), "oracle-summary")


def relative_error(ours: np.ndarray, theirs: np.ndarray, least: float, what: str) -> float:
    """The largest difference over the largest element; shapes, dtypes, NaN and inf must agree.

    `least` is what to divide by if all elements are smaller.
    """
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, PyTorch {theirs.shape}"
    assert ours.dtype == theirs.dtype, f"{what}: dtype {ours.dtype}, PyTorch {theirs.dtype}"
    finite = np.isfinite(theirs)
    np.testing.assert_array_equal(ours[~finite], theirs[~finite], err_msg=what)
    a, b = ours[finite].astype(np.float64), theirs[finite].astype(np.float64)
    if not a.size or np.array_equal(a, b):
        return 0.0
    return float(np.abs(a - b).max() / max(np.abs(b).max(), least, np.finfo(ours.dtype).tiny))


def largest(arrays: list[np.ndarray]) -> float:
    """The largest finite magnitude."""
    return max((float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) for a in arrays), default=0.0)


def close(
    name: str, what: str, ours: np.ndarray, theirs: np.ndarray, tolerance: float, least: float = 0.0
) -> None:
    """Note the error of a comparison, and fail if it is above the tolerance."""
    error = relative_error(ours, theirs, least, f"{name} {what}")
    errors.note(name, ours.dtype, what, error)
    assert error <= tolerance, f"{name} {what}: error {error:.2g}\nours {ours}\nPyTorch {theirs}"


def compare(
    course: SimpleNamespace,
    name: str,
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    arrays: list[np.ndarray],
    seed: int = 0,
    loosen: float = 1.0,
) -> Any:
    """Compare values, then gradients for a random gradient of the output.

    Args:
        ours, theirs: The operation on Tensors of the course and of PyTorch.
        arrays: Its inputs, of one floating dtype, all of them differentiated.
        loosen: A factor on the tolerance, for what is ill-conditioned by nature.

    Returns:
        Our output, whose graph is kept.
    """
    import torch

    mine = [course.tensor.Tensor(a, requires_grad=True) for a in arrays]
    peers = [torch.tensor(a, requires_grad=True) for a in arrays]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        output, expected = ours(*mine), theirs(*peers)
        values = expected.detach().numpy()
        tolerance = loosen * TOLERANCE[arrays[0].dtype]
        close(name, "value", output.numpy(), values, tolerance, min(1.0, largest(arrays)) / 100)
        if values.dtype.kind == "f" and expected.requires_grad:
            g = np.random.default_rng(seed).uniform(-1, 1, values.shape).astype(values.dtype)
            course.autograd.backward(output, g, retain_graph=True)
            expected.backward(torch.from_numpy(g))
            for x, peer in zip(mine, peers, strict=True):
                theirs_ = np.zeros(peer.shape, x.dtype) if peer.grad is None else peer.grad.numpy()
                ours_ = np.zeros(x.shape, x.dtype) if x.grad is None else x.grad.numpy()
                close(name, "grad", ours_, theirs_, tolerance, largest([g]) / 100)
    return output


def operations_below(course: SimpleNamespace, output: Any) -> set[Any]:
    """The Ops in the graph of an output."""
    if output._node is None:
        return set()
    return {node.op for node in course.autograd.topological_order(output._node)}
