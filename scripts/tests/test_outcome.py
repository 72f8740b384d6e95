"""What an exception in a checkpoint means, and the words it gets: one message for each kind."""

import difflib
from pathlib import Path

import pytest

from tito.grading.outcome import judge
from tito.grading.places import NAME_MOST, NEAREST, Places
from tito.isolation.errors import StudentError, WorkerDied, WorkerTimeout, from_report
from tito.ladder import load_ladder
from tito.source import ModuleSource

ROOT = Path(__file__).resolve().parents[2]
FILES = {"tinytorch.core.layers": "modules/03_layers/layers.py"}
OWN = ["modules/03_layers/layers.py", 488, "Linear.forward"]
PROBE = ["<probe>", 3, "shapes"]


def raised(kind: str, message: str, *frames: list) -> Exception:
    """An exception as a worker reports it."""
    report = {"kind": "raised", "message": message, "mro": [kind, "Exception"]}
    return from_report(report | {"frames": list(frames)}, FILES)


def missing(name: str) -> Exception:
    """A module without a name, as a worker reports it."""
    report = {"kind": "missing", "module": "tinytorch.core.layers", "name": name, "nearest": []}
    return from_report(report, FILES)


@pytest.mark.parametrize(
    ("error", "headline", "hint"),
    [
        (missing("Dropout"), "Dropout: module layers has no such name", "left margin"),
        (
            raised("AttributeError", "module 'tinytorch.core.layers' has no attribute 'Dropout'"),
            "Dropout: module layers has no such name",
            "left margin",
        ),
        (
            raised(
                "ImportError",
                "cannot import name 'Dropout' from 'tinytorch.core.layers' (modules/…)",
            ),
            "Dropout: module layers has no such name",
            "left margin",
        ),
        (
            raised("AttributeError", "'Linear' object has no attribute 'zero_grad'"),
            "Linear.zero_grad: there is no such method or attribute",
            "inside its class",
        ),
        (
            raised("AttributeError", "type object 'Linear' has no attribute 'make'", PROBE),
            "Linear.make: there is no such method or attribute",
            "inside its class",
        ),
    ],
)
def test_a_missing_name_is_called_so_however_it_is_reached(error, headline, hint):
    _, parts = judge(error, "Module")
    assert parts["headline"] == headline
    assert hint in parts["hint"]
    assert parts["missing"] == headline.partition(":")[0]


def test_a_name_that_the_students_own_line_misses_is_an_error_of_that_line():
    error = raised("AttributeError", "'ReLU' object has no attribute 'ndim'", PROBE, OWN)
    _, parts = judge(error, "Linear")
    assert parts["headline"].startswith("Linear: raised AttributeError: 'ReLU' object has no")
    assert "object of another kind" in parts["hint"]
    assert "missing" not in parts


@pytest.mark.parametrize(
    ("error", "got"),
    [
        (AttributeError("'NoneType' object has no attribute 'numpy'"), "None"),
        (AttributeError("'numpy.ndarray' object has no attribute 'numpy'"), "a numpy.ndarray"),
        (raised("AttributeError", "'list' object has no attribute 'numpy'", PROBE), "a list"),
    ],
)
def test_a_result_of_another_kind_is_no_missing_name(error, got):
    _, parts = judge(error, "relu")
    assert parts["headline"] == f"relu: expected an object with .numpy, got {got}"
    assert ("return" in (parts["hint"] or "")) == (got == "None")
    assert "missing" not in parts


@pytest.mark.parametrize(
    ("error", "status", "headline"),
    [
        (
            raised("NotImplementedError", "module 03, step 4: Linear.forward", OWN),
            "not_started",
            "Linear.forward: not written yet (step 4 of module 03)",
        ),
        (
            WorkerDied("your code ended its own process (exit code 3)", 3, None, "Linear"),
            "error",
            "Linear: your code ended its own process (exit code 3)",
        ),
        (WorkerTimeout(20, "test", "Linear"), "timeout", "Linear: no answer within 20 s"),
        (raised("MemoryError", "", OWN), "failed", "Module: raised MemoryError"),
    ],
)
def test_a_stub_a_crash_and_a_timeout_have_their_own_messages(error, status, headline):
    said, parts = judge(error, "Module")
    assert (said, parts["headline"]) == (status, headline)


def test_the_line_to_open_for_a_missing_name_is_that_of_the_nearest(tmp_path):
    """Capitals do not matter; of a class in a checkpoint, a base of it is in the module."""
    ladder = load_ladder(ROOT)
    rung = ladder.find("03")
    source = tmp_path / rung.source
    source.parent.mkdir(parents=True)
    text = (ROOT / rung.source).read_text(encoding="utf-8")
    text = text.replace("class Dropout(", "class DropOut(").replace("def zero_grad(", "def clear(")
    source.write_text(text, encoding="utf-8")
    places = Places(tmp_path, ladder)
    lines = text.splitlines()
    for name, start, near in (
        ("Dropout", "class DropOut(", "DropOut"),
        ("Net.named_parameter", "    def named_parameters(", "named_parameters"),
        ("Module.zero_grad", "class Module", ""),
        ("Qwertz", None, ""),
    ):
        line, found = places.missing(name, rung)
        assert found == near
        assert lines[line - 1].startswith(start) if start else line is None


