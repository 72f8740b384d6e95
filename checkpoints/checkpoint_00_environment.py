"""Checkpoint 00: can I configure my TinyTorch development environment?

Passing proves that your tools read names and versions as they are meant, measure time and memory,
describe this machine truthfully, say what to mend on any machine, and know the map of the course.
"""

import os
import platform
import sys
import tomllib
from pathlib import Path

import numpy as np

from checkpoints.feedback import (
    asks,
    expect_at_most,
    expect_equal,
    expect_raises,
    expect_true,
    probe,
    timed,
)
from tinytorch.core import setup
from tinytorch.core.setup import (
    at_least,
    check_environment,
    course_overview,
    identity,
    layers,
    parse_identity,
    parse_version,
    readable_bytes,
    ready,
    system_report,
)

GOOD = {"python": "3.12.1", "numpy": "2.1.0", "blas": "openblas", "memory": 8 * 2**30}
ADA = {"name": "Ada Lovelace", "github": "ada"}

MEASURE = probe('''
import time
import tracemalloc
import numpy as np
from tinytorch.core.setup import best_seconds, peak_bytes


def best_of(pauses):
    """Time a function that sleeps for each pause in turn; say how many are left."""
    left = list(pauses)
    return best_seconds(lambda: time.sleep(left.pop(0)), repeat=len(pauses) - 1), len(left)


def peak_of(count):
    """Measure a function that makes `count` float64 twice and keeps neither."""
    def work():
        np.ones(count).sum()
        np.ones(count).sum()
    return peak_bytes(work), tracemalloc.is_tracing()


def peak_of_an_error():
    """Measure a function that fails; say whether tracing has stopped."""
    def work():
        raise KeyError("expected")
    try:
        peak_bytes(work)
    except KeyError:
        return tracemalloc.is_tracing()
''')


