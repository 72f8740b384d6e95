# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Module 00: Setup
#
# Before you build a framework, know the machine it will run on, and that you can measure it.
#
# **You build** small tools that answer four questions: who am I, what is installed, how long does
# something take and how much memory does it need; and, at the end, a map of the whole course.
# **You need** Python 3.11 and NumPy 2. **Time**: about an hour.
#
# How a module works: read a step, replace each `raise NotImplementedError` between the two SOLUTION
# markers by your own lines, and run `tito test 00`. When the steps pass, `tito checkpoint run 00`.

# %%
#| default_exp core.setup

# %%
#| export
import ctypes
import os
import platform
import re
import sys
import time
import tracemalloc
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

# %% [markdown]
# ## Step 1: Who are you?
#
# One line names you, and everything that wants your name reads it from there: information that is
# written twice will differ one day. **Edit the line `IDENTITY`** in the cell below.
#
# People will write it in their own ways: `Ada Lovelace <ada>`, `Ada Lovelace  <@Ada>`. Take what is
# clearly meant and refuse the rest at once, with a message that names the value and the remedy; a
# bad value that gets in will surface far away. A GitHub handle has 1 to 39 letters, digits and
# single hyphens, none of them first or last: `ada-l` is one, `-ada`, `a--b` and `ada_l` are not.
# GitHub does not tell `Ada` from `ada`, so the handle comes out in lower case; a name keeps its
# capitals.


# %%
#| export
IDENTITY = "Your Name <your-github-handle>"


def parse_identity(text: str) -> dict[str, str]:
    """Split `Ada Lovelace <@Ada>` into {"name": "Ada Lovelace", "github": "ada"}.

    Runs of spaces in the name become one; an `@` before the handle is dropped.

    Raises:
        ValueError: If there is no name, or no valid handle between < and > at the end.
    """
    ### BEGIN SOLUTION
    match = re.fullmatch(r"\s*(.*\S)\s*<\s*@?([^<>\s]*)\s*>\s*", text)
    if match is None:
        raise ValueError(f"cannot find a name in {text!r}; write: Ada Lovelace <ada>")
    handle = match[2]
    if len(handle) > 39 or not re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", handle):
        raise ValueError(
            f"{handle!r} is not a GitHub handle; use up to 39 letters, digits and single hyphens"
        )
    return {"name": " ".join(match[1].split()), "github": handle.lower()}
    ### END SOLUTION


def identity() -> dict[str, str]:
    """Return your name and GitHub handle, as the line `IDENTITY` gives them."""
    ### BEGIN SOLUTION
    return parse_identity(IDENTITY)
    ### END SOLUTION


# %%
print(parse_identity("  Ada   Lovelace <@Ada-L> "))
try:
    parse_identity("Ada <ada_l>")
except ValueError as error:
    print(error)
# Expected output:
# {'name': 'Ada Lovelace', 'github': 'ada-l'}
# 'ada_l' is not a GitHub handle; use up to 39 letters, digits and single hyphens


# %%
#| test
def test_identity_is_parsed_or_refused():
    assert parse_identity("Grace Hopper<grace>") == {"name": "Grace Hopper", "github": "grace"}
    for bad in ("Grace", "<grace>", "Grace <>", "Grace <-g>", "Grace <a--b>", f"G <{40 * 'a'}>"):
        with np.testing.assert_raises(ValueError):
            parse_identity(bad)


def test_identity_reads_the_one_line():
    assert identity() == parse_identity(IDENTITY)


if __name__ == "__main__":
    test_identity_is_parsed_or_refused()
    test_identity_reads_the_one_line()

# %% [markdown]
# ## Step 2: Which version?
#
# As text, `"3.9" > "3.11"`, because `"9" > "1"`. Versions are lists of numbers: split at the dots,
# compare number by number, and read a missing one as 0, so that 3.11 and 3.11.0 are equal. Stop at
# the first thing that is not a number: `2.0.0rc1` counts as 2, 0, 0.


