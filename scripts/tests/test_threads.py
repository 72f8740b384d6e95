"""Work in threads: every part is done once, errors arrive, forks and nesting do not hang."""

import os
import sys
import threading

import numpy as np
import pytest

from tinytorch import threads


@pytest.fixture(params=[1, 2, 5])
def team(request, monkeypatch):
    """A fresh team of this size."""
    made = threads.Team()
    made.size = request.param
    monkeypatch.setattr(threads, "team", made)
    return made


def add_one(part):
    """Change a part in place."""
    part += 1


def test_every_part_is_done_once(team):
    x = np.zeros((37, 64, 1024), np.float32)
    threads.in_parts(add_one, x)
    assert (x == 1).all()
    threads.in_parts(add_one, x[:0])
    empty = np.zeros((0, 5))
    threads.in_parts(add_one, empty)


def test_shares_keep_their_order(team):
    shares = threads.shared_out(list(range(11)))
    assert [i for share in shares for i in share] == list(range(11))
    assert threads.in_threads(list, shares) == shares
    assert threads.shared_out([]) == [[]]


def test_an_error_arrives_and_blas_gets_its_threads_back(team):
    before = threads.blas.get() if threads.blas.get else None

    def fail(share):
        raise KeyError(share)

    with pytest.raises(KeyError):
        threads.in_threads(fail, [1, 2, 3])
    assert before is None or threads.blas.get() == before


def test_work_inside_work_does_not_hang(team):
    x = np.zeros((8, 1 << 18), np.float32)
    threads.in_threads(lambda i: threads.in_parts(add_one, x[2 * i : 2 * i + 2]), [0, 1, 2, 3])
    assert (x == 1).all()


def test_without_a_blas_that_can_be_told_there_is_one_share(monkeypatch):
    monkeypatch.setattr(threads.blas, "set", None)
    assert threads.shared_out([1, 2, 3]) == [[1, 2, 3]]


def test_no_more_threads_is_no_error(team, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    x = np.zeros((8, 1 << 18), np.float32)
    threads.in_parts(add_one, x)
    assert (x == 1).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_starts_its_own_threads():
    x = np.zeros((8, 1 << 18), np.float32)
    threads.in_parts(add_one, x)
    child = os.fork()
    if not child:
        threads.in_parts(add_one, x)
        sys.stdout.flush()
        os._exit(0 if (x == 2).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
