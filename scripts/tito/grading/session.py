"""The trusted pytest session: ordinary checkpoint files, with proxies under their imports.

Run as `python -I -m tito.grading.session` with a job (JSON) on standard input. It writes
pytest-json-report's file into the job's folder and one JSON line a finished test to standard
output. No code of a student runs in the ladder's session; checkpoints of a student's own get a
second one, confined, whose results are theirs alone.
"""

import contextlib
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tito import isolation
from tito.custom import rung_of_file, usable
from tito.grading.outcome import judge
from tito.grading.run import RAW_REPORT
from tito.grading.spending import Meter
from tito.isolation import Limits, Server, Source, landlock, linux
from tito.isolation.process import ForkServer
from tito.ladder import AnyRung, Custom, Ladder, load_ladder

RENEWALS = 8  # of a checkpoint's workers, after tests that failed: each costs as much as ten tests


def machine() -> dict[str, str]:
    """The NumPy and BLAS that grading used."""
    import numpy as np

    build = np.show_config(mode="dicts")["Build Dependencies"]  # type: ignore[call-overload, index]
    blas = build.get("blas", {})
    name = f"{blas.get('name', 'unknown')} {blas.get('version', '')}"
    return {"numpy": np.__version__, "blas": name.strip()}


def own_peak() -> int | None:
    """The most memory this process has held so far, in bytes, where the platform tells."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Grading:
    """The pytest plugin: a fresh worker per checkpoint, a deadline per test, a verdict each."""

    def __init__(self, server: Server, ladder: Ladder, custom: tuple[Custom, ...], out: Any):
        self.server = server
        self.ladder = ladder
        self.custom = custom
        self.out = out
        self.rung: AnyRung | None = None
        self.verdicts: dict[str, dict[str, Any]] = {}
        self.memory: dict[str, int] = {}
        self.meter: Meter | None = None
        self.spoilt = False  # whether the last test may have left wrong code's traces
        self.renewals = 0  # workers dropped for that, of this rung
        self.tests: Counter[str] = Counter()  # by rung, how many there are
        self.begun: Counter[str] = Counter()  # by rung, how many of them
        self.found: dict[str, AnyRung] = {}  # by the name of its file

    def rung_of(self, item: pytest.Item) -> AnyRung:
        """The rung that a test's file belongs to."""
        return self.rung_of_name(item.path.name)

    def rung_of_name(self, name: str) -> AnyRung:
        """The rung of a checkpoint's file; looked for once, not for each of its tests."""
        if name not in self.found:
            self.found[name] = rung_of_file(name, self.ladder, self.custom)
        return self.found[name]

    def close_rung(self) -> None:
        """Note what the checkpoint's workers used before the next one starts."""
        if self.rung is not None:
            self.memory[self.rung.id] = self.server.peak_memory()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """All tests are known."""
        self.tests.update(self.rung_of(item).id for item in session.items)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Give each checkpoint its own worker and each test its own deadline.

        So that one mistake counts once, what a test of wrong code left behind (recording switched
        off, a changed default) is dropped with its worker; no more often than `RENEWALS`, for each
        new one imports the package anew. A worker that died, hung or broke the protocol fails the
        test even if the test did not notice.
        """
        rung = self.rung_of(item)
        if rung != self.rung:
            self.close_rung()
            self.rung = rung
            self.server.fresh(rung.seconds)
            self.renewals = 0
        elif self.spoilt and self.renewals < RENEWALS:
            self.renewals += 1
            self.server.renew()
        self.spoilt = False
        self.begun[rung.id] += 1
        others = self.tests[rung.id] - self.begun[rung.id]
        self.server.begin_test(rung.test_seconds, others)
        if self.meter:
            self.meter.begin()
        try:
            result = yield
        except NotImplementedError:  # a step that is not written left nothing behind
            raise
        except BaseException:
            self.spoilt = True
            raise
        finally:
            if self.meter:
                self.meter.end(item.nodeid)
            fatal = self.server.end_test()
            if fatal is not None:
                raise fatal
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> Iterator[Any]:
        """Turn the exception of a test into its verdict, where there is one."""
        if call.excinfo is not None or call.when == "call":
            marker = item.get_closest_marker("rung")
            words = dict(marker.kwargs) if marker else {}
            verdict = {key: words.get(key) for key in ("kind", "step", "of", "hint", "module")}
            doc = (getattr(item.function, "__doc__", None) or "").strip()  # type: ignore[attr-defined]
            verdict["asked"] = " ".join(doc.split("\n\n")[0].split())
            verdict["status"], verdict["failure"] = "passed", None
            if call.excinfo is not None:
                of = words.get("of") or item.name
                verdict["status"], verdict["failure"] = judge(call.excinfo.value, of)
                verdict["failure"]["output"] = self.server.take_output()
            self.verdicts.setdefault(item.nodeid, verdict)
        return (yield)

    @pytest.hookimpl(optionalhook=True)
    def pytest_json_runtest_metadata(self, item: pytest.Item, call: pytest.CallInfo) -> dict:
        """Hand the verdict to pytest-json-report, beside its own outcome and durations."""
        return {"verdict": self.verdicts[item.nodeid]} if item.nodeid in self.verdicts else {}

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Tell the parent that one more test is done."""
        self._tell_of(nodeid, self.verdicts.get(nodeid, {}).get("status", "error"))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Tell the parent which test begins."""
        self._tell_of(nodeid, "running")

    def _tell_of(self, nodeid: str, status: str) -> None:
        """Tell the parent how a test stands: that one has ended along with the next that begins,
        so that the parent is woken once."""
        file, _, test = nodeid.partition("::")
        rung = self.rung_of_name(Path(file).name).id
        message = {"rung": rung, "test": test, "status": status, "tests": self.tests[rung]}
        self.tell(message, now=status == "running")

    def pytest_sessionfinish(self) -> None:
        """Tell of the last test."""
        self.out.flush()

    @pytest.hookimpl(optionalhook=True)
    def pytest_json_modifyreport(self, json_report: dict) -> None:
        """Add what the isolation offered and what each checkpoint's worker used."""
        self.close_rung()
        json_report["tito"] = {"isolation": self.server.isolation, "memory": self.memory}
        json_report["tito"] |= {"machine": machine(), "session_bytes": own_peak()}
        if self.meter:
            json_report["tito"]["spending"] = self.meter.found

    def tell(self, message: dict[str, Any], *, now: bool = True) -> None:
        """Write one line to the parent."""
        self.out.write(json.dumps(message) + "\n")
        if now:
            self.out.flush()


