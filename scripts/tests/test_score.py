"""Points, statuses, level and the next step, as properties."""

from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from reports import scored

from tito.grading.score import (
    NOT_IN_TREE,
    Run,
    award,
    own_status,
    score_ladder,
    split_points,
    status_of,
)
from tito.ladder import Checkpoint
from tito.report import STATUSES, TEST_STATUSES, Outcome

RUNG = Checkpoint("05", "autograd", "differentiation", "Can I?", "Training", 8)


def outcomes_of(statuses: str) -> tuple[Outcome, ...]:
    """Tests from words."""
    return tuple(
        Outcome(name=f"test_{i}", kind="functionality", status=status)
        for i, status in enumerate(statuses.split())
    )


@given(st.integers(0, 200), st.integers(1, 60))
def test_points_are_split_by_largest_remainder(total, count):
    """The parts sum to the whole, differ by at most one, and grow evenly along the tests."""
    parts = split_points(total, count)
    assert sum(parts) == total
    assert len(parts) == count
    assert max(parts) - min(parts) <= 1
    for k, so_far in enumerate(accumulate(parts), 1):
        assert so_far == k * total // count


def test_no_tests_have_no_points():
    assert split_points(5, 0) == ()
    assert award(RUNG, ()) == ()


@given(st.lists(st.sampled_from(TEST_STATUSES), min_size=1, max_size=40), st.integers(0, 30))
def test_k_of_n_tests_are_worth_their_share_whichever_they_are(statuses, points):
    """A largest-remainder split whose ties never make a failed test worthless."""
    tests = award(replace(RUNG, points=points), outcomes_of(" ".join(statuses)))
    count, passed = len(tests), statuses.count("passed")
    assert sum(test.max_points for test in tests) == points
    assert sum(test.points for test in tests) == points * passed // count
    assert all(test.max_points in (points // count, -(-points // count)) for test in tests)
    if points and passed < count:
        assert any(test.max_points for test in tests if test.status != "passed")


@pytest.mark.parametrize(
    ("statuses", "trouble", "expected"),
    [
        ("passed passed", None, "passed"),
        ("passed failed", None, "partial"),
        ("passed not_started", None, "partial"),
        ("passed passed", "timeout", "partial"),
        ("failed not_started", None, "failed"),
        ("failed timeout error", None, "failed"),
        ("timeout error not_started", None, "timeout"),
        ("error not_started", None, "error"),
        ("not_started not_started", None, "not_started"),
        ("not_started", "timeout", "timeout"),
        ("", "error", "error"),
        ("", None, "not_started"),
    ],
)
def test_status_by_itself(statuses, trouble, expected):
    assert own_status(statuses.split(), trouble) == expected


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ("passed passed", "passed"),
        ("not_started not_started", "not_started"),
        ("passed failed", "blocked"),
        ("failed", "blocked"),
        ("error", "blocked"),
        ("timeout", "blocked"),
    ],
)
def test_a_rung_that_was_begun_is_blocked_by_what_has_not_passed(statuses, expected):
    assert status_of(RUNG, Run(outcomes_of(statuses)), ("01",)) == expected


def test_a_free_test_neither_begins_a_rung_nor_earns_points(ladder):
    """A fresh clone starts at zero even where one test passes on a stub."""
    rung = replace(ladder.checkpoints[0], free=("test_0",))
    changed = replace(ladder, checkpoints=(rung, *ladder.checkpoints[1:]))
    standing = score_ladder(changed, {"00": Run(outcomes_of("passed not_started not_started"))})
    assert standing.checkpoints[0].status == "not_started"
    assert standing.score.points == 0
    standing = score_ladder(changed, {"00": Run(outcomes_of("failed passed passed"))})
    assert standing.checkpoints[0].status == "partial"
    assert standing.score.points == rung.points


