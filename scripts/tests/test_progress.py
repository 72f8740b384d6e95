"""Where the student is follows from the report and the tree alone."""

from dataclasses import replace

import pytest

from tito.grading.merge import merged
from tito.grading.score import Run, score_ladder
from tito.progress import find_stubs, load_progress, needs_digest
from tito.report import NextStep, Outcome, Report, load_report, save_report
from tito.source import parse
from tito.strip import strip


def stripped(tree, rung):
    """Put the student's stubs in the place of a module's solutions."""
    path = tree / rung.source
    module = parse(path.read_text(encoding="utf-8"), rung.source)
    path.write_text(strip(rung.id, module), encoding="utf-8")


@pytest.fixture
def graded(tree, ladder):
    """A function that makes the report of a tree with some rungs passed, and saves it."""
    from golden.samples import report

    def make(passed, failed=()) -> Report:
        runs = {i: Run(tuple(_tests(ladder.by_id[i], "passed"))) for i in passed}
        runs |= {i: Run(tuple(_tests(ladder.by_id[i], "failed"))) for i in failed}
        standing = score_ladder(ladder, runs)
        sources = load_progress(tree, ladder).digests
        digests = {
            i: {"source_digest": sources.get(i), "needs_digest": needs_digest(ladder, i, sources)}
            for i in runs
        }
        checkpoints = tuple(replace(c, **digests.get(c.id, {})) for c in standing.checkpoints)
        names = ("score", "level", "stages", "tiers", "milestones", "next")
        values = {name: getattr(standing, name) for name in names}
        made = replace(report({}), **values, checkpoints=checkpoints)
        save_report(made, tree / "report.json")
        return made

    return make


def _tests(rung, status):
    for i in range(3):
        yield Outcome(f"test_{i}", "functionality", status, file=rung.source, line=40 + i)


def edit(tree, rung, text="# one more line\n"):
    with open(tree / rung.source, "a", encoding="utf-8") as file:
        file.write(text)


def test_what_changed_since_the_report(tree, ladder, graded):
    """An edit makes that rung older than its source, and those that build on it too."""
    graded(["00", "01", "02", "03", "10"])
    before = load_progress(tree, ladder)
    assert [rung.id for rung in before.passed] == ["00", "01", "02", "03", "10"]
    assert not before.stale
    assert before.by_id["04"].freshness == "unknown"
    edit(tree, ladder.by_id["02"])
    after = load_progress(tree, ladder)
    assert {r.id: r.freshness for r in after.stale} == {"02": "changed", "03": "affected"}
    assert (after.current.id, after.next.command) == ("02", "tito module complete 02")
    assert after.points == before.points, "the points shown are those of the report"


def test_line_ends_change_nothing(tree, ladder, graded):
    """A checkout on Windows is the same source."""
    graded(["00", "01"])
    path = tree / ladder.by_id["01"].source
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert not load_progress(tree, ladder).stale


def test_stubs_are_those_the_stripper_writes(tree, ladder):
    """Every solution that is stripped is found again with its line, step and name."""
    rung = ladder.by_id["05"]
    stripped(tree, rung)
    text = (tree / rung.source).read_text(encoding="utf-8")
    regions = parse(text, rung.source).regions
    assert [(s.step, s.name) for s in find_stubs(text)] == [(r.step, r.name) for r in regions]
    assert all(
        "raise NotImplementedError" in text.splitlines()[s.line - 1] for s in find_stubs(text)
    )


def test_the_next_step_of_a_fresh_tree(tree, ladder):
    """Nothing graded and nothing written: begin. Some written: see where it stands."""
    for rung in ladder.checkpoints:
        if (tree / rung.source).is_file():
            stripped(tree, rung)
    progress = load_progress(tree, ladder)
    assert progress.next.command == "tito module start 00"
    assert "NotImplementedError" in line_of(tree, progress.next)
    path = tree / ladder.by_id["00"].source
    path.write_text(path.read_text(encoding="utf-8").replace("raise NotImp", "return NotImp"))
    assert load_progress(tree, ladder).next.command == "tito grade"


def line_of(tree, step):
    """The line a next step points at."""
    return (tree / step.file).read_text(encoding="utf-8").splitlines()[step.line - 1]


