"""`tito watch` without a terminal: events in, commands and screens out; hints; saved files."""

import os
import queue
import re
import sys
import time
from dataclasses import replace

import pytest
import screenshots
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import failures

from tito import recheck as recheck_module
from tito.cli import main
from tito.cli.terminal import Typed
from tito.cli.watching import Files, Watch, links_open, paint
from tito.files import FileProblem
from tito.hints import parse_hints, read
from tito.progress import Stub, load_progress
from tito.recheck import (
    CheckpointDone,
    Recheck,
    Running,
    UnitsDone,
    changed_steps,
    unit_tests_of,
)
from tito.render.lines import ASCII, UNICODE, columns, plain_text
from tito.render.words import rung_words
from tito.report import Failure, Outcome, save_report
from tito.source import parse
from tito.unit_outcomes import UnitTest
from tito.unittests import UnitTests
from tito.watch import Begun, Check, Key, Noted, Quit, Reset, State, Ticked, advance, to_check
from tito.watch_screen import screen

GOOD = UnitTests(3, (), 0.2)


@pytest.fixture(scope="module")
def half_way(tmp_path_factory):
    """A tree in which the modules below 06 passed, and 06 is in hand."""
    folder = tmp_path_factory.mktemp("half way")
    screenshots.build_tree(folder)
    return folder


@pytest.fixture(scope="module")
def progress(half_way, ladder):
    """Where that student is."""
    return load_progress(half_way, ladder)


def play(state, *events):
    """The state after some events, and every command they gave."""
    given_commands = []
    for event in events:
        state, commands = advance(state, event)
        given_commands += commands
    return state, given_commands


def checked(progress, rung, units=GOOD, steps=(2,), hints=None):
    """The state after a whole check."""
    begun = Begun(1, rung, steps, hints or {}, progress)
    return play(State(progress, rung), begun, UnitsDone(1, units), CheckpointDone(1, progress))[0]


def text(state, width=80, height=24, charset=UNICODE):
    """The screen as text."""
    return "\n".join(plain_text(row) for row in screen(state, width, height, charset))


def test_the_screen_of_a_failure(progress, ladder):
    """Where, what the tests gave, the failure in its usual form, and the keys."""
    drawn = text(checked(progress, ladder.by_id["06"]))
    for words in (
        "06 optimizers",
        "31 of 100 points, level 05",
        "open  modules/06_optimizers/optimizers.py:95 (step 2)",
        "3 of 3 unit tests of step 2 pass",
        "optimization: 6 of 12 tests pass",
        "  expected  [0.999 0.999 0.999]",
        "q quit",
    ):
        assert words in drawn, drawn


def test_while_tests_run_no_old_result_is_shown(progress, ladder):
    """A save clears the screen of what was true before it."""
    state = checked(progress, ladder.by_id["06"])
    state, _ = play(state, Begun(2, ladder.by_id["06"], (2,), {}, progress))
    drawn = text(state)
    assert "running the unit tests of step 2" in drawn
    assert "running the checkpoint" in drawn
    assert "Adam.step()" not in drawn


def test_what_an_overtaken_check_tells_is_not_shown(progress, ladder):
    """The answer to the save before last comes too late."""
    rung = ladder.by_id["06"]
    state, _ = play(State(progress, rung), Begun(7, rung, (), {}, progress))
    assert play(state, UnitsDone(6, GOOD), CheckpointDone(6, progress))[0] == state


def test_a_file_that_cannot_be_read(progress, ladder):
    """The line, the fact and the mend."""
    rung = ladder.by_id["06"]
    problem = FileProblem(rung.source, "syntax error: invalid syntax", "mend this line", 12)
    state, _ = play(
        State(progress, rung),
        Begun(1, rung, (), {}, progress),
        UnitsDone(1, None, problem),
        CheckpointDone(1, progress, "not run"),
    )
    drawn = text(state)
    assert f"open  {rung.source}:12" in drawn
    assert "syntax error: invalid syntax" in drawn
    assert "mend      this line, and save again" in drawn


def test_hints_come_one_at_a_time(progress, ladder):
    """Each press shows the next one; the last stays; another step begins anew."""
    state = checked(progress, ladder.by_id["06"], hints={2: ("concept", "place")})
    notes = []
    for _ in range(3):
        state, _ = play(state, Key("h"))
        notes.append(state.note)
    assert notes[0] == "hint 1 of 2 for step 2: concept"
    assert notes[1] == notes[2] == "hint 2 of 2 for step 2: place  (the last one)"
    state, _ = play(state, Begun(2, ladder.by_id["06"], (2,), state.hints, progress))
    assert state.note == ""
    assert state.told == {2: 2}


def test_next_waits_for_a_pass(progress, ladder):
    """`n` stays with a module that does not pass, and goes on from one that does."""
    state, commands = play(checked(progress, ladder.by_id["06"]), Key("n"))
    assert commands == []
    assert "does not pass yet" in state.note
    state, commands = play(checked(progress, ladder.by_id["05"]), Key("n"))
    assert commands == [Check(ladder.by_id["06"])]
    rung = ladder.by_id["05"]
    state, commands = play(checked(progress, rung), Begun(2, rung, (), {}, progress), Key("n"))
    assert commands == []
    assert "still running" in state.note


