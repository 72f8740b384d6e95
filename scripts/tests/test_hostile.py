"""Hostile code in a module gains nothing, and costs the other checkpoints nothing.

Each case hides its code in a module 01 that is otherwise all stubs: what such a tree scores
without it is the most it may score with it. Checkpoints 00 and 10 do not need module 01, so
they must be graded as if the hostile code were not there.
"""

import os
import re
import textwrap
from dataclasses import dataclass, field

import pytest

from tito.grading.grade import grade
from tito.ladder import load_ladder
from tito.render import render_all
from tito.report import dump_report
from tito.source import parse
from tito.strip import strip

TENSOR = "modules/01_tensor/tensor.py"
GRADED = ("00", "01", "10")
SECRET = "s3cret-of-the-grader-7f1e"


@dataclass(frozen=True)
class Attack:
    """Hostile code: `at_import` runs when module 01 is imported, `in_call` in `Tensor(...)`."""

    at_import: str = ""
    in_call: str = ""
    files: dict[str, str] = field(default_factory=dict)


LIARS = """
    import numpy as np
    class Agreeable:
        shape, dtype, data, grad, ndim, size = (), np.float32, 0.0, None, 0, 1
        def __init__(self, *a, **k): pass
        def __eq__(self, other): return True
        def __ne__(self, other): return False
        def __bool__(self): return True
        def __array__(self, *a, **k): return np.zeros(())
        def __getattr__(self, name): return self
        def __call__(self, *a, **k): return self
        def __getitem__(self, i): return self
        def __iter__(self): return iter([self])
        def __len__(self): return 1
    for _op in "add radd sub rsub mul rmul truediv rtruediv pow rpow matmul neg abs".split():
        setattr(Agreeable, f"__{_op}__", lambda self, *a: self)
    Tensor = Agreeable
    zeros = ones = full = arange = eye = randn = rand = stack = where = lambda *a, **k: Agreeable()
"""

EXIT = "import os\nprint('::error::beside')\nos._exit(0)\n"
OPTIONS = "[pytest]\naddopts = -p beside --collect-only\n"
BESIDE = dict.fromkeys(
    "conftest.py sitecustomize.py usercustomize.py numpy.py rich.py json.py tinytorch.py "
    "modules/conftest.py modules/numpy.py modules/x.pth modules/01_tensor/conftest.py "
    "modules/01_tensor/numpy.py".split(),
    EXIT,
) | dict.fromkeys("pytest.ini modules/pytest.ini tox.ini setup.cfg".split(), OPTIONS)