# %%
#| export
def parse_version(text: str) -> tuple[int, ...]:
    """Return the numbers a version begins with: "3.11.7" gives (3, 11, 7), "2.0rc1" (2, 0)."""
    ### BEGIN SOLUTION
    leading = re.match(r"\d+(\.\d+)*", text.strip())
    return tuple(int(number) for number in leading[0].split(".")) if leading else ()
    ### END SOLUTION


def at_least(found: str, needed: str) -> bool:
    """Say whether version `found` is `needed` or newer."""
    ### BEGIN SOLUTION
    a, b = parse_version(found), parse_version(needed)
    length = max(len(a), len(b))
    return a + (0,) * (length - len(a)) >= b + (0,) * (length - len(b))
    ### END SOLUTION


# %%
print("3.9" > "3.11", at_least("3.9", "3.11"), at_least("3.11", "3.11.0"))
print(parse_version("2.0.0rc1"))
# Expected output:
# True False True
# (2, 0, 0)


# %%
#| test
def test_versions_compare_as_numbers():
    assert [at_least(v, "3.11") for v in ("3.9.18", "3.11", "3.12.1", "4")] == [0, 1, 1, 1]
    assert [at_least("2.1", v) for v in ("2.0", "2.1.0", "2.1.1", "2.10")] == [1, 1, 0, 0]
    assert parse_version("2.4.6.dev0+abc") == (2, 4, 6)


if __name__ == "__main__":
    test_versions_compare_as_numbers()

# %% [markdown]
# ## Step 3: How long, how much?
#
# **Time.** One measurement is a rumour: other programs interrupt it, and the first run fills
# caches. Interruptions only ever add, so the *shortest* of several runs is the closest to the
# truth. Use `time.perf_counter()`; `time.time()` may jump when the clock is set.
#
# **Memory.** `tracemalloc` counts the bytes that Python and NumPy allocate. What matters is the
# **peak**: a computation that needs 8 MB for a moment needs 8 MB. The peak also counts what was
# there before, so subtract that. Stop tracing in any case, for it slows everything down.
#
# **Units.** 1 KiB is 1024 bytes, 1 MiB 1024 KiB. The decimal kB is 1000; disks are sold by the
# latter.


# %%
#| export
def best_seconds(function: Callable[[], Any], repeat: int = 5) -> float:
    """Call a function `repeat` times and return the shortest time a call took, in seconds."""
    ### BEGIN SOLUTION
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
    ### END SOLUTION


def peak_bytes(function: Callable[[], Any]) -> int:
    """Call a function once and return the most memory it held at any moment, in bytes."""
    ### BEGIN SOLUTION
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        function()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before
    ### END SOLUTION


def readable_bytes(count: int) -> str:
    """Write a number of bytes for people: "512 B", "1.5 KiB", "15.6 GiB"; up to TiB."""
    ### BEGIN SOLUTION
    if count < 1024:
        return f"{count} B"
    size = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        if size < 1024 or unit == "TiB":
            break
    return f"{size:.1f} {unit}"
    ### END SOLUTION


# %%
array_peak = peak_bytes(lambda: np.ones(100_000, dtype=np.float32))
list_peak = peak_bytes(lambda: [float(i) for i in range(100_000)])
print(readable_bytes(array_peak), "in an array,", readable_bytes(list_peak), "in a list")
print(readable_bytes(512), readable_bytes(1536), readable_bytes(16 * 2**30))
# Expected output:
# 39... KiB in an array, 3... MiB in a list
# 512 B 1.5 KiB 16.0 GiB


# %%
#| test
def test_best_of_several_calls():
    pauses = [0.05, 0.002, 0.03]
    assert 0.002 <= best_seconds(lambda: time.sleep(pauses.pop()), repeat=3) < 0.03
    assert not pauses


def test_peak_counts_what_is_freed_again():
    peak = peak_bytes(lambda: np.ones(1_000_000).sum())
    assert 8_000_000 <= peak < 8_100_000
    assert not tracemalloc.is_tracing()


def test_bytes_for_people():
    sizes = [readable_bytes(n) for n in (0, 1023, 1024, 10**6, 2**50)]
    assert sizes == ["0 B", "1023 B", "1.0 KiB", "976.6 KiB", "1024.0 TiB"]