def test_reset_asks_first(progress, ladder):
    """Only y resets; any other key leaves the module alone."""
    state = checked(progress, ladder.by_id["06"])
    asked, commands = play(state, Key("r"))
    assert commands == []
    assert "bring 06_optimizers back to its stub?" in text(asked)
    assert play(asked, Key("y"))[1] == [Reset(ladder.by_id["06"])]
    left, commands = play(asked, Key("q"))
    assert commands == []
    assert "nothing was reset" in text(left)


def test_list_and_timeline_open_and_close(progress, ladder):
    """The same key closes; every other key works as ever."""
    state = checked(progress, ladder.by_id["06"])
    listed, _ = play(state, Key("l"))
    assert "20 capstone" in text(listed)
    assert play(listed, Key("l"))[0] == state
    drawn = text(play(state, Key("t"))[0])
    assert "Language Models" in drawn
    assert play(listed, Key("q"))[1] == [Quit()]
    assert "06 optimizers" in text(listed, height=8)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_text_breaks_the_screen(progress, ladder, data):
    """Whatever a student's code says, keys do, and the terminal measures."""
    rung = ladder.by_id["06"]
    units = UnitTests(1, tuple(data.draw(st.lists(failures(), max_size=2))), 0.1)
    state = checked(progress, rung, units)
    keys = data.draw(st.lists(st.sampled_from("nhltry x"), max_size=4))
    state, _ = play(state, *map(Key, keys), Noted(data.draw(st.text(max_size=200))))
    width, height = data.draw(st.integers(20, 120)), data.draw(st.integers(6, 40))
    charset = data.draw(st.sampled_from([UNICODE, ASCII]))
    rows = screen(state, width, height, charset)
    assert len(rows) <= height
    for row in rows:
        assert columns(row) <= width
        drawn = plain_text(row)
        assert drawn.isprintable() or not drawn
        assert drawn.isascii() or not charset.plain


ROWS = tuple(f"[{i}. {i}. {i}.]" for i in range(9))
LONG = Failure(
    "Tensor.sum(axis=1): expected shape (2,), got (2, 1)",
    asked="sum each row of a (2, 3) tensor, keepdims=False, and once more in other words",
    expected="\n".join(ROWS),
    got="\n".join(f"-{row}" for row in ROWS),
    detail="\n".join(ROWS),
    hint="the summed axis disappears unless keepdims is True",
    file="modules/06_optimizers/optimizers.py",
    line=212,
    step=2,
    command="tito test 06 -k test_sum_of_every_row",
    output="printed\n" * 30,
)


def failing(progress, ladder, failure, **how):
    """The state in which a unit test failed."""
    return checked(progress, ladder.by_id["06"], UnitTests(0, (failure,), 0.1), steps=(9,), **how)


@pytest.mark.parametrize("charset", [UNICODE, ASCII])
@pytest.mark.parametrize("failure", [LONG, replace(LONG, hint=LONG.hint * 9)])
def test_what_helps_is_always_on_the_screen(progress, ladder, failure, charset):
    """However long its parts are, and though a hint was asked for."""
    state = failing(progress, ladder, failure, hints={2: ("a hint " * 40,)})
    for drawn in (text(state, charset=charset), text(play(state, Key("h"))[0], charset=charset)):
        rows = drawn.splitlines()
        assert len(rows) <= 24
        assert LONG.headline in rows
        assert f"open  {LONG.file}:212 (step 2)" in rows
        assert "  expected  [0. 0. 0.]" in rows
        assert "  got       -[0. 0. 0.]" in rows
        assert (
            any(row.startswith("  hint      the summed axis") for row in rows) or "h hint" in drawn
        )
        assert f"{charset.more} cut to fit; in full: {LONG.command}" in rows
        assert "q quit" in drawn


@pytest.mark.parametrize(("width", "height"), [(60, 20), (40, 12), (30, 10)])
def test_a_small_window_keeps_the_failure(progress, ladder, width, height):
    """Its first line, the place once, what came, what was expected, and a whole command."""
    state = failing(progress, ladder, LONG)
    drawn = text(state, width, height)
    assert " ".join(LONG.headline.split()) in " ".join(drawn.split())
    assert drawn.count("optimizers.py:212") == 1
    assert "  got       -[0. 0. 0.]" in drawn
    assert "  expected  [0. 0. 0.]" in drawn
    ends = [row for row in drawn.splitlines() if "tito test 06" in row]
    assert ends
    assert not any(row.endswith("…") for row in ends)
    assert "q" in drawn.splitlines()[-1]


def test_a_part_that_is_cut_says_so(progress, ladder):
    """A matrix without its last rows must not look like a whole one."""
    drawn = text(failing(progress, ladder, LONG)).splitlines()
    at = drawn.index("  got       -[0. 0. 0.]")
    assert [row.strip() for row in drawn[at + 1 : at + 4]][-1].endswith("…")


