"""Hostile code in the worker: it may ruin its own test, and nothing else.

Every attack runs as the student's code would. After each the grader's process must be whole and
the next test must run on an honest worker. The attacks run with all layers of protection and
again with some left off, as on machines whose kernel offers less.
"""

import builtins
import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque

import numpy as np
import pytest
from isolation_rooms import RUNNER, active, limits, package, processes_of, resident, room

from tito.isolation import ProtocolError, StudentError, WorkerDied, WorkerTimeout

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="attacks use Linux's /proc")
pytestmark = linux_only

SECRET = "expected-value-that-the-worker-must-never-see"
MEMORY = 640 << 20
MODES = {
    "all": {"limits": limits(memory=MEMORY)},
    "no namespaces": {"limits": limits(memory=MEMORY, without=("namespaces",))},
    "no Landlock": {"limits": limits(memory=MEMORY, without=("namespaces", "Landlock"))},
    "spawned": {"limits": limits(memory=MEMORY), "start": "spawn"},
}
LOOPS = {
    "python": "def attack():\n    while True: pass",
    "in C": """
import numpy as np
def attack():
    a = np.ones((3000, 3000))
    while True: a @ a
""",
    "signals blocked": """
import signal
def attack():
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True: pass
""",
    "sleep": "import time\ndef attack(): time.sleep(3600)",
    "catching everything": """
def attack():
    while True:
        try:
            while True: pass
        except BaseException: pass
""",
    "in an attribute": """
class Endless:
    def __len__(self):
        while True: pass
def attack(): return len(Endless())
""",
    "while printing": "def attack():\n    while True: print('x' * 1000)",
}
EXITS = {
    "exit 0": ("import os\ndef attack(): os._exit(0)", 0),
    "exit 3": ("import os\ndef attack(): os._exit(3)", 3),
    "segmentation fault": ("import ctypes\ndef attack(): ctypes.string_at(0)", -signal.SIGSEGV),
    "abort": ("import os\ndef attack(): os.abort()", None),
    "closing the connection": (
        "import os, time\ndef attack():\n    os.closerange(3, 200)\n    time.sleep(60)",
        None,
    ),
    "deep recursion in C": (
        """
import sys
def attack(x=0):
    sys.setrecursionlimit(10**8)
    return sorted([1], key=attack)
""",
        -signal.SIGSEGV,
    ),
}
IMPORTED = {
    "exiting": "import os; os._exit(0)",
    "leaving": "raise SystemExit(0)",
    "looping": "while True: pass",
    "closing": "import os; os.closerange(0, 200)",
    "hungry": "x = bytearray(100 << 30)",
    "forking": "import os\nwhile True: os.fork()",
}


# Attacks that no layer of the kernel's has a part in run once with each way to start; those that
# the layers alone keep out run in every mode; the others wherever there is a fork server.
either_start = pytest.mark.parametrize("server", ["all", "spawned"], indirect=True)
every_mode = pytest.mark.parametrize("server", MODES, indirect=True)


@pytest.fixture(scope="module", params=[mode for mode in MODES if mode != "spawned"])
def server(request):
    with room(package(room=RUNNER, **IMPORTED), **MODES[request.param]) as server:
        honest()
        yield server


@pytest.fixture
def run(server):
    """Runs an attack in a test of its own; afterwards an honest test must pass."""
    from tinytorch.room import run

    server.begin_test(10)
    yield run
    server.end_test()
    server.fresh()
    server.begin_test(10)
    honest()
    server.end_test()


def honest():
    """What the student's code gives when it is let alone."""
    from tinytorch.room import honest as function

    assert function(1) == 2
    np.testing.assert_array_equal(function(np.zeros(2)), np.ones(2))


def run_then_honest(run, source):
    """An attack, then what the same test would ask next."""
    run(source)
    honest()