def test_rungs_without_a_checkpoint_file_keep_the_total_at_100(ladder):
    """Eight rungs of 21 exist and pass: their points, level 7, nothing left to do here."""
    runs = {f"{i:02}": Run(outcomes_of("passed " * 9)) for i in range(8)}
    standing = score_ladder(ladder, runs)
    assert (standing.score.points, standing.score.max) == (39, 100)
    assert standing.level == 7
    assert standing.next is None
    missing = standing.checkpoints[8]
    assert (missing.status, missing.points, missing.tests) == ("not_started", 0, ())
    assert missing.message == NOT_IN_TREE


def test_next_step_points_at_the_first_test_that_does_not_pass(ladder):
    first, second = outcomes_of("passed failed")
    second = replace(second, file="modules/00_setup/setup.py", line=33)
    standing = score_ladder(ladder, {"00": Run((first, second))})
    assert standing.next is not None
    assert (standing.next.file, standing.next.line) == ("modules/00_setup/setup.py", 33)
    assert standing.next.command == "tito checkpoint run 00"
    assert standing.next.why == "1 of 2 tests does not pass yet"


@given(scored())
def test_the_whole_is_the_sum_of_its_parts(example):
    ladder, runs, standing = example
    assert standing.score.max == sum(rung.points for rung in ladder.checkpoints)
    assert standing.score.points == sum(c.points for c in standing.checkpoints)
    assert sum(s.points for s in standing.stages) == standing.score.points
    assert sum(s.total for s in standing.stages) == len(ladder.checkpoints)
    for rung, result in zip(ladder.checkpoints, standing.checkpoints, strict=True):
        assert result.status in STATUSES
        assert 0 <= result.points <= rung.points
        if result.tests:
            assert sum(t.max_points for t in result.tests) == rung.points
        if result.status == "passed":
            assert result.points == rung.points
            assert result.tests
        if rung.id not in runs:
            assert result.status == "not_started"


@given(scored())
def test_blocked_says_what_to_mend_first(example):
    """blocked_by names rungs that have not passed, whose own prerequisites all have."""
    ladder, _, standing = example
    status = {c.id: c.status for c in standing.checkpoints}
    for result in standing.checkpoints:
        needs = ladder.transitive_needs(result.id)
        unmet = [need for need in needs if status[need] != "passed"]
        assert bool(result.blocked_by) == bool(unmet)
        assert set(result.blocked_by) <= set(unmet)
        for root in result.blocked_by:
            assert all(status[need] == "passed" for need in ladder.transitive_needs(root))
        if result.status == "blocked":
            assert result.blocked_by


@given(scored())
def test_level_stages_and_milestones_follow_from_the_statuses(example):
    _, runs, standing = example
    passed = [c.status == "passed" for c in standing.checkpoints]
    reached = passed.index(False) if False in passed else len(passed)
    assert standing.level == (reached - 1 if reached else None)
    for stage in standing.stages:
        own = [c.status == "passed" for c in standing.checkpoints if c.stage == stage.name]
        assert stage.complete == (bool(own) and all(own))
        assert (stage.passed, stage.total) == (sum(own), len(own))
    status = {c.id: c.status for c in standing.checkpoints}
    for milestone in standing.milestones:
        assert milestone.unlocked == all(status[i] == "passed" for i in milestone.requires)
    waiting = [i for i in sorted(runs) if status[i] != "passed"]
    assert (standing.next and standing.next.checkpoint) == (waiting[0] if waiting else None)


@given(scored(), st.data())
def test_mending_a_test_never_costs_anything(example, data):
    """One more test passes: no points, no level and no stage are lost."""
    ladder, runs, before = example
    broken = [
        (rung, i)
        for rung, run in runs.items()
        for i, test in enumerate(run.tests)
        if test.status != "passed"
    ]
    assume(broken)
    rung, i = data.draw(st.sampled_from(broken))
    tests = list(runs[rung].tests)
    tests[i] = replace(tests[i], status="passed", failure=None)
    after = score_ladder(ladder, runs | {rung: replace(runs[rung], tests=tuple(tests))})
    assert after.score.points >= before.score.points
    levels = [-1 if s.level is None else s.level for s in (before, after)]
    assert levels[0] <= levels[1]
    passed = [{c.id for c in s.checkpoints if c.status == "passed"} for s in (before, after)]
    assert passed[0] <= passed[1]