def test_a_long_value_of_one_line_goes_on_below(progress, ladder):
    """What a unit test expected is a statement, and its end may be what matters."""
    long = replace(LONG, expected=" == ".join(["f(x)"] * 15), got="[0.9   0.1]")
    rows = [row.strip() for row in text(failing(progress, ladder, long)).splitlines()]
    at = next(i for i, row in enumerate(rows) if row.startswith("expected"))
    assert "".join(rows[at : at + 2]).removeprefix("expected  ").count("f(x)") == 15
    assert "got       [0.9   0.1]" in rows


def test_a_command_stays_on_one_line(progress, ladder):
    """So that it can be copied."""
    brief = replace(LONG, expected="1", got="2", detail="", output="", asked="")
    rows = text(failing(progress, ladder, brief)).splitlines()
    at = next(i for i, row in enumerate(rows) if "look at" in row)
    assert rows[at].endswith("(step 2), then:")
    assert rows[at + 1].strip() == LONG.command
    noted, _ = play(State(progress, ladder.by_id["06"]), Noted(f"{'x ' * 30}: tito module view 06"))
    assert "tito module view 06" in text(noted).splitlines()
    noted, _ = play(noted, Noted("it is the stub; yours is back with:\ncp a b"))
    assert "cp a b" in text(noted).splitlines()
    problem = FileProblem("a.py", "is missing", "bring it back with: git checkout HEAD -- a/b/c.py")
    broken = replace(state_of(progress, ladder), problem=problem)
    rows = text(broken, 60).splitlines()
    assert "git checkout HEAD -- a/b/c.py" in [row.strip() for row in rows]


def state_of(progress, ladder):
    """The state after a check that passed."""
    return checked(progress, ladder.by_id["05"])


def test_a_place_without_a_line(progress, ladder):
    """It is not said to be line 1."""
    drawn = text(failing(progress, ladder, replace(LONG, line=None)))
    assert f"open  {LONG.file} (step 2)" in drawn
    problem = FileProblem("modules/a.py", "is missing", "bring it back")
    drawn = text(replace(state_of(progress, ladder), problem=problem))
    assert "open  modules/a.py\n" in drawn


def test_what_ascii_lacks_is_replaced_before_it_is_measured(progress, ladder):
    """Three points are wider than the sign for them: the screen must not scroll."""
    wide = replace(LONG, headline="f(): " + "a…²→ " * 18, output="é\n\N{SNOWMAN}", hint="≤ 1")
    for width in range(20, 90):
        rows = screen(failing(progress, ladder, wide), width, 24, ASCII)
        assert all(plain_text(row).isascii() and columns(row) <= width for row in rows)


def scored(progress, points):
    """A progress of so many points."""
    report = replace(progress.report)
    score = replace(report.score)
    object.__setattr__(score, "points", points)  # no report in order has every figure
    object.__setattr__(report, "score", score)
    return replace(progress, report=report)


@pytest.mark.parametrize("points", [0, 29, 57, 58, 99, 100])
def test_the_percent_is_that_of_the_points(progress, ladder, points):
    """Whole numbers, as everywhere else."""
    assert (
        text(State(scored(progress, points), ladder.by_id["06"]))
        .splitlines()[1]
        .endswith(f" {points}%")
    )


def test_the_list_says_what_status_says(progress, ladder):
    """A module that is written and was never graded is not one that was not started."""
    before = stubbed(progress, result=None, freshness="unknown", steps=3)
    before = stubbed(before, (9, 1, "train"), rung="07", result=None, freshness="changed", steps=1)
    drawn = text(play(State(before, ladder.by_id["06"]), Key("l"))[0])
    for rung in before.rungs:
        assert re.search(rf"{rung.id} {rung.checkpoint.module} +{rung_words(rung)} ", drawn)
    assert re.search("06 optimizers +not graded yet", drawn)
    assert re.search("07 training +not started", drawn)


@pytest.mark.parametrize("charset", [UNICODE, ASCII])
def test_a_list_that_does_not_fit_says_so(progress, ladder, charset):
    """At either end, with how many; the module in hand is always among those shown."""
    for rung in ladder.checkpoints:
        state, _ = play(State(progress, rung), Key("l"))
        for height in range(6, 26):
            _, *rows, _ = text(state, 60, height, charset).splitlines()
            shown = [row for row in rows if row.endswith("%")]
            told = [row.split() for row in rows if row.endswith((" earlier", " later"))]
            assert all(mark == charset.more for mark, _, _ in told)
            assert len(shown) + sum(int(number) for _, number, _ in told) == 21
            assert any(f" {rung.id} " in row for row in shown)


def test_the_list_keeps_its_columns_where_it_is_narrow(progress, ladder):
    """The words give way before the percent does."""
    state, _ = play(State(progress, ladder.by_id["06"]), Key("l"))
    rows = text(state, 40, 24).splitlines()[1:22]
    assert all(re.search(r"\d+%$", row) for row in rows), rows


# Where to go on


def outdated(progress, *ids, **how):
    """A progress in which these modules changed since they were graded."""
    rungs = tuple(
        r._replace(freshness="changed", **how) if r.id in ids else r for r in progress.rungs
    )
    return replace(progress, rungs=rungs)