@either_start
@pytest.mark.parametrize(("source", "code"), EXITS.values(), ids=EXITS)
def test_a_worker_that_ends_is_an_error_of_its_test(server, run, source, code):
    with pytest.raises(WorkerDied) as caught:
        run(source)
    assert caught.value.call == "run"
    assert caught.value.exit_code == code or code is None
    assert len(str(caught.value).splitlines()[0]) < 80
    with pytest.raises(WorkerDied):
        honest()
    assert server.fatal is caught.value is server.end_test()


@either_start
@pytest.mark.parametrize("source", LOOPS.values(), ids=LOOPS)
def test_a_loop_ends_at_the_deadline(server, run, source):
    server.begin_test(0.2)
    began = time.monotonic()
    with pytest.raises(WorkerTimeout) as caught:
        run(source)
    assert time.monotonic() - began < 3
    assert (caught.value.scope, caught.value.seconds) == ("test", 0.2)
    with pytest.raises(WorkerTimeout):
        honest()
    assert server.end_test() is caught.value


@pytest.mark.parametrize("name", IMPORTED)
def test_attacks_at_import_time_cost_no_other_test(server, run, name):
    import importlib

    server.begin_test(0.5)
    with pytest.raises((WorkerDied, WorkerTimeout, StudentError)):
        importlib.import_module(f"tinytorch.{name}").anything()


@every_mode
def test_the_grader_cannot_be_reached(server, run):
    source = """
import ctypes, os, resource, signal
libc = ctypes.CDLL(None, use_errno=True)

def attack(grader):
    parent = os.getppid()
    targets = [pid for pid in (grader, parent, -1, -grader) if pid not in (0, 1)]
    done = []
    for pid in targets:
        for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
            try:
                os.kill(pid, number)
                done.append(("kill", pid))
            except OSError: pass
        if libc.ptrace(16, pid, None, None) == 0: done.append(("trace", pid))
        if libc.ptrace(0x4206, pid, None, None) == 0: done.append(("seize", pid))
        local = ctypes.create_string_buffer(64)
        vector = (ctypes.c_void_p * 2)(ctypes.addressof(local), 64)
        if libc.process_vm_readv(pid, vector, 1, vector, 1, 0) > 0: done.append(("read", pid))
        try:
            os.kill(os.pidfd_open(pid), 9)
            done.append(("pidfd", pid))
        except (OSError, AttributeError): pass
        if pid > 0:
            try:
                resource.prlimit(pid, resource.RLIMIT_CPU, (0, 0))
                done.append(("prlimit", pid))
            except (OSError, ValueError): pass
            try:
                os.sched_setaffinity(pid, {0})
                done.append(("affinity", pid))
            except OSError: pass
            try:
                os.setpriority(os.PRIO_PROCESS, pid, 19)
                done.append(("priority", pid))
            except OSError: pass
            for name in ("environ", "mem", "cmdline", "maps", "fd"):
                try:
                    path = f"/proc/{pid}/{name}"
                    found = os.listdir(path) if name == "fd" else open(path, "rb").read(100)
                    if name != "cmdline": done.append((name, pid))
                except OSError: pass
    return done
"""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert run(source, os.getpid()) == []
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


@pytest.fixture
def secret():
    """A text that only the grader knows, in its memory, environment and arguments."""
    os.environ["TITO_TEST_SECRET"] = SECRET
    expected = {"value": SECRET, "list": [SECRET, SECRET.encode()]}
    yield expected
    del os.environ["TITO_TEST_SECRET"]


@every_mode
def test_expected_values_cannot_be_found(server, run, secret):
    source = """
import gc, os, sys

def attack(beginning):
    found = []
    frame = sys._getframe()
    while frame:
        found.append(repr(frame.f_locals) + repr(frame.f_code))
        frame = frame.f_back
    for thing in gc.get_objects():
        if isinstance(thing, (str, bytes, dict, list, tuple)):
            try: found.append(repr(thing)[:2000])
            except Exception: pass
    found.append(repr(os.environ))
    for folder in ("/proc", "/tmp", os.getcwd()):
        for path, folders, files in os.walk(folder):
            if path.count("/") > 3: folders.clear()
            for name in files:
                if name in ("environ", "cmdline", "report.json", "event.json"):
                    try: found.append(open(os.path.join(path, name), errors="replace").read(10**6))
                    except OSError: pass
    return [text[:100] for text in found if beginning + "-the-worker" in text][:5]
"""
    assert run(source, SECRET.partition("-the-worker")[0]) == []


