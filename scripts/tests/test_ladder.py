"""The checkpoints themselves: two routes, one outcome, whatever the inputs; and their ladder."""

import json
import os
import subprocess
import sys

import pytest

from tito.export import export_tree, present
from tito.grading.grade import grade
from tito.ladder import LadderError, load_ladder, parse_ladder
from tito.source import parse
from tito.strip import strip


def functional(checkpoint):
    """The statuses of a checkpoint's tests by name, timings left out: a busy machine fails them."""
    return {test.name: test.status for test in checkpoint.tests if test.kind != "performance"}


def run_plainly(tree, rung):
    """The outcome of each test of a checkpoint file under plain pytest, student code inside."""
    file = tree / "plain.json"
    command = [sys.executable, "-P", "-m", "pytest", str(tree / rung.file), "-q"]
    command += ["-p", "no:cacheprovider", "-p", "pytest_jsonreport.plugin", "--json-report"]
    command += [f"--json-report-file={file}", "--rootdir", str(tree), "-c", os.devnull]
    environment = os.environ | {
        "PYTHONPATH": str(tree),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TITO_SEED": "1",
        "OPENBLAS_NUM_THREADS": "1",  # as when grading
    }
    subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=False)
    tests = json.loads(file.read_text(encoding="utf-8"))["tests"]
    return {test["nodeid"].partition("::")[2]: test["outcome"] for test in tests}


@pytest.fixture(scope="module")
def reference(root, ladder):
    """The report on the course's own solutions."""
    return grade(root, ladder, present(root, ladder), seed=1)


@pytest.mark.parametrize("seed", [2, 3, 1_000_003])
def test_the_reference_passes_every_checkpoint(seed, root, ladder):
    """Solutions score in full wherever module and checkpoint exist, whatever the inputs."""
    report = grade(root, ladder, present(root, ladder), seed=seed)
    for rung in present(root, ladder):
        checkpoint = report.by_id[rung.id]
        assert checkpoint.tests, f"{rung.folder} has no checkpoint"
        failures = [t.failure for t in checkpoint.tests if t.failure and t.kind != "performance"]
        assert not failures, failures[0]


def test_plain_pytest_gives_the_same_outcome(reference, tree, ladder):
    """An ordinary `pytest checkpoints/…` after an export agrees, test by test."""
    export_tree(tree, ladder, present(tree, ladder))
    for rung in present(tree, ladder):
        plain = run_plainly(tree, rung)
        isolated = functional(reference.by_id[rung.id])
        assert isolated.keys() <= plain.keys()
        assert {name: plain[name] for name in isolated} == isolated, rung.folder


def strip_tree(tree, ladder):
    """Turn every module of a tree into stubs."""
    for rung in present(tree, ladder):
        path = tree / rung.source
        module = parse(path.read_text(encoding="utf-8"), rung.source)
        path.write_text(strip(rung.id, module), encoding="utf-8")


def test_stubs_fail_under_plain_pytest_too(tree, ladder):
    """The other route agrees: not one test passes."""
    strip_tree(tree, ladder)
    export_tree(tree, ladder, present(tree, ladder))
    for rung in present(tree, ladder):
        outcomes = run_plainly(tree, rung)
        assert outcomes
        assert {o for name, o in outcomes.items() if name not in rung.free} == {"failed"}


def test_the_same_seed_gives_the_same_inputs(root, ladder):
    """A report's seed repeats its run."""
    rung = ladder.by_id["01"]
    first, second = (grade(root, ladder, [rung], seed=77) for _ in range(2))
    assert functional(first.by_id["01"]) == functional(second.by_id["01"])
    assert first.seed == second.seed == 77


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("points = 6", "points = 7", "must sum to 100, not 101"),
        ('needs = ["05"]', 'needs = ["77"]', "not an earlier rung"),
        ("points = 6", "pionts = 6", "did you mean points"),
        ('stage = "Foundation"', 'stage = "Fundament"', "no stage is called"),
        ('id = "03"', 'id = "04"', "without a gap"),
        ("version = 1", "version 1", "not valid TOML"),
        ("[[tier]]", "[[teir]]", "unknown table 'teir'"),
    ],
)
def test_a_wrong_ladder_is_refused_by_name(root, old, new, words):
    """The one list of truth is checked as it is read."""
    text = (root / "checkpoints" / "ladder.toml").read_text(encoding="utf-8")
    with pytest.raises(LadderError, match=words):
        parse_ladder(text.replace(old, new, 1))


def test_names_of_older_courses_are_understood(ladder):
    """Numbers, modules, checkpoints and the names that course documents used."""
    wanted = {"dense": "03", "networks": "03", "kernels": "18", "mlops": "20", "deployment": "20"}
    wanted |= {"tinygpt": "13", "regularization": "16", "stability": "08", "5": "05"}
    wanted |= {"05": "05", "autograd": "05", "05_autograd": "05", "Differentiation": "05"}
    assert {name: ladder.find(name).id for name in wanted} == wanted


def test_the_ladder_is_the_published_one(root):
    """21 rungs, five stages, three tiers, six milestones, 100 points."""
    ladder = load_ladder(root)
    counts = [len(p) for p in (ladder.checkpoints, ladder.stages, ladder.tiers, ladder.milestones)]
    assert counts == [21, 5, 3, 6]
    assert ladder.points == 100