def test_n_goes_where_it_says(progress, ladder):
    """To the lowest module that is not done, which is what every other command calls next."""
    before = outdated(progress, "02")
    state = checked(before, ladder.by_id["05"])
    assert "next  n goes to 02 activations" in text(state)
    assert play(state, Key("n"))[1] == [Check(ladder.by_id["02"])]
    stuck = checked(before, ladder.by_id["06"])  # it does not pass, and 02 comes before it
    assert play(stuck, Key("n"))[1] == [Check(ladder.by_id["02"])]


def test_what_blocks_is_named_with_what_it_wants(progress, ladder):
    """A module whose result is old needs no mending, only another look."""
    rung = ladder.by_id["06"]
    result = replace(progress.by_id["06"].result, status="blocked", blocked_by=("05",))
    blocked = stubbed(progress, result=result)
    drawn = text(checked(outdated(blocked, "05"), rung))
    assert "first 05 is to be graded again: n, or tito module complete 05" in drawn
    failed = replace(progress.by_id["06"].result, id="05")
    drawn = text(checked(stubbed(blocked, rung="05", result=failed), rung))
    assert "first 05 does not pass yet: n, or tito module complete 05" in drawn
    drawn = text(checked(outdated(blocked, "02", "05"), rung))
    assert "first 05 is to be graded again: tito module complete 05" in drawn
    assert "mend first" not in drawn


@pytest.mark.parametrize("keys", ["x", " ", "\r", "tt", "ll", "lx", "rn "])
def test_a_note_goes_with_the_next_key(progress, ladder, keys):
    """A hint has been read when any other key is pressed."""
    state = checked(progress, ladder.by_id["06"], hints={2: ("of b",)})
    told, _ = play(state, Key("h"))
    assert "hint 1 of 1" in text(told)
    assert play(told, *map(Key, keys))[0].note == ""


# Which failure, and which step


def stubbed(progress, *stubs, rung="06", **how):
    """A progress in which a module still has these stubs; `how` changes its rung further."""
    rungs = tuple(
        r._replace(stubs=tuple(Stub(*s) for s in stubs), **how) if r.id == rung else r
        for r in progress.rungs
    )
    return replace(progress, rungs=rungs)


def unwritten(step, name, rung, line=9):
    """What a unit test says that met a stub."""
    text = f"{name}: not written yet (step {step} of module {rung.id})"
    return Failure(text, file=rung.source, line=line, step=step, command=f"tito test {rung.id}")


def a_result(progress, rung, *tests):
    """A result of these tests: (name, step, status, headline)."""
    found = tuple(
        Outcome(
            name, "functionality", status, points=0, max_points=0 if i else rung.points, step=step,
            failure=Failure(headline, file=rung.source, step=step),
        )
        for i, (name, step, status, headline) in enumerate(tests)
    )  # fmt: skip
    return replace(progress.by_id[rung.id].result, status="failed", points=0, tests=found)


def test_what_is_unwritten_comes_in_the_order_of_the_steps(progress, ladder):
    """The place, the failure and the hint are about the first step left, as `tito` says it."""
    rung = ladder.by_id["06"]
    result = a_result(
        progress,
        rung,
        ("test_e", 5, "not_started", "e: not written yet (step 5, module 06)"),
        ("test_b", 2, "not_started", "b: not written yet (step 2, module 06)"),
    )
    stubs = ((20, 2, "b"), (50, 5, "e"))
    before = stubbed(progress, *stubs, result=result)
    units = UnitTests(1, (unwritten(5, "e", rung, 50), unwritten(2, "b", rung, 20)), 0.1)
    hints = {2: ("of b",), 5: ("of e",)}
    state = checked(before, rung, units, steps=(1,), hints=hints)
    drawn = text(play(state, Key("h"))[0])
    assert f"open  {rung.source}:20 (step 2)" in drawn
    assert "b: not written yet (step 2" in drawn
    assert "for step 2: of b" in drawn


def test_a_first_step_that_no_test_met_is_named_all_the_same(progress, ladder):
    """Only the tests of a later step ran; the step to write is still the first one left."""
    rung = ladder.by_id["06"]
    before = stubbed(progress, (20, 2, "Adam.b"), (50, 5, "e"), result=None)
    state = checked(before, rung, UnitTests(0, (unwritten(5, "e", rung, 50),), 0.1), steps=(5,))
    drawn = text(state)
    assert f"open  {rung.source}:20 (step 2)" in drawn
    assert "Adam.b: not written yet (step 2 of module 06)" in drawn


def test_a_missing_earlier_module_comes_before_this_one(progress, ladder):
    """What stops the first step is not in this module."""
    rung = ladder.by_id["06"]
    earlier = replace(
        unwritten(3, "Tensor.sum", ladder.by_id["01"], 7),
        hint="an earlier module comes first: tito test 01",
    )
    before = stubbed(progress, (20, 2, "b"), result=None)
    drawn = text(checked(before, rung, UnitTests(0, (unwritten(2, "b", rung), earlier), 0.1)))
    assert f"open  {ladder.by_id['01'].source}:7 (step 3)" in drawn
    assert "an earlier module comes first: tito test 01" in drawn


BARE = Failure("test_adam: assert 1 == 2", step=2)