@either_start
def test_patches_stay_in_the_worker(server, run):
    source = """
import builtins, sys, numpy, numpy.testing, unittest
def attack():
    nothing = lambda *a, **k: None
    numpy.testing.assert_allclose = numpy.testing.assert_array_equal = nothing
    numpy.allclose = numpy.array_equal = numpy.isclose = lambda *a, **k: True
    builtins.AssertionError = Warning
    builtins.isinstance = lambda *a: True
    builtins.len = builtins.print = nothing
    for name in list(sys.modules):
        if name.startswith(("pytest", "_pytest", "tito")): sys.modules[name] = None
    return 41
"""
    functions = (np.testing.assert_allclose, np.allclose, builtins.AssertionError, builtins.len)
    with contextlib.suppress(StudentError, WorkerDied, ProtocolError):
        run(source)
    same = (np.testing.assert_allclose, np.allclose, builtins.AssertionError, builtins.len)
    assert functions == same
    assert not np.allclose(1, 2)


LIARS = """
import numpy as np

class Agreeable:
    def __eq__(self, other): return True
    __ne__ = __lt__ = __gt__ = __le__ = __ge__ = __eq__
    __hash__ = None
    def __bool__(self): return True
    def __array__(self, *a, **k): return np.zeros(3)

class Real(float):
    def __eq__(self, other): return True
    __hash__ = None
    def __sub__(self, other): return Real(0)

class Word(str):
    def __eq__(self, other): return True
    __hash__ = None

class Whole(int):
    def __eq__(self, other): return True
    __hash__ = None

class Rows(np.ndarray):
    def __eq__(self, other): return np.ones(3, bool)

class Row(list):
    def __eq__(self, other): return True
    __hash__ = None

def attack(kind):
    return {
        "object": Agreeable(), "float": Real(1), "str": Word("x"), "int": Whole(3),
        "array": np.zeros(3).view(Rows), "list": Row(), "type": Agreeable,
        "nested": [Agreeable()],
    }[kind]
"""


@either_start
def test_liars_are_objects_without_a_verdict(server, run):
    for kind in ("object", "float", "str", "int", "array", "list", "type"):
        assert_no_verdict(run(LIARS, kind))
    (inner,) = run(LIARS, "nested")
    assert_no_verdict(inner)


def assert_no_verdict(got):
    """What the grader holds is no value, and no way to judge it gives True."""
    assert not isinstance(got, float | str | int | list | np.ndarray | type)
    for judge in (
        lambda: got == 5.0,
        lambda: got == SECRET,
        lambda: bool(got),
        lambda: np.asarray(got),
        lambda: np.allclose(got, 1),
    ):
        with pytest.raises((TypeError, StudentError, AssertionError)):
            assert judge() is True or judge() is np.True_


@either_start
def test_exceptions_of_the_test_framework_are_only_errors(server, run):
    source = """
class Skipped(BaseException): pass
class OutcomeException(BaseException): pass
Skipped.__module__ = "_pytest.outcomes"
def attack(kind):
    raise {
        "skip": Skipped("skipped"), "exit": SystemExit(0), "interrupt": KeyboardInterrupt(),
        "generator": GeneratorExit(), "stop": StopIteration(1), "base": BaseException("b"),
    }[kind]
"""
    for kind in ("skip", "exit", "interrupt", "generator", "stop", "base"):
        with pytest.raises(StudentError) as caught:
            run(source, kind)
        assert isinstance(caught.value, Exception)
        assert caught.value.kind == ("raised" if kind == "stop" else "crash")