if __name__ == "__main__":
    test_best_of_several_calls()
    test_peak_counts_what_is_freed_again()
    test_bytes_for_people()

# %% [markdown]
# ## Step 4: What is this machine?
#
# Whoever reads your numbers must know what made them. A report is plain data: a dictionary of
# values in fixed units, which others can print, store or compare. **BLAS** is the library that
# multiplies matrices for NumPy: OpenBLAS, Accelerate or MKL make two orders of magnitude over plain
# loops.
#
# | key      | value                                             | from                        |
# |----------|---------------------------------------------------|-----------------------------|
# | `python` | version, such as "3.11.7"                         | `platform.python_version()` |
# | `numpy`  | version                                           | `np.__version__`            |
# | `blas`   | name of the library                               | `blas_name()`, given        |
# | `cores`  | processor cores this process may use              | `usable_cores()`, given     |
# | `memory` | physical memory in bytes, None if it is not known | `memory_bytes()`, given     |
# | `system` | system and processor, such as "Linux x86_64"      | `platform`                  |


# %%
#| export
def blas_name() -> str:
    """Return the linear-algebra library that NumPy was built with."""
    config = np.show_config(mode="dicts") or {}
    return str(config.get("Build Dependencies", {}).get("blas", {}).get("name") or "unknown")