@pytest.mark.parametrize("steps", [(), (2,)])
def test_the_checkpoint_says_most(progress, ladder, steps):
    """Its own failure comes first, whether some steps were tested or all."""
    state = checked(progress, ladder.by_id["06"], UnitTests(2, (BARE,), 0.1), steps=steps)
    drawn = text(state)
    assert "Adam.step(): values differ" in drawn
    assert "test_adam" not in drawn


def test_unit_tests_that_did_not_end_say_most(progress, ladder):
    """A loop without end: the unit tests name the test, the checkpoint only that time was up."""
    rung = ladder.by_id["06"]
    result = a_result(progress, rung, ("test_a", 2, "timeout", "Adam: no answer within 20 s"))
    before = stubbed(progress, result=result)
    late = Failure("test_adam: not done in 10 s")
    drawn = text(checked(before, rung, UnitTests(0, (late,), 10.0, ran=False)))
    assert "test_adam: not done in 10 s" in drawn
    assert "no answer within" not in drawn


# Which steps to check


def unit(step, status="passed"):
    """A unit test that ran."""
    return UnitTest(f"test_{step}", step, status)


def ran(*tests):
    """What unit tests gave, some of which may have failed."""
    failed = [t for t in tests if t.status != "passed"]
    failures = tuple(Failure(f"{t.name}: no", step=t.step) for t in failed)
    return UnitTests(len(tests) - len(failed), failures, 0.1, True, tests)


def after(progress, rung, number, steps, told=None):
    """The events of a check: it began, and perhaps told what it gave, or the module's problem."""
    events = [Begun(number, rung, steps, {}, progress)]
    if isinstance(told, FileProblem):
        events += [UnitsDone(number, None, told), CheckpointDone(number, progress, "not run")]
    elif told is not None:
        events += [UnitsDone(number, told), CheckpointDone(number, progress)]
    return events


def test_a_test_that_failed_runs_again_whatever_step_is_saved(progress, ladder):
    """Until it passes: what is shown as passed was tested as it is."""
    rung = ladder.by_id["06"]
    state = State(progress, rung)
    assert to_check(state, rung, (2,)) == ()  # nothing was tested yet: everything is
    state, _ = play(state, *after(progress, rung, 1, (), ran(unit(2), unit(6, "failed"))))
    assert to_check(state, rung, (2,)) == (2, 6)
    assert to_check(state, rung, ()) == ()
    state, _ = play(state, *after(progress, rung, 2, (2, 6), ran(unit(2), unit(6))))
    assert to_check(state, rung, (2,)) == (2,)


def test_a_test_that_met_a_stub_waits_for_it(progress, ladder):
    """A step that is still a stub is tested when it is written; one that needs it, with it."""
    rung = ladder.by_id["06"]
    before = stubbed(progress, (20, 3, "c"))
    told = ran(unit(2), unit(3, "not_started"), unit(4, "not_started"))
    state, _ = play(State(before, rung), *after(before, rung, 1, (), told))
    assert to_check(state, rung, (3,)) == (3, 4)
    assert to_check(state, rung, (2,)) == (2, 4)


def test_tests_that_did_not_come_to_their_end_run_again(progress, ladder):
    """The module could not be imported, or the next save, of another module, overtook them."""
    rung, other = ladder.by_id["06"], ladder.by_id["07"]
    state, _ = play(State(progress, rung), *after(progress, rung, 1, (), ran(unit(2))))
    died = UnitTests(0, (Failure("cannot be imported"),), 0.1, ran=False)
    gone, _ = play(state, *after(progress, rung, 2, (4,), died))
    assert to_check(gone, rung, (2,)) == (2, 4)
    overtaken, _ = play(
        state, *after(progress, rung, 2, (4,)), *after(progress, other, 3, (), ran(unit(1)))
    )
    assert to_check(overtaken, rung, (2,)) == (2, 4)
    assert to_check(overtaken, other, (1,)) == (1,)


def test_a_file_that_cannot_be_read_forgets_nothing(progress, ladder):
    """Nothing was tested, so what is left to test is as before."""
    rung = ladder.by_id["06"]
    state, _ = play(State(progress, rung), *after(progress, rung, 1, (), ran(unit(2, "failed"))))
    problem = FileProblem(rung.source, "syntax error", "mend this line", 3)
    state, _ = play(state, *after(progress, rung, 2, (), problem))
    assert to_check(state, rung, (4,)) == (2, 4)