@either_start
def test_hostile_exceptions_arrive_clean(server, run):
    source = """
class Evil(ValueError):
    def __str__(self): return "\\x1b[31m::error::\\ud800" + "x" * 10**6
class Endless(ValueError):
    def __str__(self): raise SystemExit
class Wrong(ValueError):
    def __str__(self): return 3
Evil.__name__ = "::notice::" + "y" * 10**5
def attack(which):
    if which == 3:
        def deeper(n): return deeper(n + 1)
        deeper(0)
    raise (Evil, Endless, Wrong)[which]()
"""
    for which in range(4):
        with pytest.raises(StudentError) as caught:
            run(source, which)
        error = caught.value
        assert isinstance(error, ValueError if which < 3 else RecursionError)
        assert len(str(error)) <= 4000
        assert "\x1b" not in str(error) + error.remote_type
        assert len(error.remote_type) <= 100
        assert len(error.frames) <= 40


SPEAK = """
import os, socket, struct, threading, time
from tito.isolation import wire

def wires():
    for number in range(3, 64):
        try:
            yield socket.socket(fileno=os.dup(number))
        except OSError:
            pass

def say(data):
    for connection in wires():
        try: connection.sendall(data)
        except OSError: pass

def frame(data): return struct.pack("<I", len(data)) + data
OK = bytes(8) + b"\\x00N"
"""
WORDS = {
    "an answer of its own": "say(frame(OK))",
    "an answer nobody asked for": "say(frame(OK) * 3)",
    "an oversized length": "say(b'\\xff' * 64)",
    "a length of nothing": "say(bytes(4))",
    "random bytes": "say(os.urandom(5000))",
    "a flood": "say(b'\\x10\\x00\\x00\\x00' * (1 << 22))",
    "a truncated message": "say(frame(OK)[:-1]); os._exit(0)",
}


@pytest.mark.parametrize("server", ["all"], indirect=True)
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_speaking_out_of_turn_ends_the_worker(server, run, words):
    source = SPEAK + f"\ndef attack():\n    {words}\n"
    server.begin_test(3)
    with pytest.raises((ProtocolError, WorkerDied)) as caught:
        run_then_honest(run, source)
    assert len(str(caught.value).splitlines()[0]) < 80
    assert server.end_test() is caught.value


ANSWERS = {
    "unknown tag": "b'\\xff'",
    "nothing": "b''",
    "two values": "b'NN'",
    "a huge list": "b'l' + b'\\xff' * 4 + b'\\0'",
    "a huge array": "b'a\\x09\\x04' + b'\\xff' * 32",
    "a status of its own": None,
    "an error without parts": "b'd' + bytes(4)",
}


@either_start
@pytest.mark.parametrize("value", ANSWERS.values(), ids=ANSWERS)
def test_malformed_answers_end_the_worker(server, run, value):
    """The worker's own code is replaced, so that it answers the right question wrongly."""
    status = 1 if value == ANSWERS["an error without parts"] else 0
    if value is None:
        status, value = 7, "b'N'"
    source = f"""
import struct
from tito.isolation import worker
def attack():
    def answer(room, data):
        out = bytes(data[4:12]) + bytes([{status}]) + {value}
        return bytearray(struct.pack("<I", len(out)) + out)
    worker.answer = answer
"""
    run(source)
    with pytest.raises(ProtocolError) as caught:
        honest()
    assert caught.value.detail
    assert server.fatal is caught.value


@either_start
def test_a_message_that_never_ends_ends_at_the_deadline(server, run):
    source = """
from tito.isolation import worker
def attack():
    def answer(room, data):
        return bytearray(b"\\x00\\x00\\x00\\x03" + bytes(data[4:12]))
    worker.answer = answer
"""
    run(source)
    server.begin_test(0.3)
    with pytest.raises(WorkerTimeout):
        honest()