def usable_cores() -> int:
    """Return the cores this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Return the physical memory in bytes, or None where the system does not say."""
    if sys.platform == "win32":
        kilobytes = ctypes.c_ulonglong()
        ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes))
        return kilobytes.value * 1024 or None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def system_report() -> dict[str, Any]:
    """Return what a reader of measurements must know about this machine: see the table above."""
    ### BEGIN SOLUTION
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas_name(),
        "cores": usable_cores(),
        "memory": memory_bytes(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    ### END SOLUTION


# %%
for key, value in system_report().items():
    print(f"{key:8}{readable_bytes(value) if key == 'memory' and value else value}")
# Expected output:
# python  3...
# numpy   2...
# blas    ...
# cores   ...
# memory  ...
# system  ...


# %%
#| test
def test_report_is_plain_data_about_this_machine():
    report = system_report()
    assert list(report) == ["python", "numpy", "blas", "cores", "memory", "system"]
    assert report["numpy"] == np.__version__
    assert report["cores"] >= 1


if __name__ == "__main__":
    test_report_is_plain_data_about_this_machine()

# %% [markdown]
# ## Step 5: Is it fit for the course?
#
# A check that only says "no" is half a check: each one carries its **mend**, the sentence that says
# what to do. All checks run, whatever the first one finds, so that one run tells everything. And
# they judge a *report*, not the machine, so that you can test them with the report of a machine you
# do not have. Five checks, in this order:
#
# | name       | ok if                                            | the mend must name  |
# |------------|--------------------------------------------------|---------------------|
# | `python`   | version at least 3.11                            | 3.11                |
# | `numpy`    | version at least 2.0                             | 2.0                 |
# | `blas`     | its name is not "unknown" or "none"              | BLAS                |
# | `memory`   | at least 2 GiB, or not known                     | 2 GiB               |
# | `identity` | not the example: handle not `your-github-handle` | `IDENTITY`          |


# %%
#| export
def check_environment(
    report: dict[str, Any] | None = None, who: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Judge a machine and its user.

    Args:
        report: By default `system_report()`.
        who: By default `identity()`.

    Returns:
        For each check {"name": str, "ok": bool, "mend": str}; the mend is there either way.
    """
    ### BEGIN SOLUTION
    report = system_report() if report is None else report
    who = identity() if who is None else who
    python, numpy, memory = report["python"], report["numpy"], report["memory"]
    example = parse_identity("Your Name <your-github-handle>")
    checks = [
        ("python", at_least(python, "3.11"), f"{python} is too old: install Python 3.11 or newer"),
        ("numpy", at_least(numpy, "2.0"), f"{numpy} is too old: pip install 'numpy>=2.0'"),
        ("blas", report["blas"] not in ("unknown", "none"), "install a NumPy built with a BLAS"),
        ("memory", memory is None or memory >= 2 * 2**30, "2 GiB are needed: close something"),
        ("identity", who["github"] != example["github"], "edit IDENTITY in modules/00_setup"),
    ]
    return [{"name": name, "ok": ok, "mend": mend} for name, ok, mend in checks]
    ### END SOLUTION


# %%
old = {"python": "3.9.2", "numpy": "2.1.0", "blas": "openblas", "memory": 8 * 2**30}
for check in check_environment(old, {"name": "Ada Lovelace", "github": "ada"}):
    print("ok  " if check["ok"] else "MEND", check["name"], "" if check["ok"] else check["mend"])
# Expected output:
# MEND python 3.9.2 is too old: install Python 3.11 or newer
# ok   numpy
# ok   blas
# ok   memory
# ok   identity


# %%
#| test
def test_checks_judge_the_report():
    good = {"python": "3.12.0", "numpy": "2.0.0", "blas": "mkl", "memory": None}
    bad = {"python": "3.10.9", "numpy": "1.26.4", "blas": "unknown", "memory": 2**30}
    ada, nobody = parse_identity("Ada <ada>"), parse_identity("Your Name <your-github-handle>")
    assert [c["ok"] for c in check_environment(good, ada)] == [True] * 5
    assert [c["ok"] for c in check_environment(bad, nobody)] == [False] * 5
    assert [c["name"] for c in check_environment()][:2] == ["python", "numpy"]


if __name__ == "__main__":
    test_checks_judge_the_report()

# %% [markdown]
# ## Step 6: The map of the course
#
# 21 modules, and each says which others it stands on. That is a graph, and a graph without cycles
# has an order. A module is **ready** when all it needs is done. Layer 0 is what is ready at the
# start; suppose it done, and what becomes ready then is layer 1; and so on. If nothing becomes
# ready although something is left, the needs go round in a circle.
#
#     needs  a: –    b: a    c: a    d: b c        layers  [a] [b c] [d]
#
# The course's own map is made this way from the real imports of the modules: `tito module graph`
# prints it, and [overview.svg](overview.svg) shows it.
#
# The same idea runs your gradients in module 05: a node waits until all that use it have reported.
# Cost: each round looks at all that is left, so layers × modules in the worst case. Walking down
# from each module instead would walk every *path*, and a graph of 50 diamonds has 2⁵⁰ of those.


# %%
#| export
COURSE = {
    "00 setup": "",
    "01 tensor": "00",
    "02 activations": "01",
    "03 layers": "01 02",
    "04 losses": "01 02",
    "05 autograd": "01 02 03 04",
    "06 optimizers": "05",
    "07 training": "06",
    "08 dataloader": "01",
    "09 spatial": "06",
    "10 tokenization": "00",
    "11 embeddings": "05",
    "12 attention": "05",
    "13 transformers": "03 06 11 12",
    "14 profiling": "07",
    "15 quantization": "07 09",
    "16 compression": "07",
    "17 memoization": "13",
    "18 acceleration": "09",
    "19 benchmarking": "14",
    "20 capstone": "15 16 19",
}
NEEDS = {title[:2]: needs.split() for title, needs in COURSE.items()}


def ready(needs: dict[str, list[str]], done: Collection[str]) -> list[str]:
    """List the modules that are not done although all they need is, in the order of `needs`."""
    ### BEGIN SOLUTION
    return [m for m, below in needs.items() if m not in done and all(n in done for n in below)]
    ### END SOLUTION


def layers(needs: dict[str, list[str]]) -> list[list[str]]:
    """Group modules into layers: each needs only what is in the layers before its own.

    Raises:
        ValueError: If the needs of some modules form a circle, or are not in the table.
    """
    ### BEGIN SOLUTION
    done: set[str] = set()
    found = []
    while len(done) < len(needs):
        layer = ready(needs, done)
        if not layer:
            left = ", ".join(sorted(needs.keys() - done))
            raise ValueError(f"cannot order {left}: they need each other, or what is not there")
        found.append(layer)
        done.update(layer)
    return found
    ### END SOLUTION


def course_overview() -> str:
    """Draw the module graph: a line for each module, indented by its layer, with its needs."""
    titles = {title[:2]: title for title in COURSE}
    lines = []
    for depth, layer in enumerate(layers(NEEDS)):
        for module in layer:
            arrow = f"  <- {' '.join(NEEDS[module])}" if NEEDS[module] else ""
            lines.append("   " * depth + titles[module] + arrow)
    return "\n".join(lines)


# %%
print(course_overview())
# Expected output:
# 00 setup
#    01 tensor  <- 00
#    10 tokenization  <- 00
#       02 activations  <- 01
#       08 dataloader  <- 01
#          03 layers  <- 01 02
#          04 losses  <- 01 02
#             05 autograd  <- 01 02 03 04
#                06 optimizers  <- 05
#                11 embeddings  <- 05
#                12 attention  <- 05
#                   07 training  <- 06
#                   09 spatial  <- 06
#                   13 transformers  <- 03 06 11 12
#                      14 profiling  <- 07
#                      15 quantization  <- 07 09
#                      16 compression  <- 07
#                      17 memoization  <- 13
#                      18 acceleration  <- 09
#                         19 benchmarking  <- 14
#                            20 capstone  <- 15 16 19


# %%
#| test
def test_ready_when_all_needs_are_done():
    assert ready(NEEDS, []) == ["00"]
    assert ready(NEEDS, {"00", "01", "02"}) == ["03", "04", "08", "10"]


def test_layers_respect_needs():
    assert layers({"d": ["b", "c"], "c": ["a"], "b": ["a"], "a": []}) == [["a"], ["c", "b"], ["d"]]
    with np.testing.assert_raises_regex(ValueError, "a, b"):
        layers({"a": ["b"], "b": ["a"], "c": []})


if __name__ == "__main__":
    test_ready_when_all_needs_are_done()
    test_layers_respect_needs()

# %% [markdown]
# ## Measure: your first two ratios
#
# Absolute seconds say little about your code and much about your laptop. Ratios travel: the same
# sum by Python and by NumPy, and the same numbers in a list and in an array, on the same machine,
# minutes apart. Expect 20 to 50 for the time (each Python addition handles an object) and 8 for the
# memory (a float object of 24 bytes and a pointer of 8, against 4 bytes of float32).


# %%
numbers = [float(i) for i in range(1_000_000)]
array = np.arange(1_000_000, dtype=np.float32)
print(f"time   {best_seconds(lambda: sum(numbers)) / best_seconds(array.sum):.0f}")
print(f"memory {sum(map(sys.getsizeof, numbers)) + 8 * len(numbers):,} / {array.nbytes:,}")
# Expected output:
# time   ...
# memory 32,000,000 / 4,000,000

# %% [markdown]
# ## Pitfalls
#
# - Comparing versions as text; timing once; timing the first call; timing with `time.time()`.
# - In a container the machine's memory is not yours: the limit may be lower than the report says.
# - Swallowing an error (`except: pass`): the bad value then surfaces where nobody understands it.
#
# ## What PyTorch does differently, and why
#
# `python -m torch.utils.collect_env` prints the same kind of report, to be pasted into bug reports.
# It calls other programs (`nvidia-smi`, `lscpu`, `pip`) because a GPU's driver and toolkit must
# match the build; ours asks only Python and NumPy, because nothing else computes here.
#
# ## Sources
#
# - PEP 440, "Version identification": what a version may look like.
# - Kahn 1962, "Topological sorting of large networks", *Communications of the ACM* 5(11).
# - Chen and Revels 2016, "Robust benchmarking in noisy environments": why the minimum.
#
# ## Reflect
#
# In 150 to 300 words, in `modules/00_setup/reflection.md`: time `np.ones((n, n)) @ np.ones((n, n))`
# for n = 250, 500, 1000 and 2000. By which factor should the time grow when n doubles, by which
# does it grow on your machine, and where does the difference come from? Put your system report
# beside it.
#
# **Checkpoint**: `tito checkpoint run 00`