ATTACKS = {
    "exits at import": Attack("import os; os._exit(0)"),
    "exits in a call": Attack(in_call="import os; os._exit(0)"),
    "raises SystemExit": Attack("raise SystemExit(0)"),
    "raises KeyboardInterrupt": Attack(in_call="raise KeyboardInterrupt"),
    "raises what pytest takes for a skip": Attack(
        "import pytest; pytest.skip('all fine', allow_module_level=True)",
        "import pytest; pytest.skip('all fine')",
    ),
    "overwrites reports when it exits": Attack("""
        import atexit, glob, os
        def forge():
            for name in ("report.json", "raw.json", "grade.json", *glob.glob("/tmp/tito-*/*"),
                         *glob.glob("/tmp/**/report.json", recursive=True)):
                try:
                    open(name, "w").write('{"score": {"points": 100, "max": 100}}')
                except OSError:
                    pass
        atexit.register(forge); forge()
    """),
    "patches the comparisons": Attack("""
        import builtins, sys
        import numpy as np, numpy.testing
        for name in dir(numpy.testing):
            if name.startswith("assert"):
                setattr(numpy.testing, name, lambda *a, **k: None)
        np.isclose = np.allclose = lambda *a, **k: np.True_
        try:
            import pytest, _pytest.runner, _pytest.python
            pytest.raises = lambda *a, **k: open(os.devnull)
            _pytest.python.Function.runtest = lambda self: None
            _pytest.runner.call_and_report = lambda *a, **k: None
        except ImportError:
            pass
        builtins.AssertionError = type("Harmless", (BaseException,), {})
    """),
    "objects that agree with everything": Attack(LIARS),
    "numbers, texts and arrays that lie": Attack("""
        import numpy as np
        class Number(float):
            __eq__ = lambda self, other: True
            __lt__ = __le__ = __gt__ = __ge__ = lambda self, other: True
            __sub__ = __rsub__ = lambda self, other: 0.0
            __hash__ = float.__hash__
        class Text(str):
            __eq__ = lambda self, other: True
            __contains__ = lambda self, other: True
            __hash__ = str.__hash__
        class Array(np.ndarray):
            __eq__ = lambda self, other: np.True_
            def __array_ufunc__(self, *a, **k): return np.True_
            def __array_function__(self, *a, **k): return np.True_
        class Tensor:
            def __init__(self, *a, **k): self.grad = None
            def numpy(self): return np.zeros(3).view(Array)
            data = property(numpy)
            shape = property(lambda self: type("S", (tuple,), {"__eq__": lambda s, o: True})())
            dtype = property(lambda self: Text("float32"))
            item = tolist = __float__ = lambda self: Number(0)
            def __getattr__(self, name): return lambda *a, **k: Tensor()
    """),
    "looks for expected values in frames and objects": Attack(
        in_call="""
        import gc, sys
        frame, found = sys._getframe(), []
        while frame:
            found += [v for k, v in frame.f_locals.items() if "expected" in k or "wanted" in k]
            frame = frame.f_back
        for thing in gc.get_objects():
            if type(thing) is dict and ("expected" in thing or "TITO_SEED" in thing):
                found.append(thing)
        print("FOUND", len(found), found)
        raise ValueError(f"found {found}")
    """
    ),
    "files beside the modules": Attack(files=BESIDE),
    "forges workflow commands and escapes": Attack(
        r"""
        print("::notice title=Autograding complete::Points 100/100")
        print("::set-output name=points::100\x1b[2J\x1b]0;owned\x07")
        class Tensor:
            def __init__(self, *a, **k):
                link = "<script>alert(1)</script>|[x](y)"
                raise ValueError("\n::notice title=x::Points 100/100\n\x1b[31m" + link)
        Tensor.__name__ = "\n::error::x"
    """
    ),
    "writes to the runner's files by path": Attack("""
        import glob, os
        found = glob.glob("/tmp/**/github_*", recursive=True)
        for name in (*found, os.environ.get("GITHUB_ENV", "")):
            try:
                open(name, "a").write("TITO_POINTS=100\\n")
            except OSError:
                pass
    """),
    "reads secrets": Attack("""
        import glob, os
        print(dict(os.environ))
        for name in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline"):
            try:
                print(open(name).read())
            except OSError:
                pass
        try:
            print(open(f"/proc/{os.getppid()}/mem", "rb").read(10))
        except OSError:
            pass
        raise RuntimeError("done reading")
    """),
    "kills its parents": Attack(
        "import os, signal\nfor pid in (os.getppid(), 0, -1): os.kill(pid, signal.SIGKILL)",
        "import os, signal\nfor pid in range(2, 400):\n"
        "    try: os.kill(os.getppid(), signal.SIGSTOP)\n    except OSError: pass",
    ),
    "traces its parent": Attack("""
        import ctypes, os
        libc = ctypes.CDLL(None)
        for pid in (os.getppid(), 1):
            libc.ptrace(16, pid, 0, 0)
        raise RuntimeError("traced")
    """),
    "fork bomb": Attack("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"),
    "a gigabyte of output": Attack(
        in_call="import sys\nfor _ in range(1024): sys.stdout.write('x' * (1 << 20))"
    ),
    "allocates 100 GB": Attack("import numpy as np; x = np.ones(100 << 27)"),
    "loops for ever": Attack(in_call="while True: pass"),
    "loops for ever in C with signals blocked": Attack(
        """
        import signal
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        import re
        re.match("(a+)+$", "a" * 64 + "b")
    """
    ),
    "a huge matrix product": Attack(
        in_call="import numpy as np; a = np.ones((9000, 9000)); a @ a @ a @ a"
    ),
    "closes every descriptor": Attack("import os; os.closerange(0, 256)"),
    "floods every descriptor": Attack("""
        import os
        for fd in range(3, 64):
            try:
                os.set_blocking(fd, False)
                while True: os.write(fd, b"\\xff" * 65536)
            except OSError: pass
    """),
    "answers with garbage from a thread": Attack("""
        import os, struct, threading
        def spam():
            while True:
                for fd in range(3, 32):
                    try: os.write(fd, struct.pack("<I", 12) + b"\\x00" * 12)
                    except OSError: pass
        threading.Thread(target=spam, daemon=True).start()
    """),
    "an oversized frame": Attack("""
        import os
        for fd in range(3, 32):
            try: os.write(fd, b"\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff")
            except OSError: pass
    """),
    "a result larger than any frame": Attack("""
        import numpy as np
        class Tensor:
            def __init__(self, *a, **k): self.shape, self.grad = (), None
            def numpy(self): return np.zeros(400 << 20, dtype=np.uint8)
            def __getattr__(self, name): return lambda *a, **k: self
            def __len__(self): return 1 << 62
            def __iter__(self):
                while True: yield 1.0
    """),
    "rewrites the modules": Attack("""
        import glob
        for name in glob.glob("/tmp/**/modules/*/*.py", recursive=True) + [__file__]:
            try: open(name, "w").write("# %%\\nraise SystemExit(1)\\n")
            except OSError: pass
    """),
    "recursion without end": Attack(in_call="(f := lambda: f())()"),
    "a metaclass that fights back": Attack("""
        class Meta(type):
            def __getattribute__(cls, name):
                raise BaseException("no")
        class Tensor(metaclass=Meta):
            def __init__(self, *a, **k): pass
    """),
}


