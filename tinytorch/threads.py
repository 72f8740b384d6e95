"""Work in several threads: NumPy lets go of Python's lock while it computes.

As many threads as BLAS was told to use (OPENBLAS_NUM_THREADS, OMP_NUM_THREADS), else as there are
processors. Results do not depend on who was quicker: every part has its place beforehand.
"""

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

PART_BYTES = 1 << 19  # of one part of an array: half a typical second-level cache
Item = TypeVar("Item")


def thread_count() -> int:
    """As many as BLAS was told to use, else as there are processors."""
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(variable, "").isdigit():
            return max(1, int(os.environ[variable]))
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Team:
    """The threads that help; started when first needed, and anew in a forked process."""

    def __init__(self) -> None:
        self.size = thread_count()
        self.pool: ThreadPoolExecutor | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Let go of threads that did not survive a fork."""
        self.pool = None

    def ask(self, work: Callable[[], None]) -> list[Future]:
        """Ask every helper to run `work`; none where no more threads may be started."""
        if self.size == 1:
            return []
        if self.pool is None:
            self.pool = ThreadPoolExecutor(self.size - 1, "tinytorch")
        try:
            return [self.pool.submit(work) for _ in range(self.size - 1)]
        except RuntimeError:
            self.size = 1
            return []


class Blas:
    """The number of threads inside one matrix product of NumPy, where it can be set.

    NumPy's own wheels bring OpenBLAS, which has a function for it; no other BLAS is touched.
    """

    def __init__(self) -> None:
        self.lock, self.users, self.usual = threading.Lock(), 0, 1
        self.get = self.set = None
        package = Path(np.__file__).parent
        for folder in (package.parent / "numpy.libs", package / ".dylibs"):
            for file in sorted(folder.glob("*openblas*")):
                with contextlib.suppress(OSError, AttributeError):
                    library = ctypes.CDLL(str(file))
                    self.get = library.scipy_openblas_get_num_threads64_
                    self.set = library.scipy_openblas_set_num_threads64_

    @contextlib.contextmanager
    def single(self) -> Iterator[None]:
        """Use one thread for each product meanwhile, because several products run at once."""
        with self.lock:
            if not self.users:
                self.usual = self.get()
                self.set(1)
            self.users += 1
        try:
            yield
        finally:
            with self.lock:
                self.users -= 1
                if not self.users:
                    self.set(self.usual)


team, blas = Team(), Blas()


def drain(work: Callable[[], None]) -> None:
    """Run `work` here and in all helpers; one that did not begin by the end is not waited for."""
    helpers = team.ask(work)
    try:
        work()
    finally:
        for helper in helpers:
            if not helper.cancel():
                helper.result()


def in_parts(work: Callable[..., Any], *arrays: np.ndarray) -> None:
    """Call `work(*parts)` for parts that together cover the arrays along their first axis.

    A part is small enough to stay in the cache from one pass over it to the next. `work` must
    write its result into one of its parts, and nowhere else.
    """
    rows, size = len(arrays[0]), max(array.nbytes for array in arrays)
    count = min(rows, -(-size // PART_BYTES))
    if count <= 1:
        work(*arrays)
        return
    cuts = [rows * i // count for i in range(count + 1)]
    pieces = iter([[a[i:j] for a in arrays] for i, j in pairwise(cuts)])

    def work_off() -> None:
        for piece in pieces:
            work(*piece)

    drain(work_off)


def shared_out(items: Sequence[Item]) -> list[Sequence[Item]]:
    """Cut a list into as many runs as there are threads; one where BLAS has threads of its own."""
    count = min(len(items), team.size if blas.set else 1) or 1
    cuts = [len(items) * i // count for i in range(count + 1)]
    return [items[i:j] for i, j in pairwise(cuts)]


def in_threads(work: Callable[[Any], Any], shares: Sequence[Any]) -> list[Any]:
    """Call `work(share)` for each share, in a thread each; return the results in order."""
    if len(shares) == 1:
        return [work(shares[0])]
    results: list[Any] = [None] * len(shares)
    waiting = iter(range(len(shares)))

    def work_off() -> None:
        for place in waiting:
            results[place] = work(shares[place])

    with blas.single():
        drain(work_off)
    return results