@pytest.mark.parametrize("server", ["all"], indirect=True)
def test_threads_that_keep_answering_gain_nothing(server, run):
    source = (
        SPEAK
        + """
def attack():
    def speak():
        while True:
            time.sleep(0.001)
            say(frame(OK))
    threading.Thread(target=speak, daemon=True).start()
    return 1
"""
    )
    run_often = functools.partial(deque, (run_then_honest(run, source) for _ in range(1000)))
    with pytest.raises((ProtocolError, WorkerDied)):
        run_often()


@pytest.mark.parametrize(
    "expression",
    ["bytearray(100 << 30)", "np.ones(100 << 27)", "[0] * (100 << 27)", "'x' * (100 << 30)"],
)
def test_a_huge_allocation_is_a_memory_error(server, run, expression):
    source = f"import numpy as np\ndef attack(): return {expression}"
    before = resident()
    with pytest.raises(MemoryError):
        run(source)
    assert resident() - before < 32 << 20


@either_start
def test_a_slow_leak_is_bounded(server, run):
    source = """
def attack():
    blocks = []
    while True: blocks.append(bytearray(64 << 20))
"""
    with pytest.raises((MemoryError, WorkerDied)):
        run(source)


FORKS = """
import ctypes, os, time
def attack(mark):
    ctypes.CDLL(None).prctl(15, mark.encode())
    while True:
        try: os.fork()
        except OSError: time.sleep(0.01)
"""


@every_mode
def test_a_fork_bomb_is_contained_and_cleaned_up(server, run):
    mark = f"bomb{os.getpid() % 10**6}"
    server.begin_test(0.4)
    with pytest.raises(WorkerTimeout):
        run(FORKS, mark)
    assert subprocess.run([sys.executable, "-c", "print(1)"], check=True, timeout=20)
    server.end_test()
    server.begin_test(10)
    honest()
    assert processes_of(mark) == []


def test_what_hides_in_another_session_is_ended_too(server, run):
    source = """
import ctypes, os, signal, time
def attack(mark):
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(15, mark.encode())
            time.sleep(600)
        os._exit(0)
    time.sleep(0.1)
    return os.getpid()
"""
    mark = f"ghost{os.getpid() % 10**6}"
    run(source, mark)
    assert len(processes_of(mark)) == 1
    server.fresh()
    assert processes_of(mark) == []


@either_start
def test_a_forked_copy_cannot_answer_for_its_parent(server, run):
    source = """
import os
worker = os.getpid()
def attack():
    os.fork()
    return os.getpid() == worker
"""
    answers = []
    with contextlib.suppress(ProtocolError, WorkerDied):
        answers.extend(run(source) for _ in range(20))
    assert all(answers), "a copy's answer was taken for the worker's"


@every_mode
def test_files_of_the_grader_cannot_be_written(server, run, tmp_path, monkeypatch):
    targets = [tmp_path / "report.json", tmp_path / "github_env"]
    for target in targets:
        target.write_text("as it was")
        target.chmod(0o666)
    monkeypatch.setenv("GITHUB_ENV", str(targets[1]))
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        with contextlib.suppress(PermissionError):
            folder.chmod(folder.stat().st_mode | 0o055)
    source = """
import atexit, os, threading
def write(paths):
    done = []
    for path in paths:
        for attempt in (
            lambda: open(path, "a").write("forged"),
            lambda: os.truncate(path, 0),
            lambda: os.unlink(path),
            lambda: os.rename("mine", path),
            lambda: os.symlink("mine", path + ".link"),
            lambda: os.setxattr(path, "user.forged", b"x"),
            lambda: os.chown(path, -1, os.getgid()),
            lambda: os.mkdir(path + ".folder"),
            lambda: open(path).read(),
        ):
            try:
                attempt()
                done.append(path)
            except OSError: pass
        for pretended in (os.chmod, os.utime):
            try: pretended(path, 0 if pretended is os.chmod else (0, 0))
            except OSError: pass
    return done

def attack(paths):
    open("mine", "w").write("forged")
    paths = [*paths, os.environ.get("GITHUB_ENV", "/nowhere")]
    atexit.register(write, paths)
    threading.Thread(target=write, args=(paths,)).start()
    return write(paths)
"""
    done = run(source, [str(target) for target in targets])
    server.end_test()
    server.begin_test(10)
    server.fresh()
    if "Landlock" in active(server):
        assert done == []
        assert [target.read_text() for target in targets] == ["as it was"] * 2
        assert [target.stat().st_mode & 0o777 for target in targets] == [0o666] * 2
        assert min(target.stat().st_mtime for target in targets) > 10**9
        assert len(list(tmp_path.iterdir())) == 2