def stubbed(root, attack):
    """Module 01 as stubs with an attack inside."""
    text = strip("01", parse((root / TENSOR).read_text(encoding="utf-8"), TENSOR))
    if attack.in_call:
        begin = text.index("def as_array(")
        at = text.index("### BEGIN SOLUTION", begin)
        code = textwrap.indent(textwrap.dedent(attack.in_call), "    ").lstrip()
        text = text[:at] + code + "\n    " + text[at:]
    if attack.at_import:
        text += "\n# %%\n#| export\n" + textwrap.dedent(attack.at_import) + "\n"
    return text


@pytest.fixture
def hostile_tree(tree, monkeypatch):
    """A tree with a short budget for module 01; a secret and the runner's files beside it."""
    path = tree / "checkpoints" / "ladder.toml"
    text = path.read_text(encoding="utf-8")
    text = text.replace('id = "01"\n', 'id = "01"\nseconds = 4\ntest_seconds = 1.5\n')
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("GITHUB_TOKEN", SECRET)
    for name in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH"):
        (tree.parent / name.lower()).write_text("")
        monkeypatch.setenv(name, str(tree.parent / name.lower()))
    return tree


def grade_tree(tree):
    """Grade the three checkpoints of a hostile tree."""
    ladder = load_ladder(tree)
    return grade(tree, ladder, [ladder.by_id[i] for i in GRADED], seed=11)


def all_but_timings(checkpoint):
    """The statuses among a checkpoint's tests, without those that a busy machine could fail."""
    return {test.status for test in checkpoint.tests if test.kind != "performance"}


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_code_gains_and_harms_nothing(name, hostile_tree):
    """The attacked checkpoint scores no more than its stubs, the others score in full."""
    attack, tree = ATTACKS[name], hostile_tree
    text = stubbed(tree, attack)
    (tree / TENSOR).write_text(text, encoding="utf-8")
    for file, content in attack.files.items():
        (tree / file).write_text(content, encoding="utf-8")
    before = {p: p.read_bytes() for p in tree.rglob("*.py")}
    report = grade_tree(tree)
    by_id = report.by_id
    assert by_id["01"].points == 0, [t.name for t in by_id["01"].tests if t.points]
    assert by_id["01"].tests, by_id["01"].message
    assert all_but_timings(by_id["00"]) == all_but_timings(by_id["10"]) == {"passed"}
    assert {p: p.read_bytes() for p in tree.rglob("*.py")} == before
    for file in ("github_env", "github_output", "github_path", "github_step_summary"):
        assert (tree.parent / file).read_text() == ""
    texts = {"report.json": dump_report(report)} | render_all(report)
    for file, content in texts.items():
        assert SECRET not in content, file
        assert "\x1b" not in content, file
        forged = [ln for ln in content.splitlines() if ln.startswith("::") and "100/100" in ln]
        assert not forged, file
        fenced = re.sub(r"^(`{3,}).*?^\1$", "", content, flags=re.DOTALL | re.MULTILINE)
        if file.endswith((".svg", ".md")):
            assert "<script" not in fenced, file


def test_the_reference_is_untouched_by_its_neighbours(hostile_tree):
    """The yardstick itself: without hostile code everything asked for passes."""
    report = grade_tree(hostile_tree)
    assert [all_but_timings(report.by_id[i]) for i in GRADED] == [{"passed"}] * 3


def test_no_process_survives_a_grading(hostile_tree):
    """What a student's code starts ends with its checkpoint."""
    mark = f"tito-survivor-{os.getpid()}"
    attack = Attack(f"""
        import os, sys, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                try:
                    import ctypes
                    ctypes.CDLL(None).prctl(15, b"{mark[-15:]}", 0, 0, 0)
                except Exception: pass
                time.sleep(600)
            os._exit(0)
    """)
    (hostile_tree / TENSOR).write_text(stubbed(hostile_tree, attack), encoding="utf-8")
    grade_tree(hostile_tree)
    names = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/comm") as file:
                    names.append(file.read().strip())
            except OSError:
                continue
    assert mark[-15:] not in names