LONG = "a" * 3800


@pytest.mark.parametrize(
    "error",
    [
        raised("AttributeError", f"module 'tinytorch.core.layers' has no attribute '{LONG}'"),
        raised("AttributeError", f"'Linear' object has no attribute '{LONG}'"),
        raised("AttributeError", f"'{LONG}' object has no attribute 'forward'"),
        raised("ImportError", f"cannot import name '{LONG}' from 'tinytorch.core.layers' (x)"),
    ],
    ids=["module", "member", "class", "import"],
)
def test_a_name_that_nobody_would_write_is_looked_for_nowhere(error):
    """It is the student's code that says which name is missing."""
    status, parts = judge(error, "Linear")
    assert status in ("error", "failed")
    assert "missing" not in parts


def hostile_places(folder, names):
    """The places of a tree whose module 03 defines these names, as methods and as functions."""
    ladder = load_ladder(ROOT)
    rung = ladder.find("03")
    source = folder / rung.source
    source.parent.mkdir(parents=True)
    text = "# %%\n#| default_exp core.layers\n\n# %%\n#| export\n"
    text += "".join(f"def {name}(): ...\n" for name in names)
    text += "class Net:\n" + "".join(f"    def {name}(self): ...\n" for name in names)
    source.write_text(text, encoding="utf-8")
    return Places(folder, ladder), rung


def test_the_nearest_name_is_looked_for_in_bounds(tmp_path, monkeypatch):
    """However many names a module has, however long they are: this is in no worker's time."""
    compared = []

    class Counting(difflib.SequenceMatcher):
        def ratio(self):
            compared.append((len(self.a), len(self.b)))
            return super().ratio()

    names = ["ab" * 20 + f"{n:04}" for n in range(2000)] + ["a" * 190 + f"{n}" for n in range(60)]
    places, rung = hostile_places(tmp_path, names)
    monkeypatch.setattr(difflib, "SequenceMatcher", Counting)
    for name in ("ab" * 20, "Net." + "ab" * 20, "b" * 100, "a" * 190, "a" * 100_000, "a.", ".", ""):
        places.missing(name, rung)
    assert len(compared) <= 3 * NEAREST
    assert all(max(lengths) <= NAME_MOST for lengths in compared)


@pytest.mark.parametrize(
    ("name", "near"),
    [("Net.forwrad", "forward"), ("forwards", "forward"), ("FORWARD", "forward"), ("Net.x", "")],
)
def test_a_slip_of_the_pen_is_found_among_many_names(tmp_path, name, near):
    """A sound name stands out among a hundred."""
    others = [f"{word}_{n}" for word in ("for", "ward", "back") for n in range(33)]
    places, rung = hostile_places(tmp_path, [*others, "forward", "backward"])
    assert places.missing(name, rung)[1] == near


def test_a_call_that_goes_on_and_on_is_looked_up_in_bounds(tmp_path, monkeypatch):
    """What a report cuts is not searched either: a pattern may take the square of its length."""
    places, rung = hostile_places(tmp_path, ["forward"])
    seen = []
    monkeypatch.setattr(ModuleSource, "place", lambda self, of, step, call: seen.append(call))
    monkeypatch.setattr(ModuleSource, "named", lambda self, call, kind: seen.append(call))
    places.line(rung, {"failure": {"call": "a" * 100_000}, "of": "x", "step": 1})
    places.named(rung.source, "a" * 100_000, "imports")
    assert [len(call) for call in seen] == [400, 400]


@pytest.mark.parametrize("number", ["99999999", "9" * 3900])
def test_an_import_error_names_a_line_that_can_be(number):
    """A student's code may raise one of its own that names any."""
    error = raised("ImportError", f"modules/03_layers/layers.py:{number}: no")
    _, parts = judge(error, "Linear")
    assert "line" not in str(parts.get("traceback", ""))


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (
            TypeError("an object of type Tensor is not an array: judge its values, x.numpy()"),
            "expected plain numbers, got a Tensor",
        ),
        (ValueError("too many values to unpack (expected 2)"), "too many values to unpack"),
    ],
)
def test_what_a_test_cannot_use_is_said_in_a_students_words(error, fact):
    status, parts = judge(error, "take")
    assert status == "failed"
    assert parts["headline"].startswith(f"take: its result does not fit: {fact}")


@pytest.mark.parametrize(
    ("kind", "headline"),
    [
        ("raised", "relu: raised EOFError: EOF when reading a line"),
        ("import", "the module cannot be imported: input() was called"),
    ],
)
def test_input_has_nobody_to_answer_it(kind, headline):
    """In the checkpoint as in a unit test; another end of a file is no question."""
    error = StudentError("EOF when reading a line", "EOFError", kind)
    parts = judge(error, "relu")[1]
    assert parts["headline"] == headline
    assert parts["hint"].startswith("input() waits for a keyboard, and there is none here")
    other = judge(StudentError("Ran out of input", "EOFError", kind), "relu")[1]
    assert "keyboard" not in str(other["hint"])