@either_start
def test_modules_cannot_be_rewritten(server, run):
    source = """
import sys, os
def attack():
    module = sys.modules["tinytorch.room"]
    try: open(module.__file__, "w").write("honest = lambda x: 0")
    except OSError: pass
    for finder in sys.meta_path:
        sources = getattr(finder, "sources", {})
        for source in sources.values(): source["text"] = "honest = lambda x: 0"
    del sys.modules["tinytorch.room"]
    return os.path.exists(module.__file__)
"""
    assert run(source) is False
    server.fresh()
    server.begin_test(10)
    honest()


@contextlib.contextmanager
def listener(family, address):
    """A socket of the grader's that notes whether anything reaches it."""
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.bind(address)
        listening.listen()
        listening.settimeout(0.05)
        yield listening
        with pytest.raises(TimeoutError):
            listening.accept()


@every_mode
def test_there_is_no_network(server, run, tmp_path):
    source = """
import os, socket
def attack(port, path, abstract):
    reached = []
    for family, address in ((socket.AF_INET, ("127.0.0.1", port)), (socket.AF_UNIX, path),
                            (socket.AF_UNIX, abstract)):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                with socket.socket(family, kind) as one:
                    one.settimeout(0.5)
                    one.connect(address)
                    one.send(b"x")
                    reached.append((family.name, kind.name))
            except OSError: pass
    try:
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        a.sendto(b"x", path)
        reached.append("pair")
    except OSError: pass
    return [r for r in reached if r != ("AF_INET", "SOCK_DGRAM")]
"""
    path, abstract = str(tmp_path / "s"), f"\0tito-{os.getpid()}"
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        with contextlib.suppress(PermissionError):
            folder.chmod(folder.stat().st_mode | 0o055)
    with (
        listener(socket.AF_INET, ("127.0.0.1", 0)) as tcp,
        listener(socket.AF_UNIX, path),
        listener(socket.AF_UNIX, abstract),
    ):
        os.chmod(path, 0o777)
        assert run(source, tcp.getsockname()[1], path, abstract) == []


@every_mode
def test_no_program_can_be_started(server, run):
    source = """
import os, subprocess, sys
def attack():
    for arguments in (["/bin/sh", "-c", "echo x"], [sys.executable, "-c", "print(1)"]):
        try:
            subprocess.run(arguments, check=True)
            return arguments
        except (OSError, subprocess.SubprocessError): pass
    return os.system("true") == 0
"""
    assert run(source) is False


def test_the_temporary_directory_is_bounded(server, run):
    source = """
import os
def attack(amount):
    written = 0
    try:
        with open("large", "wb") as file:
            while written < amount: written += file.write(bytes(1 << 20))
    except OSError: pass
    return written
"""
    assert run(source, 1 << 30) <= 64 << 20


def test_the_temporary_directory_goes(server, run):
    source = """
import os
def attack():
    os.makedirs("a/b")
    open("a/b/c", "w").write("x")
    os.chmod("a/b", 0)
    os.chmod("a", 0)
    for name in range(3): os.symlink("/", f"link{name}")
    return os.getcwd()
"""
    folder = run(source)
    server.fresh()
    assert not os.path.exists(folder)