def memory_of_this_machine():
    """Physical memory in bytes, where POSIX tells it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def the_ladder():
    """The needs of each module, from the ladder that the grader uses."""
    text = Path(__file__).with_name("ladder.toml").read_text(encoding="utf-8")
    return {c["id"]: (c["module"], c["needs"]) for c in tomllib.loads(text)["checkpoint"]}


def depth(module, needs):
    """The longest way down from a module, in steps."""
    return max((1 + depth(below, needs) for below in needs[module]), default=0)


@asks("imports", step=4, of="system_report", hint="each name comes from one step; run tito test 00")
def test_names_are_there():
    """Call the functions that take nothing."""
    for key in ("name", "github"):
        expect_true(len(identity()[key]) > 0, call="identity()", expected=f"a {key}", got="nothing")
    expect_equal(len(check_environment()), 5, call="len(check_environment())")
    for key in ("python", "numpy", "blas", "cores", "memory", "system"):
        expect_true(key in system_report(), call="system_report()", expected=key, got="no such key")


@asks(
    "functionality",
    step=1,
    of="parse_identity",
    hint="ways to write one handle must come out alike",
)
def test_identity_as_people_write_it():
    """Parse names and handles, each written in the ways people write them."""
    for text, name, github in [
        ("Ada Lovelace <ada>", "Ada Lovelace", "ada"),
        ("Ada Lovelace <@Ada-L>", "Ada Lovelace", "ada-l"),
        ("  Grace   Brewster  Hopper<grace7>  ", "Grace Brewster Hopper", "grace7"),
        ("X < @x >", "X", "x"),
        ("Long <" + "a" * 39 + ">", "Long", "a" * 39),
    ]:
        wanted = {"name": name, "github": github}
        expect_equal(parse_identity(text), wanted, call=f"parse_identity({text!r:.40})")


@asks("functionality", step=1, of="parse_identity", hint="what may a GitHub handle look like?")
def test_bad_identities_are_refused():
    """Parse texts without a name, without a handle, and with handles that cannot exist."""
    for text in ["Ada Lovelace", "<ada>", "Ada <>", "Ada <ada> and more", ""]:
        expect_raises(ValueError, parse_identity, text, call=f"parse_identity({text!r})")
    for handle in ["-ada", "ada-", "a--b", "ada_l", "ada l", "a" * 40]:
        call = f"parse_identity('Ada <{handle:.12}>')"
        expect_raises(ValueError, parse_identity, f"Ada <{handle}>", call=call)
    expect_raises(
        ValueError, parse_identity, "A <a_b>", call="parse_identity('A <a_b>')", mentions=["a_b"]
    )


@asks("functionality", step=1, of="identity", hint="read the one line; do not write it twice")
def test_identity_follows_the_one_line():
    """Change IDENTITY and ask again."""
    before = setup.IDENTITY
    setup.IDENTITY = "Katherine Johnson <kj>"
    try:
        wanted = {"name": "Katherine Johnson", "github": "kj"}
        expect_equal(identity(), wanted, call="identity()")
    finally:
        setup.IDENTITY = before


@asks("functionality", step=2, of="parse_version", hint="numbers, up to what is not a number")
def test_versions_are_numbers():
    """Read versions with and without a tail."""
    for text, numbers in {
        "3.11.7": (3, 11, 7),
        "3": (3,),
        "2.10": (2, 10),
        "2.0.0rc1": (2, 0, 0),
        "2.4.6.dev0+abc": (2, 4, 6),
    }.items():
        expect_equal(parse_version(text), numbers, call=f"parse_version({text!r})")


@asks("functionality", step=2, of="at_least", hint="3.11 is newer than 3.9, and equal to 3.11.0")
def test_versions_are_compared_as_numbers(rng):
    """Compare versions of different lengths, and random ones."""
    for found, needed, wanted in [
        ("3.11", "3.9", True),
        ("3.9", "3.11", False),
        ("3.11", "3.11.0", True),
        ("3.11.0", "3.11", True),
        ("3", "3.0.1", False),
        ("2.0.0rc1", "2.0", True),
    ]:
        expect_equal(at_least(found, needed), wanted, call=f"at_least({found!r}, {needed!r})")
    for a, b in rng.integers(0, 30, (6, 2, 3)):
        found, needed = (".".join(map(str, version)) for version in (a, b))
        wanted = a.tolist() >= b.tolist()
        expect_equal(at_least(found, needed), wanted, call=f"at_least({found!r}, {needed!r})")


@asks("functionality", step=3, of="best_seconds", hint="interruptions only ever add")
def test_the_best_time_counts():
    """Time a function that sleeps 80, 2, 60 and 80 ms, four times."""
    seconds, left = MEASURE.best_of([0.08, 0.002, 0.06, 0.08, 0.08])
    expect_equal(left, 1, call="calls that best_seconds(f, repeat=4) left of 5")
    expect_true(
        0.002 <= seconds < 0.045, call="best_seconds(f)", expected="about 0.002", got=seconds
    )


@asks("functionality", step=3, of="peak_bytes", hint="the most that was held at one moment")
def test_peak_memory(rng):
    """Measure a function that twice makes an array of float64 and keeps neither."""
    count = int(rng.integers(200_000, 400_000))
    peak, tracing = MEASURE.peak_of(count)
    close = 8 * count <= peak <= 8 * count + 200_000
    expect_true(close, call=f"peak_bytes of {count} float64", expected=f"{8 * count}", got=peak)
    expect_equal(tracing, False, call="tracing after peak_bytes")
    expect_equal(MEASURE.peak_of_an_error(), False, call="tracing after a function that failed")


@asks("functionality", step=3, of="readable_bytes", hint="1 KiB is 1024 bytes")
def test_bytes_for_people():
    """Write numbers of bytes for people."""
    for count, wanted in {
        0: "0 B",
        1023: "1023 B",
        1024: "1.0 KiB",
        1536: "1.5 KiB",
        10**6: "976.6 KiB",
        5 * 2**20: "5.0 MiB",
        16 * 2**30: "16.0 GiB",
        2**50: "1024.0 TiB",
    }.items():
        expect_equal(readable_bytes(count), wanted, call=f"readable_bytes({count})")


@asks("functionality", step=5, of="check_environment", hint="judge the report that is given")
def test_checks_of_other_machines():
    """Check the reports of machines that each lack one thing."""
    names = ["python", "numpy", "blas", "memory", "identity"]
    for lacking, value, mention in [
        ("nothing", None, ""),
        ("python", "3.9.18", "3.11"),
        ("numpy", "1.26.4", "2.0"),
        ("blas", "unknown", "BLAS"),
        ("memory", 2**30, "2 GiB"),
        ("identity", "your-github-handle", "IDENTITY"),
    ]:
        who = ADA | {"github": value} if lacking == "identity" else ADA
        report = GOOD if lacking in ("nothing", "identity") else GOOD | {lacking: value}
        checks = check_environment(report, who)
        call = f"check_environment, {lacking} missing"
        expect_equal([c["name"] for c in checks], names, call="names of the checks")
        expect_equal([c["ok"] for c in checks], [n != lacking for n in names], call=call)
        mends = {c["name"]: c["mend"] for c in checks}
        named = lacking == "nothing" or mention in mends[lacking]
        expect_true(named, call=call, expected=f"a mend that names {mention}", got=str(mends))
    silent = check_environment(GOOD | {"memory": None}, ADA)
    expect_equal(silent[3]["ok"], True, call="check_environment, memory not known")


@asks("functionality", step=6, of="ready", hint="not done itself, and all it needs is done")
def test_what_is_ready():
    """Ask what can be begun in a course of four modules."""
    needs = {"d": ["b", "c"], "a": [], "b": ["a"], "c": ["a"]}
    for done, wanted in [([], ["a"]), (["a"], ["b", "c"]), (["a", "b"], ["c"]), (list("abcd"), [])]:
        expect_equal(ready(needs, done), wanted, call=f"ready(needs, {done})")
    expect_equal(ready(needs, ["a", "b", "c"]), ["d"], call="ready(needs, ['a', 'b', 'c'])")


@asks("functionality", step=6, of="layers", hint="what if something is left and nothing is ready?")
def test_layers_and_circles():
    """Group modules into layers, and refuse needs that go round in a circle."""
    needs = {"d": ["b", "c"], "a": [], "b": ["a"], "c": ["a"], "e": ["a", "d"]}
    expect_equal(layers(needs), [["a"], ["b", "c"], ["d"], ["e"]], call="layers(needs)")
    expect_equal(layers({}), [], call="layers({})")
    circle = {"a": ["b"], "b": ["a"], "c": []}
    expect_raises(ValueError, layers, circle, call="layers of a circle", mentions=["a", "b"])


@asks("integration", step=4, of="system_report", hint="ask Python and NumPy; do not guess")
def test_report_tells_the_truth():
    """Describe this machine: the grader looks for itself."""
    report = system_report()
    expect_equal(report["python"], platform.python_version(), call="system_report()['python']")
    expect_equal(report["numpy"], np.__version__, call="system_report()['numpy']")
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    expect_equal(report["blas"], blas, call="system_report()['blas']")
    cores = report["cores"]
    few = isinstance(cores, int) and 1 <= cores <= (os.cpu_count() or 1)
    expect_true(
        few, call="system_report()['cores']", expected="the cores of this machine", got=cores
    )
    system = f"{platform.system()} {platform.machine()}"
    expect_equal(report["system"], system, call="system_report()['system']")
    if report["memory"] is not None and hasattr(os, "sysconf"):
        memory = memory_of_this_machine()
        near = isinstance(report["memory"], int) and abs(report["memory"] / memory - 1) < 0.01
        expect_true(
            near, call="system_report()['memory']", expected=f"{memory}", got=report["memory"]
        )


@asks("integration", step=5, of="check_environment", hint="the defaults are this machine and you")
def test_checks_of_this_machine():
    """Check this machine with its own report; it runs the grader, so its Python will do."""
    checks = {c["name"]: c["ok"] for c in check_environment()}
    expect_equal(checks["python"], sys.version_info >= (3, 11), call="the check of python")
    expect_equal(checks["numpy"], int(np.__version__.split(".")[0]) >= 2, call="the check of numpy")
    named = identity()["github"] != "your-github-handle"
    expect_equal(checks["identity"], named, call="the check of identity")


@asks("integration", step=6, of="course_overview", hint="one list of truth: the ladder")
def test_map_is_the_ladder():
    """Compare the course's map, its layers and its drawing with the ladder of the grader."""
    ladder = the_ladder()
    needs = {module: below for module, (_, below) in ladder.items()}
    wanted = [[] for _ in range(1 + max(depth(module, needs) for module in needs))]
    for module in needs:
        wanted[depth(module, needs)].append(module)
    expect_equal(layers(needs), wanted, call="layers(the ladder)")
    expect_equal(layers(setup.NEEDS), wanted, call="layers(NEEDS)")
    drawn = course_overview()
    for module, (name, _) in ladder.items():
        expect_true(f"{module} {name}" in drawn, call="course_overview()", expected=name, got=drawn)


@asks(
    "performance", step=6, of="layers", hint="visit modules, not paths: paths double at each fork"
)
def test_layers_are_not_exponential():
    """Order chains of 11 and of 36 diamonds: the second has 33 million times the paths."""

    def diamonds(count):
        needs = {"0": []}
        for i in range(count):
            needs |= {f"{i}l": [f"{i}"], f"{i}r": [f"{i}"], f"{i + 1}": [f"{i}l", f"{i}r"]}
        return needs

    few, many = diamonds(11), diamonds(36)
    expect_equal(len(layers(many)), 73, call="len(layers(36 diamonds))")
    ratio = timed(layers, many, repeat=3) / timed(layers, few, repeat=3)
    expect_at_most(ratio, 60, call="layers(36 diamonds)", what="time against 11 diamonds")