def test_half_a_save_is_no_version_of_its_own(tree, ladder):
    """The steps are those that changed since the last version whose tests came to their end."""
    rung = ladder.by_id["03"]
    path = tree / rung.source
    good = path.read_text(encoding="utf-8")
    lines = good.split("\n")
    region = next(r for r in parse(good, rung.source).regions if r.step == 3)
    lines.insert(region.begin, "    x = 1")
    half = good[: good.index("# %%", len(good) // 2)]
    watch = Watch(tree, ladder, State(load_progress(tree, ladder), rung))
    problem = FileProblem(rung.source, "syntax error", "mend this line", 3)

    def save(text, number, told=None):
        path.write_text(text, encoding="utf-8")
        steps = watch._reparse(rung)
        for event in after(watch.state.progress, rung, number, steps, told):
            watch.feed(event)
        return steps

    try:
        assert save(good, 1, ran(unit(1), unit(3))) == ()
        save(half, 2)  # overtaken
        assert save("\n".join(lines), 3, ran(unit(3))) == (3,)
        save(half, 4)
        save(good.replace("\nimport ", "\nimp ort ", 1), 5, problem)
        assert save(good, 6, ran(unit(3))) == (3,)
    finally:
        watch.close()


# Steps and files


def test_the_steps_that_changed(root, ladder):
    """Only code counts; a change outside the steps concerns all of them."""
    rung = ladder.by_id["03"]
    before = (root / rung.source).read_text(encoding="utf-8")
    module = parse(before, rung.source)
    region = next(r for r in module.regions if r.step == 3)
    lines = before.split("\n")
    lines.insert(region.begin, "    x = 1")
    changed = parse("\n".join(lines), rung.source)
    assert changed_steps(module, changed) == (3,)
    assert changed_steps(None, changed) == ()
    assert changed_steps(module, module) == ()
    assert unit_tests_of(module, (3,))
    assert not set(unit_tests_of(module, (3,))) & set(unit_tests_of(module, (1,)))


def test_a_save_is_seen_once(tree, ladder):
    """By content: a touched file was not changed; one that vanishes and comes back was."""
    files = Files(tree, ladder)
    path = tree / ladder.by_id["01"].source
    assert list(files.saved()) == []
    os.utime(path)
    assert list(files.saved()) == []
    text = path.read_bytes()
    path.write_bytes(text + b"\n")
    assert [r.id for r in files.saved()] == ["01"]
    assert list(files.saved()) == []
    path.unlink()
    assert [r.id for r in files.saved()] == ["01"]
    path.write_bytes(text)
    assert [r.id for r in files.saved()] == ["01"]


@pytest.mark.skipif(os.name == "nt", reason="process groups are of POSIX")
def test_recheck_tells_both_and_survives_a_broken_file(tree, ladder):
    """A pass, then a syntax error, then a step that fails; the report follows what was run."""
    told = queue.Queue()
    recheck = Recheck(tree, ladder, told.put)
    rung = ladder.by_id["00"]
    path = tree / rung.source
    good = path.read_text(encoding="utf-8")
    try:
        number = recheck.check(rung)
        answers = {type(a): a for a in (told.get(timeout=60), told.get(timeout=60))}
        assert answers[UnitsDone].check == answers[CheckpointDone].check == number
        assert answers[UnitsDone].units.ok
        assert answers[CheckpointDone].progress.by_id["00"].settled
        path.write_text(good.replace("import", "imp ort", 1), encoding="utf-8")
        recheck.check(rung)
        answers = [told.get(timeout=60), told.get(timeout=60)]
        assert "syntax error" in answers[0].problem.message
        assert "not run" in answers[1].trouble
        assert load_progress(tree, ladder).by_id["00"].passed  # half a save costs nothing
        path.write_text(good, encoding="utf-8")
        recheck.check(rung)
        recheck.check(rung)  # overtakes the first
        wanted = recheck.number
        end = time.monotonic() + 60
        kinds = set()
        while len(kinds) < 2 and time.monotonic() < end:
            answer = told.get(timeout=60)
            if answer.check == wanted:
                kinds.add(type(answer))
        assert kinds == {UnitsDone, CheckpointDone}
    finally:
        recheck.close()


def test_without_a_terminal(tree, capsys):
    """It says so, and what to use instead."""
    assert main(["-C", str(tree), "watch"]) == 2
    assert "needs a terminal" in capsys.readouterr().err


def test_links_only_where_they_open(monkeypatch, tmp_path, progress, ladder):
    """OSC 8 in a terminal known for it; the plain path over SSH and elsewhere."""
    for name in ("SSH_CONNECTION", "TMUX", "STY", "TERM_PROGRAM", "KITTY_WINDOW_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WT_SESSION", "KONSOLE_VERSION", "VTE_VERSION"):
        monkeypatch.delenv(name, raising=False)
    row = screen(checked(progress, ladder.by_id["06"]), 80, 24, UNICODE)[3]
    assert not links_open()
    assert "\x1b]8" not in paint(row, tmp_path)
    monkeypatch.setenv("VTE_VERSION", "7600")
    assert f"\x1b]8;;{tmp_path.as_uri()}/modules/06_opt" in paint(row, tmp_path)
    monkeypatch.setenv("SSH_CONNECTION", "1 2 3 4")
    assert not links_open()


# Hints


def test_the_hints_of_the_course(root, ladder):
    """Every file of hints can be read, and its steps exist in its module."""
    for rung in ladder.checkpoints:
        if not (root / rung.source).is_file():
            continue
        module = parse((root / rung.source).read_text(encoding="utf-8"), rung.source)
        steps = {cell.step for cell in module.cells}
        assert set(read(root, rung)) <= steps, rung.folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[step]\n", "not valid TOML"),
        ('[[steps]]\nstep = 1\nhints = ["a"]', "did you mean 'step'?"),
        ('[[step]]\nstep = 1\nhint = ["a"]', "did you mean 'hints'?"),
        ('[[step]]\nstep = 0\nhints = ["a"]', "step must be a number from 1"),
        ("[[step]]\nstep = 1\nhints = []", "must have 1 to 3 hints"),
        ('[[step]]\nstep = 1\nhints = ["a", "b", "c", "d"]', "must have 1 to 3 hints"),
        ('[[step]]\nstep = 1\nhints = [" "]', "must be a text"),
        ('[[step]]\nstep = 1\nhints = ["a"]\n[[step]]\nstep = 1\nhints = ["a"]', "h.toml:4: has"),
        ('[[step]]\nstep = 2\nhints = ["a"]\n[[step]]\nstep = 1\nhints = ["a"]', "out of order"),
        ("step = 3", "begin each with [[step]]"),
    ],
)
def test_hints_are_read_strictly(text, message):
    """The message names the file, the line, the fact and the mend."""
    with pytest.raises(FileProblem, match=r"h\.toml") as caught:
        parse_hints(text, "h.toml")
    assert message in str(caught.value)