def test_the_next_step_on_the_way(tree, ladder, graded):
    """What fails comes first with its line, then the stub to write, then what is not checked."""
    stripped(tree, ladder.by_id["02"])
    graded(["00", "01"], failed=["02"])
    step = load_progress(tree, ladder).next
    assert (step.command, step.line) == ("tito checkpoint run 02", 40)
    edit(tree, ladder.by_id["02"])
    step = load_progress(tree, ladder).next
    assert step.command == "tito module start 02"
    assert "NotImplementedError" in line_of(tree, step)
    (tree / ladder.by_id["00"].source).write_bytes(b"\xff")
    broken = load_progress(tree, ladder)
    assert "is not UTF-8" in broken.next.why
    assert broken.by_id["00"].freshness == "changed"


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 99}', "[]", "\ud800"])
def test_a_damaged_report_is_said_and_survived(tree, ladder, text):
    (tree / "report.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    progress = load_progress(tree, ladder)
    assert progress.report is None
    assert progress.problem.startswith("report.json")
    assert "tito" in progress.next.command
    assert progress.stages[0].total > 0


def test_an_empty_tree(tmp_path, ladder):
    progress = load_progress(tmp_path, ladder)
    assert {rung.status for rung in progress.rungs} == {"absent"}
    assert progress.next.command == "git checkout HEAD -- modules"


def test_merging_keeps_what_was_not_run(tree, ladder, graded):
    """One rung graded anew changes its own result, and what follows from it."""
    last = graded(["00", "01", "03"], failed=["02"])
    assert last.level == 1
    new = graded(["02"])
    here = [rung.id for rung in ladder.checkpoints]
    both = merged(ladder, last, new, ["02"], here)
    assert both.level == 3
    assert both.score.points == last.score.points + both.by_id["02"].points
    assert both.by_id["01"] == last.by_id["01"]
    again = merged(ladder, both, new, ["02"], here)
    assert again == both
    alone = merged(ladder, None, new, ["02"], here)
    assert alone.by_id["05"].status == "not_started"
    assert alone.next.checkpoint == "00"


def test_only_what_a_rung_builds_on_makes_it_old(tree, ladder, graded):
    """A change that concerns a rung is named as its cause, and no other change is."""
    graded(["00", "01", "02", "03", "10"])
    edit(tree, ladder.by_id["10"])
    edit(tree, ladder.by_id["02"])
    now = load_progress(tree, ladder)
    assert [r.id for r in now.causes(now.by_id["03"])] == ["02"]
    assert now.causes(now.by_id["01"]) == ()


def test_a_module_graded_anew_leaves_its_users_to_be_regraded(tree, ladder, graded, capsys):
    """What changed elsewhere is not blamed for it."""
    from tito.cli import main

    last = graded(["00", "01", "02", "03", "10"])
    edit(tree, ladder.by_id["10"])
    edit(tree, ladder.by_id["01"])
    sources = load_progress(tree, ladder).digests
    checkpoints = [
        replace(c, source_digest=sources["01"]) if c.id == "01" else c for c in last.checkpoints
    ]
    save_report(replace(last, checkpoints=tuple(checkpoints)), tree / "report.json")
    now = load_progress(tree, ladder)
    assert [r.id for r in now.changed] == ["10"]
    assert now.next.why == "a module changed since 02 was graded, which uses it"
    assert main(["-C", str(tree), "status"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "10 changed since; 02, 03 use a module that has been graded anew" in shown


def test_every_status_names_the_same_next_command(tree, ladder, graded, capsys):
    """That of the report knows no line of a module that was never run, and names none."""
    from tito.cli import main

    for rung in ladder.checkpoints[2:]:
        stripped(tree, rung)
    graded(["00", "01"])
    step = load_progress(tree, ladder).next
    for words in ([], ["status"]):
        main(["-C", str(tree), *words])
        shown = capsys.readouterr().out
        assert f"open  {step.file}:{step.line}" in shown
        assert "next  tito module start 02" in shown
    path, rung = tree / "report.json", ladder.by_id["02"]
    where = {"file": rung.source, "line": None, "command": "tito checkpoint run 02", "why": "new"}
    after = NextStep(checkpoint="02", module=rung.module, name=rung.name, **where)
    save_report(replace(load_report(path), next=after), path)
    main(["-C", str(tree), "checkpoint", "status"])
    assert capsys.readouterr().out.endswith("\n\nnext: tito module start 02\n")


@pytest.mark.parametrize("text", ["{", None], ids=["damaged", "none"])
def test_without_a_report_a_hint_goes_by_the_tree(tree, ladder, capsys, text):
    """The first step still to be written; nothing is claimed of results that nobody knows."""
    from tito.cli import main

    for rung in ladder.checkpoints[2:]:
        stripped(tree, rung)
    if text:
        (tree / "report.json").write_text(text, encoding="utf-8")
    assert main(["-C", str(tree), "checkpoint", "hint"]) == 0
    assert "02 activations, step 1" in capsys.readouterr().out
    assert main(["-C", str(tree), "checkpoint", "hint", "01"]) == 0
    assert "01 tensor: nothing is left to write" in capsys.readouterr().out


def test_what_waits_for_a_rung_names_the_step_that_tito_names(tree, ladder, graded, capsys):
    """A milestone that is locked and `tito` itself lead to the same command."""
    from tito.cli import main

    for rung in ladder.checkpoints[2:]:
        stripped(tree, rung)
    graded(["00", "01"])
    now = load_progress(tree, ladder)
    assert now.towards("02") == now.next
    assert now.next.command == "tito module start 02"
    for words in ("milestone info 01", "milestone run 01"):
        main(["-C", str(tree), *words.split()])
        assert "next" in (shown := capsys.readouterr().out)
        assert "tito module start 02" in shown