@every_mode
def test_no_rights_can_be_regained(server, run):
    source = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def attack():
    done = []
    for name, count in (("setuid", 1), ("setgid", 1), ("setreuid", 2), ("setresuid", 3)):
        try:
            getattr(os, name)(*[0] * count)
            done.append(name)
        except OSError: pass
    for flags in (0x10000000, 0x00020000, 0x40000000):
        if libc.unshare(flags) == 0: done.append("unshare")
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0: done.append("mount")
    if libc.chroot(b".") == 0: done.append("chroot")
    if libc.prctl(1, 0) == 0: done.append("outlive")
    if libc.syscall(425, 8, ctypes.create_string_buffer(256)) >= 0: done.append("io_uring")
    if libc.syscall(321 if os.uname().machine == "x86_64" else 280, 0, None, 0) >= 0:
        done.append("bpf")
    try: done.append(os.memfd_create("hidden"))
    except OSError: pass
    if libc.shmget(0, 1 << 20, 0o1600) >= 0: done.append("shm")
    try: open("/proc/self/oom_score_adj", "w").write("0")
    except OSError: pass
    if open("/proc/self/oom_score_adj").read() != "1000\\n": done.append("oom")
    status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
    return done, status["CapEff"].strip(), status["NoNewPrivs"].strip(), os.getuid()
"""
    done, capabilities, no_new, user = run(source)
    assert done == [] or (done == ["oom"] and "Landlock" not in active(server))
    assert int(capabilities, 16) == 0
    assert no_new == "1"
    assert user != 0


@either_start
def test_endless_answers_are_bounded_by_the_deadline(server, run):
    source = """
def attack():
    while True: yield 1
"""
    server.begin_test(0.3)
    with pytest.raises(WorkerTimeout):
        for _ in run(source):
            pass


def test_a_gigabyte_of_output_costs_nothing(server, run):
    source = """
import os
def attack(size):
    block = b"x" * (1 << 20)
    for _ in range(size >> 20): os.write(1, block)
    print("the end")
"""
    size = (
        1 << 30
        if server.isolation["start"] == "fork" and "namespaces" in active(server)
        else 1 << 26
    )
    before, threads = resident(), threading.active_count()
    run(source, size)
    output = server.take_output()
    assert output.endswith("xthe end\n")
    assert len(output) < 70_000
    assert f"({size + 8 - 65536} bytes before this were dropped)" in output
    assert resident() - before < 32 << 20
    assert threading.active_count() <= threads + 1


@either_start
def test_output_is_made_safe_and_belongs_to_its_test(server, run):
    source = r"""
import sys, os
def attack():
    print("\x1b[31mred\x1b[0m \u202e \ud800", flush=True)
    sys.stderr.write("::error::forged\r::notice::x\n")
    os.write(2, b"\xff\xfe\n")
"""
    run(source)
    output = server.take_output()
    assert "\x1b" not in output
    assert "\r" not in output
    assert "::error::forged" in output
    assert server.take_output() == ""
    run(source)
    server.end_test()
    server.begin_test(10)
    assert server.take_output() == ""


@either_start
def test_what_objects_say_of_themselves_is_made_safe(server, run):
    source = r"""
class Loud:
    def __repr__(self): return "\x1b[31m" + "x" * 10**6
    def __str__(self): raise SystemExit
Loud.__name__ = "\x1b[2J" * 1000
def attack(): return Loud()
"""
    loud = run(source)
    assert len(repr(loud)) <= 100_000
    assert "\x1b" not in repr(loud)
    with pytest.raises(StudentError) as caught:
        str(loud)
    assert caught.value.kind == "crash"
    with pytest.raises(TypeError) as refused:
        bool(loud)
    assert "\x1b" not in str(refused.value) + caught.value.call


@either_start
def test_reading_the_keyboard_ends_at_once(server, run):
    with pytest.raises(EOFError):
        run("def attack(): return input()")