def test_good_hints():
    """A tuple a step, white space made even."""
    found = parse_hints('[[step]]\nstep = 2\nhints = ["a  b", """c\nd"""]', "h.toml")
    assert found == {2: ("a b", "c d")}


def test_the_state_is_a_value(progress, ladder):
    """Two states that are made the same way are equal, so a screen is drawn once."""
    state = checked(progress, ladder.by_id["06"])
    assert state == checked(progress, ladder.by_id["06"])
    assert state != replace(state, note="x")


# Keys


@pytest.mark.parametrize(
    ("parts", "keys"),
    [
        (["n", "hh"], "nhh"),
        (["n\x1bOH\x1bOR"], "n"),
        (["\x1b", "OR"], ""),
        (["\x1b[1;5", "Dn"], "n"),
        (["\x1b[", "200", "~try\x1b[Ay", "\r\x1b[20", "1~q"], "q"),
        (["\x1b[200~a\x1b[201~h\x1b[200~r", "y\x1b[201~"], "h"),
        (["\x1br"], ""),
        (["\x1b\x1b[A"], ""),
        (["\xc3", "\xa9"], "é"),
    ],
)
def test_only_keys_are_keys(parts, keys):
    """Not the letters of an arrow, of a function key or of a pasted text, however they arrive."""
    typed = Typed()
    found = [key for part in parts for key in typed.keys(part.encode("latin-1"), 0.1)]
    assert "".join(found) == keys


def test_the_escape_key():
    """Alone it is a key, as soon as no sequence can follow; and it takes no other along."""
    typed = Typed()
    assert typed.keys(b"\x1b", 5.0) == []
    assert typed.keys(b"", 5.1) == []
    assert typed.keys(b"", 7.0) == ["\x1b"]
    assert typed.keys(b"\x1b", 8.0) == []
    assert typed.keys(b"n", 9.0) == ["\x1b", "n"]


# While a check runs


def test_how_far_a_check_is(progress, ladder):
    """Counts, the test under way, and seconds: a sign of life."""
    state, _ = play(
        State(progress, ladder.by_id["06"]),
        Begun(1, ladder.by_id["06"], (2,), {}, progress),
        Running(1, "units", 3, 9, "test_adam"),
        Running(1, "checkpoint", 12, 32, "test_x"),
        Running(0, "checkpoint", 1, 2, "overtaken"),
        Ticked(24),
    )
    drawn = text(state)
    assert "running the unit tests of step 2: 3 of 9 tests, 24 s, test_adam" in drawn
    assert "running the checkpoint, optimization: 12 of 32 tests, 24 s" in drawn
    assert state.waiting


def test_a_unit_test_that_took_too_long_comes_first(progress, ladder):
    """It knows where the loop is; the checkpoint only knows that no answer came."""
    late = Failure("test_f: not done in 10 s", step=1)
    units = UnitTests(0, (late,), 10.0, ran=False, late=True)
    assert "test_f: not done in 10 s" in text(checked(progress, ladder.by_id["06"], units))


def test_modules_that_were_saved_and_not_checked(progress, ladder):
    """They are named, with the command that checks all of them."""
    rung = ladder.by_id["06"]
    state, _ = play(State(progress, rung), Begun(1, rung, (), {}, progress, ("02", "03")))
    assert "also  02, 03 changed and not checked yet; all at once: tito grade" in text(state)


def test_of_several_saves_the_one_in_hand_is_checked(tree, ladder, monkeypatch):
    """Else the lowest; the others stay known until they are checked."""
    begun = []
    watch = Watch(tree, ladder, State(load_progress(tree, ladder), ladder.by_id["03"]))
    monkeypatch.setattr(watch.recheck, "check", lambda rung, *_: begun.append(rung.id))
    try:
        for ids in (("01", "03", "05"), ("04", "02")):
            for rung in map(ladder.by_id.get, ids):
                path = tree / rung.source
                path.write_bytes(path.read_bytes() + b"\n")
            watch.look()
        assert begun == ["03", "02"]
        assert watch.state.also == ("01", "03", "04", "05")
        done = CheckpointDone(watch.state.check, watch.state.progress)
        watch.events.put(done)
        watch.hear()
        watch.begin(ladder.by_id["01"], ())
        assert watch.state.also == ("03", "04", "05")
    finally:
        watch.close()


