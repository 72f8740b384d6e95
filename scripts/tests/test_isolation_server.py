"""The server: workers start, end and start again; nothing outlives the grader."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from isolation_rooms import RUNNER, active, limits, package, room

from tito import isolation
from tito.isolation import (
    Limits,
    Server,
    StudentError,
    UseOutsideTest,
    WorkerDied,
    WorkerTimeout,
    process,
    seccomp,
)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="about Linux's processes")
STARTS = ["fork", "spawn", "spawn-pipes"] if sys.platform == "linux" else ["spawn"]
LAYERS = {
    *("private grader", "namespaces", "resource limits", "own user", "no capabilities"),
    *("death with parent", "no new privileges", "Landlock", "system call filter"),
}


@pytest.fixture(params=STARTS)
def server(request):
    with room(package(room=RUNNER), start=request.param) as server:
        yield server


@pytest.fixture
def forked():
    with room(package(room=RUNNER), start="fork") as server:
        yield server


def run(source, *arguments):
    """Run a source's `attack` in the worker."""
    from tinytorch.room import run

    return run(textwrap.dedent(source), *arguments)


def test_every_way_to_start_works_and_says_what_holds(server):
    assert run("def attack(): return 5") == 5
    report = server.isolation
    assert report["start"] in STARTS
    assert {layer["name"] for layer in report["layers"]} == LAYERS
    assert all(layer["detail"] for layer in report["layers"])
    if report["start"] == "fork":
        assert "resource limits" in active(server)


@pytest.mark.parametrize("server", STARTS[1:], indirect=True)
def test_spawned_workers_end_at_deadlines_and_start_again(server):
    for _ in range(2):
        server.begin_test(0.5)
        with contextlib.suppress(WorkerTimeout):  # a slow machine may not even start in time
            run("def attack():\n    while True: pass")
        assert isinstance(server.end_test(), WorkerTimeout)
    server.begin_test(20)
    assert run("def attack(): return 1") == 1
    with pytest.raises(WorkerDied) as caught:
        run("import os\ndef attack(): os._exit(4)")
    assert caught.value.exit_code == 4


def test_output_reaches_the_grader_with_the_answer(server):
    source = "def attack(n):\n    for i in range(n): print('line', i)\n    return n"
    for n in (1, 7, 700):
        run(source, n)
        if server.isolation["start"] == "spawn-pipes" and os.name == "nt":
            time.sleep(0.1)
        assert server.take_output() == "".join(f"line {i}\n" for i in range(n))


def test_a_budget_spans_the_tests_of_a_checkpoint(forked):
    forked.fresh(0.6)
    slow = "import time\ndef attack(): time.sleep(0.25)"
    for _ in range(2):
        forked.begin_test(5)
        run(slow)
        assert forked.end_test() is None
    forked.begin_test(5)
    with pytest.raises(WorkerTimeout) as caught:
        run(slow)
    assert (caught.value.scope, caught.value.seconds) == ("checkpoint", 0.6)
    assert "0.6 s of this checkpoint are used up" in str(caught.value)
    forked.end_test()
    forked.begin_test(5)
    with pytest.raises(WorkerTimeout):
        run(slow)
    forked.end_test()
    forked.fresh(5)
    forked.begin_test(5)
    run(slow)


def test_a_loop_takes_no_other_test_its_turn(forked):
    """Once a test ran out of time, the others share what is left of the checkpoint's."""
    forked.fresh(4)
    ends = []
    for others in (4, 3, 2, 1, 0):
        forked.begin_test(2, others)
        with contextlib.suppress(WorkerTimeout):
            run("def attack():\n    while True: pass" if others else "def attack(): return 1")
        ends.append(forked.end_test())
    assert ends[0].seconds == 2
    assert all(end.scope == "test" and end.seconds <= 0.5 for end in ends[1:4])
    assert ends[4] is None


ENDLESS = """
def honest(x): return x + 1
def deeper(noise):
    while True:
        if noise: print("round after round")
def inside(noise): return deeper(noise)
def deaf():
    import signal
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    return deeper(False)
def liar():
    import os, time
    os.write(1, b'Stack (most recent call first):\\n  File "/etc/passwd", line 1 in root\\n'
                b'  File "modules/endless.py", line 99999999999 in x\\n')
    return deeper(False)
"""


@pytest.fixture(params=STARTS)
def endless(request):
    with room(
        package(endless=ENDLESS, stuck="x = 1\nwhile x:\n    x += 1"), start=request.param
    ) as it:
        yield it