def confine() -> None:
    """Give up writing outside the temporary folder, as far as the kernel offers it.

    A student's own checkpoints run in this very process: without this they could change what the
    next steps of a push run, or what the ladder gave.
    """
    with contextlib.suppress(OSError):
        linux.no_new_privileges()
        rules = landlock.Ruleset(network=False)
        rules.allow("/", landlock.READ | landlock.EXECUTE)
        for folder in (tempfile.gettempdir(), "/dev"):
            rules.allow(folder, rules.handled & ~(landlock.MAKE_CHAR | landlock.MAKE_BLOCK))
        rules.enforce()


def run(job: dict[str, Any], forks: ForkServer | None = None) -> int:
    """Run the job's checkpoints in one pytest session and return pytest's exit status.

    `forks` is a fork server that is warm already.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    root = Path(job["root"])
    package = {name: Source(**source) for name, source in job["package"].items()}
    limits = Limits(**job.get("limits", {}))
    server = Server(package, start=job.get("start"), limits=limits, forks=forks)
    server.start()
    isolation.install(server)
    os.environ["TITO_SEED"] = str(job["seed"])
    # A forged .pyc beside a checkpoint must not be read: what is imported from here on is compiled.
    sys.pycache_prefix = job["folder"]
    ladder = load_ladder(root)
    beyond = any(rung not in ladder.by_id for rung in job["rungs"])
    custom = usable(root, ladder) if beyond else ()
    files = {rung.id: rung.file for rung in (*ladder.checkpoints, *custom)}
    plugin = Grading(server, ladder, custom, out)
    plugin.meter = Meter(server) if job.get("measure") else None
    if any(rung.own and rung.id in job["rungs"] for rung in custom):
        confine()  # the fork server is outside: its workers have layers of their own
    arguments = [
        *("-c", os.devnull, "--rootdir", str(root), "--confcutdir", str(root / "checkpoints")),
        *("-p", "no:cacheprovider", "-p", "no:doctest", "-p", "no:unittest", "-p", "no:junitxml"),
        *("-p", "pytest_jsonreport.plugin", "--json-report", "--json-report-omit=log,streams"),
        *(
            "--json-report-file",
            str(Path(job["folder"]) / RAW_REPORT),
            "-q",
            "--tb=no",
            "--assert=plain",
        ),
        *("--import-mode=importlib", "-o", "python_files=checkpoint_*.py"),
        "--continue-on-collection-errors",
        *(str(root / files[rung]) for rung in job["rungs"]),
    ]
    try:
        return int(pytest.main(arguments, plugins=[plugin]))
    finally:
        isolation.uninstall()
        server.close()


if __name__ == "__main__":
    sys.exit(run(json.loads(sys.stdin.buffer.read())))