def test_a_change_that_hides_its_time_is_seen(tree, ladder):
    """The same size and the same time as before, but another content."""
    files = Files(tree, ladder)
    path = tree / ladder.by_id["01"].source
    facts = path.stat()
    path.write_bytes(path.read_bytes().replace(b"a", b"b"))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert [rung.id for rung in files.saved()] == ["01"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_a_pipe_in_the_place_of_a_module_is_not_waited_for(tree, ladder):
    """It is a change like any other."""
    files = Files(tree, ladder)
    path = tree / ladder.by_id["01"].source
    path.unlink()
    os.mkfifo(path)
    assert [rung.id for rung in files.saved()] == ["01"]
    assert files.saved() == []


def _result(tree, ladder, follow=lambda running: None):
    """What a check of module 00 tells: of its unit tests, and of its checkpoint."""
    told = queue.Queue()
    recheck = Recheck(tree, ladder, told.put, follow)
    try:
        recheck.check(ladder.by_id["00"])
        answers = {type(a): a for a in (told.get(timeout=60), told.get(timeout=60))}
    finally:
        recheck.close()
    return answers[UnitsDone], answers[CheckpointDone]


def test_what_another_command_wrote_meanwhile_is_kept(tree, ladder):
    """The report is read again when the result is put into it."""
    digests = load_progress(tree, ladder).digests
    seen = []

    def follow(running):
        seen.append(running)
        if running.part == "checkpoint" and running.done == 1:
            save_report(screenshots.report_of(ladder, digests), tree / "report.json")

    units, checkpoint = _result(tree, ladder, follow)
    assert units.units.ok
    assert checkpoint.progress.by_id["00"].settled
    assert checkpoint.progress.by_id["03"].settled
    last = {running.part: running for running in seen}
    tests = len(checkpoint.progress.by_id["00"].result.tests)
    assert (last["checkpoint"].done, last["checkpoint"].total) == (tests, tests)
    assert last["units"].total == units.units.passed


def test_a_report_that_cannot_be_read_is_kept_aside(tree, ladder):
    """It is said where; the result is there all the same."""
    (tree / "report.json").write_text("{", encoding="utf-8")
    _, checkpoint = _result(tree, ladder)
    assert checkpoint.progress.by_id["00"].settled
    assert ".tito/kept/report-1.json" in checkpoint.note
    assert (tree / ".tito/kept/report-1.json").read_text(encoding="utf-8") == "{"
    begun = Begun(checkpoint.check, ladder.by_id["00"], (), {}, checkpoint.progress)
    state, _ = play(State(checkpoint.progress, ladder.by_id["00"]), begun, checkpoint)
    assert ".tito/kept/report-1.json" in text(state)


HANGS = """
    import resource, subprocess, sys, time
    try:
        file = open({told!r}, "w")
    except OSError:  # in the worker
        file = sys.stdout
    else:
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        print(child.pid, *resource.getrlimit(resource.RLIMIT_AS), file=file, flush=True)
    while True: time.sleep(0.01)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="sweeps by what Linux offers")
def test_unit_tests_have_bounds(tree, tmp_path, ladder, monkeypatch):
    """In time, in memory, and in what they leave behind; the place of the loop is told."""
    monkeypatch.setattr(recheck_module, "UNIT_SECONDS", 2.0)
    path = tree / ladder.by_id["00"].source
    good = path.read_text(encoding="utf-8")
    begin = good.index("### BEGIN SOLUTION") + len("### BEGIN SOLUTION")
    body = HANGS.format(told=str(tmp_path / "told")).rstrip()
    path.write_text(good[:begin] + body + good[begin:], encoding="utf-8")
    told = queue.Queue()
    recheck = Recheck(tree, ladder, told.put)
    try:
        recheck.check(ladder.by_id["00"])
        units = told.get(timeout=60).units
    finally:
        recheck.close()
    assert units.late
    failure = units.failures[0]
    assert failure.headline.startswith("test_identity_is_parsed_or_refused: not done in 2 s")
    assert failure.line == good[:begin].count("\n") + body.count("\n") + 1
    assert failure.step == 1
    assert failure.command == "tito test 00 -k test_identity_is_parsed_or_refused"
    child, *memory = (tmp_path / "told").read_text().split()
    assert all(0 < int(limit) < 1 << 40 for limit in memory)
    with pytest.raises(ProcessLookupError):
        os.kill(int(child), 0)


def test_every_check_is_answered_whatever_goes_wrong(tree, ladder, monkeypatch):
    """A full disk, or anything else: the screen must not wait for ever."""

    def refuse(*arguments, **how):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recheck_module, "check_unit_tests", refuse)
    monkeypatch.setattr(recheck_module, "grade", refuse)
    units, checkpoint = _result(tree, ladder)
    assert "No space left on device" in units.problem.message
    assert "No space left on device" in checkpoint.trouble