@pytest.mark.parametrize("noise", [False, True], ids=["silent", "printing"])
def test_a_timeout_names_the_line_that_ran(endless, noise):
    from tinytorch.endless import honest, inside

    assert honest(1) == 2
    endless.end_test()
    endless.begin_test(0.5)
    with pytest.raises(WorkerTimeout) as caught:
        inside(noise)
    functions = [frame.function for frame in caught.value.frames]
    if sys.platform != "win32":
        assert functions == ["inside", "deeper"]
        assert caught.value.frames[-1].line in (4, 5)
    printed = endless.take_output()
    assert "most recent call" not in printed
    assert ("round after round\n" in printed) == noise


@pytest.mark.parametrize("name", ["deaf", "liar"])
def test_a_worker_that_says_nothing_useful_is_ended_all_the_same(endless, name):
    import importlib

    run = getattr(importlib.import_module("tinytorch.endless"), name)
    endless.begin_test(1)
    began = time.monotonic()
    with pytest.raises(WorkerTimeout) as caught:
        run()
    assert time.monotonic() - began < 4
    files = {frame.file for frame in caught.value.frames}
    assert files <= {"modules/endless.py"}
    assert name == "liar" or not files


@linux_only
def test_a_module_whose_import_does_not_end_is_waited_for_once(endless):
    """Also by the checkpoints to come."""
    from tinytorch import stuck

    endless.begin_test(1)
    with pytest.raises(WorkerTimeout) as caught:
        _ = stuck.x
    endless.end_test()
    line = caught.value.endless_import
    assert line.file == "modules/stuck.py"
    assert line.line in (2, 3)
    for _ in range(2):
        endless.fresh()
        endless.begin_test(20)
        began = time.monotonic()
        with pytest.raises(StudentError) as refused:
            _ = stuck.x
        assert time.monotonic() - began < 5
        assert refused.value.kind == "import"
        assert f"modules/stuck.py:{line.line}: its import does not end" in str(refused.value)
        endless.end_test()


@linux_only
def test_a_module_that_was_kept_waiting_is_imported_again():
    """A machine that stalls is no loop: only a worker that computed all the time tells of one."""
    sleepy = "import os, time\ntime.sleep(0 if os.path.exists('awake') else 60)\nx = 1"
    with room(package(sleepy=sleepy)) as server:
        from tinytorch import sleepy

        server.begin_test(1)
        with pytest.raises(WorkerTimeout) as caught:
            _ = sleepy.x
        server.end_test()
        assert caught.value.endless_import.line == 2
        server.fresh()
        server.begin_test(0.5)
        with pytest.raises(WorkerTimeout):
            _ = sleepy.x


@linux_only
@pytest.mark.parametrize("rests", [True, False])
def test_processor_time_is_read_of_a_process_that_rests(rests):
    """Of one that still runs, the kernel may leave out what it used since its last tick."""
    does = "time.sleep(60)" if rests else "\nwhile True: pass"
    script = f"import time; print(flush=True); {does}"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    with child:
        child.stdout.readline()
        time.sleep(0.3)
        waited = []
        for _ in range(5):
            began = time.monotonic()
            assert process.processor_seconds(child.pid) > 0
            waited.append(time.monotonic() - began)
        child.kill()
    assert (min(waited) < process.REST_WAIT) == rests
    assert process.processor_seconds(child.pid) is None


def test_a_test_that_only_waits_is_over_too(forked):
    run("def attack(): return 1")
    forked.begin_test(0.1)
    time.sleep(0.2)
    assert isinstance(forked.end_test(), WorkerTimeout)


def test_a_death_that_the_test_swallows_is_still_known(forked):
    with contextlib.suppress(WorkerDied):
        run("import os\ndef attack(): os._exit(0)")
    assert isinstance(forked.fatal, WorkerDied)
    assert forked.end_test() is forked.fatal
    forked.begin_test(5)
    assert forked.fatal is None
    assert run("def attack(): return 1") == 1
    assert forked.end_test() is None


def test_memory_of_the_worker_is_measured_living_and_dead(forked):
    source = "import numpy as np\nkept = []\ndef attack(n): kept.append(np.ones(n << 17)); return 1"
    run(source, 1)
    small = forked.peak_memory()
    run(source, 100)
    large = forked.peak_memory()
    assert large - small > 90 << 20
    forked.fresh()
    forked.begin_test(5)
    run(source, 1)
    assert forked.peak_memory() < large - (50 << 20)
    with contextlib.suppress(WorkerDied):
        run("import os, numpy as np\ndef attack(): x = np.ones(100 << 17); os._exit(0)")
    assert forked.peak_memory() > 100 << 20


def test_nothing_is_started_by_an_import_or_outside_a_test():
    server = Server(package(room=RUNNER))
    with pytest.raises(UseOutsideTest):
        server.operate("fetch", 1)
    server.close()


def test_two_servers_are_not_installed_at_once(forked):
    with pytest.raises(RuntimeError, match="already"):
        isolation.install(forked)


@linux_only
def test_a_fork_server_that_is_gone_is_replaced(forked):
    run("def attack(): return 1")
    os.kill(forked._forks._process.pid, signal.SIGKILL)
    with pytest.raises(WorkerDied):
        run("import time\ndef attack(): time.sleep(5)")
    forked.end_test()
    forked.begin_test(10)
    assert run("def attack(): return 1") == 1


def test_a_worker_that_cannot_start_says_why(monkeypatch):
    monkeypatch.setattr(process, "BOOT", "raise SystemExit('no {0} today')")
    for start in ("fork", "spawn"):
        refused = pytest.raises(WorkerDied, match=r"could not be started: no \w+ today")
        with room(package(room=RUNNER), start=start), refused:
            run("def attack(): return 1")


def alive(pid):
    """Whether a process lives (a zombie does not)."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


@linux_only
@pytest.mark.parametrize("without", [(), ("namespaces",)], ids=["all", "no namespaces"])
def test_nothing_outlives_a_grader_that_is_killed(without, tmp_path):
    script = """
        import sys, time
        from isolation_rooms import *
        with room(package(room=RUNNER), limits=limits(without={without!r})) as server:
            from tinytorch.room import run
            source = "import os, time\\ndef attack(): os.fork(); time.sleep(600)"
            run("def attack(): return 1")
            print(server._worker.process, server._forks._process.pid, server._worker.folder,
                  flush=True)
            run(source)
    """
    path = os.pathsep.join((str(Path(__file__).parent), *filter(None, sys.path)))
    command = [sys.executable, "-c", textwrap.dedent(script).format(without=without)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    ) as grader:
        *words, folder = grader.stdout.readline().decode().split()
        pids = [int(word) for word in words]
        assert len(pids) == 2
        assert all(map(alive, pids))
        assert os.path.isdir(folder)
        grader.kill()
    until = time.monotonic() + 8
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(alive, pids))
    assert not os.path.exists(folder)


@linux_only
@pytest.mark.parametrize("start", ["spawn", "spawn-pipes"])
def test_a_spawned_loop_ends_with_its_grader_without_any_layer(start):
    script = """
        from isolation_rooms import *
        with room(package(room=RUNNER), start={start!r}, limits=limits(without=WITHOUT)) as server:
            from tinytorch.room import run
            run("def attack(): pass")
            print(server._worker.process, server._worker.folder, flush=True)
            run("def attack():\\n    while True: pass")
    """
    script = script.replace("WITHOUT", str(tuple(sorted(LAYERS)))).format(start=start)
    path = os.pathsep.join((str(Path(__file__).parent), *filter(None, sys.path)))
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    ) as grader:
        word, folder = grader.stdout.readline().decode().split()
        time.sleep(0.1)  # for the loop to begin
        grader.kill()
    until = time.monotonic() + 8
    while alive(int(word)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not alive(int(word))
    assert not os.path.exists(folder)


def test_close_leaves_no_process_and_no_folder(server):
    run("def attack():\n    open('x', 'w').write('y')")
    folder, pid = server._worker.folder, server._worker.process
    assert os.path.isdir(folder)
    server.close()
    assert not os.path.exists(folder)
    assert not alive(pid) or sys.platform != "linux"


def test_named_folders_can_be_read_and_not_written(tmp_path):
    (tmp_path / "data.txt").write_text("shipped")
    with contextlib.suppress(PermissionError):
        for folder in (tmp_path, *tmp_path.parents[:-2]):
            folder.chmod(folder.stat().st_mode | 0o055)
    source = """
        import os
        def attack(data):
            path = os.environ["TINYTORCH_DATA"]
            try: open(os.path.join(path, "new"), "w")
            except OSError: return open(os.path.join(path, "data.txt")).read(), os.listdir(path)
    """
    with room(package(room=RUNNER), folders={"TINYTORCH_DATA": str(tmp_path)}):
        assert run(source, str(tmp_path)) == ("shipped", ["data.txt"])


@linux_only
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_named_folders_of_root_alone_can_be_read(tmp_path):
    (tmp_path / "data.txt").write_text("shipped")
    tmp_path.chmod(0o755)
    tmp_path.parent.chmod(0o700)
    source = """
        import os
        def attack(): return open(os.environ["TINYTORCH_DATA"] + "/data.txt").read()
    """
    with room(package(room=RUNNER), folders={"TINYTORCH_DATA": str(tmp_path)}):
        assert run(source) == "shipped"


def test_the_environment_is_short(forked, monkeypatch):
    environment = dict(run("import os\ndef attack(): return dict(os.environ)"))
    allowed = {*process.ENVIRONMENT, "HOME", "TMPDIR", "TEMP", "TMP", "USER", "LOGNAME"}
    assert set(environment) <= allowed | {"MPLBACKEND", "MPLCONFIGDIR"}
    assert environment["HOME"] == forked._worker.folder


def test_modules_beside_the_package_are_out_of_reach(forked):
    source = """
        import importlib, sys
        def attack():
            found = []
            for name in ("tito.grading", "tito.cli", "checkpoints", "conftest", "isolation_rooms"):
                try: found.append(importlib.import_module(name).__name__)
                except ImportError: pass
            return found, [path for path in sys.path if not path or path == "."]
    """
    assert run(source) == ([], [])


def test_the_standard_library_is_whole(forked):
    """Also where Python's folder is closed to the worker's user."""
    source = """
        import importlib
        def attack():
            for name in ("sqlite3", "email.mime.text", "asyncio", "multiprocessing", "http.server",
                         "numpy.polynomial", "concurrent.futures", "zoneinfo", "encodings.idna"):
                importlib.import_module(name)
            return name
    """
    assert run(source) == "encodings.idna", "the last of them was imported too"


def test_threads_and_blas_work_in_the_worker(forked):
    source = """
        import threading, numpy as np
        def attack():
            results = []
            def work(): results.append((np.ones((200, 200)) @ np.ones((200, 200))).sum())
            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            return results
    """
    assert run(source) == [200.0**3] * 8


def test_a_server_on_localhost_works_inside_the_worker_where_namespaces_do(forked):
    run("def attack(): return 1")
    if "namespaces" not in active(forked):
        pytest.skip("sockets are refused where there is no network namespace")
    source = """
        import http.server, threading, urllib.request
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200); self.end_headers(); self.wfile.write(b"hello")
        def attack():
            server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://localhost:{server.server_address[1]}/"
            with urllib.request.urlopen(url, timeout=5) as answer: return answer.read()
    """
    assert run(source) == b"hello"


def test_files_can_be_copied_and_saved_as_usual(forked):
    source = """
        import numpy as np, os, shutil, tempfile
        def attack():
            np.savez("a.npz", x=np.arange(3))
            shutil.copy2("a.npz", "b.npz")
            with tempfile.NamedTemporaryFile(dir=".", delete=False) as file: file.write(b"x")
            os.replace(file.name, "c")
            os.makedirs("d/e")
            shutil.rmtree("d")
            return np.load("b.npz")["x"].tolist(), sorted(os.listdir(".")), tempfile.gettempdir()
    """
    values, names, folder = run(source)
    assert values == [0, 1, 2]
    assert names == ["a.npz", "b.npz", "c"]
    assert folder == forked._worker.folder


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_the_filter_fits_and_returns_on_every_path(machine):
    steps = seccomp.program(machine, 123, (2, 10))
    count = len(steps) // 8
    assert count * 8 == len(steps)
    assert count < 4096
    import struct

    for at in range(count):
        code, yes, no, _ = struct.unpack_from("HBBI", steps, 8 * at)
        if code & 7 == 5:
            assert at + 1 + max(yes, no) < count
    assert struct.unpack_from("HBBI", steps, 8 * (count - 1))[0] == seccomp.RETURN


def test_limits_are_adjustable():
    with room(package(room=RUNNER), limits=Limits(memory=1 << 30)):
        with pytest.raises(MemoryError):
            run("import numpy as np\ndef attack(): return np.ones(1 << 27).sum()")
        assert run("import numpy as np\ndef attack(): return np.ones(1 << 24).sum()") == 1 << 24


@linux_only
def test_processor_time_is_limited():
    with room(package(room=RUNNER), limits=limits(cpu_seconds=1)) as server:
        server.begin_test(20)
        with pytest.raises(WorkerDied, match="used up its 1 s of processor time"):
            run("def attack():\n    while True: pass")


@linux_only
def test_the_grader_is_private_while_it_serves(forked):
    run("def attack(): return 1")
    import ctypes

    assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0
    assert forked.isolation["layers"][0] == {
        "name": "private grader",
        "active": True,
        "detail": "its memory and environment are closed to its user",
    }


def test_a_student_error_is_not_the_end(forked):
    for _ in range(3):
        with pytest.raises(StudentError):
            run("def attack(): raise SystemExit(0)")
    assert run("def attack(): return 1") == 1
    assert forked.fatal is None
