"""Sample reports, made from the real ladder and invented outcomes.

`regenerate.py` writes them to this folder; the tests read those files, so that an edit of the
ladder does not move a golden.
"""

from dataclasses import replace
from pathlib import Path

from tito.grading.score import Run, score_ladder
from tito.ladder import Checkpoint, load_ladder
from tito.report import (
    KINDS,
    SCHEMA_VERSION,
    Course,
    CustomResult,
    Environment,
    Failure,
    Frame,
    Integrity,
    Isolation,
    Layer,
    MilestoneRun,
    Outcome,
    Problem,
    ReflectionText,
    Report,
)

LADDER = load_ladder(Path(__file__).resolve().parents[3])
ASKED = "sum each row of a (2, 3) tensor, keepdims=False"
HINT = "the summed axis disappears unless keepdims is True"
WRONG_SHAPE = {
    "headline": "Tensor.sum(axis=1): expected shape (2,), got (2, 1)",
    "call": "Tensor.sum(axis=1)",
    "expected": "[ 6. 15.]",
    "got": "[[ 6.] [15.]]",
}
HOSTILE = (
    "</text><script>alert(1)</script> & \"quotes\" 'single' `ticks` ```fence``` | cell | "
    "[link](https://example.org) www.example.org ![image](x) @someone #1 **bold** <b>\n"
    "::error file=forged::notice me\r\n   ::set-output name=x::y\n##[add-mask]secret\n"
    "\x1b[31mred\x1b[0m \x9b2J \u202egnirts desrever\u202c \ud800 \x00 %0A::notice::forged"
)


def outcomes(rung: Checkpoint, statuses: str, parts: dict | None = None) -> tuple[Outcome, ...]:
    """Tests of a rung from letters: p passed, f failed, n not started, e error, t timeout."""
    words = {"p": "passed", "f": "failed", "n": "not_started", "e": "error", "t": "timeout"}
    tests = []
    for i, letter in enumerate(statuses):
        status, step, line = words[letter], i % 7 + 1, 40 + 31 * i
        place = {"file": rung.source, "line": line, "step": step}
        own = {
            "passed": {"headline": ""},
            "failed": parts or WRONG_SHAPE,
            "not_started": {"headline": f"{rung.module}: not written yet (step {step})"},
            "error": parts or {"headline": f"{rung.source}: the import failed"},
            "timeout": {"headline": "fit: no answer after 20 s", "got": "no answer in time"},
        }[status]
        failure = Failure(
            **{"asked": ASKED, "hint": HINT, **own, **place},
            command=f"tito checkpoint run {rung.id}",
        )
        tests.append(
            Outcome(
                name=f"test_{rung.name}_{i + 1}",
                kind=KINDS[min(3, i * 4 // len(statuses))],
                status=status,
                asked=ASKED,
                duration=0.004 * (i + 1),
                step=step,
                of="Tensor.sum",
                hint=HINT,
                file=rung.source,
                line=line,
                failure=None if status == "passed" else failure,
            )
        )
    return tuple(tests)


def report(runs: dict[str, str | Run], milestones: dict[str, MilestoneRun] | None = None) -> Report:
    """A report of runs, each given in full or as the letters of its tests."""
    full = {
        rung: run if isinstance(run, Run) else Run(outcomes(LADDER.by_id[rung], run))
        for rung, run in runs.items()
    }
    full = {
        rung: replace(run, peak_memory_bytes=run.peak_memory_bytes or 61_000_000)
        for rung, run in full.items()
    }
    standing = score_ladder(LADDER, full, milestones)
    return Report(
        schema_version=SCHEMA_VERSION,
        course=Course("TinyTorch", "1.0.0"),
        ladder_version=LADDER.version,
        generated_at="2026-11-20T12:00:00Z",
        repository="lovelace/tinytorch",
        commit="9f2c4e1b7a5d3068c1e2f4a6b8d0c2e4f6a8b0d1",
        branch="main",
        seed=20261120,
        duration=48.25,
        environment=Environment("3.12.7", "2.3.4", "OpenBLAS 0.3.30", "Linux x86_64", 4, True),
        isolation=Isolation("fork", (Layer("process", True, ""), Layer("file system", True, ""))),
        score=standing.score,
        level=standing.level,
        checkpoints=standing.checkpoints,
        stages=standing.stages,
        tiers=standing.tiers,
        milestones=standing.milestones,
        next=standing.next,
        problems=(),
        integrity=Integrity("1.0.0", (), (), ()),
    )


def custom(place: int, name: str, statuses: str, parts: dict | None = None) -> CustomResult:
    """A checkpoint beyond the ladder, about module 05, from the letters of its tests."""
    tests = outcomes(LADDER.by_id["05"], statuses, parts)
    done = all(letter == "p" for letter in statuses)
    return CustomResult(
        id=f"C{place}",
        name=name,
        question="Can I centre the rows of a table?",
        file=f"checkpoints/custom_{name}.py",
        own=True,
        counts=False,
        needs=("03", "05"),
        status="passed" if done else "partial" if "p" in statuses else "failed",
        blocked_by=(),
        points=0,
        max_points=0,
        duration=0.03,
        peak_memory_bytes=61_000_000,
        message=None,
        tests=tests,
    )


def empty() -> Report:
    """A fresh clone of the template: the first eight rungs have checkpoints, nothing is written."""
    return report({f"{i:02}": "nnnnnnnn" for i in range(8)})


def partway() -> Report:
    """Half-way through the Foundation tier, with failures and rungs not begun."""
    runs: dict[str, str | Run] = {f"{i:02}": "pppppppp" for i in range(5)}
    trace = Failure(
        headline="Tensor.backward: raised ValueError: shapes (3, 4) and (4,) differ",
        call="Tensor.backward()",
        asked="multiply a (3, 4) matrix by a vector and go back",
        got="ValueError: shapes (3, 4) and (4,) differ",
        hint="the gradient of an input has the input's shape: un-broadcast before you add",
        file="modules/05_autograd/autograd.py",
        line=212,
        step=4,
        command="tito checkpoint run 05",
        output="starting backward\nnode 3 of 9\n",
        traceback=(
            Frame("modules/05_autograd/autograd.py", 188, "backward"),
            Frame("modules/05_autograd/autograd.py", 212, "accumulate"),
        ),
    )
    first, *others = outcomes(LADDER.by_id["05"], "fpppfpppfpnp")
    tests = (replace(first, failure=trace), *others)
    runs |= {"05": Run(tests), "06": "pfpffnnn", "07": "nnnnnnnn", "08": "ppppp", "10": "ffnnn"}
    text = (
        "On my laptop the product of two 1000 × 1000 matrices takes 19 ms.\n\n"
        "- Doubling n costs 7.6 times as much, not 8: the small one is bound by start-up."
    )
    written = ReflectionText("00", "setup", 27, text)
    own = (custom(1, "centred_rows", "pp"), custom(2, "batches_of_one", "pfp"))
    return replace(report(runs | {"09": "nnnnnn"}), reflections=(written,), custom=own)


def passed() -> Report:
    """Everything passed, two milestones run."""
    runs = {rung.id: "p" * 12 for rung in LADDER.checkpoints}
    done = MilestoneRun(True, False, "100% on separable data", 2.5)
    return report(runs, {"01_1957_perceptron": done, "02_1969_xor": done})


def hostile() -> Report:
    """Every text that a student can reach tries to break out of where it is shown."""
    parts = dict.fromkeys(("headline", "call", "expected", "got", "detail", "hint"), HOSTILE)
    bad = outcomes(LADDER.by_id["01"], "pfffe", parts)
    frames = (Frame(HOSTILE, 3, HOSTILE),)
    tests = tuple(
        replace(
            test,
            name=f"{i}{HOSTILE}",
            failure=test.failure
            and replace(test.failure, output=HOSTILE * 20, traceback=frames, file=HOSTILE),
        )
        for i, test in enumerate(bad)
    )
    runs = {"00": "pppp", "01": Run(tests, message=HOSTILE), "02": "ffpp"}
    base = report(runs)
    problem = Problem(HOSTILE, 7, HOSTILE, HOSTILE)
    changed = Integrity("1.0.0", (HOSTILE,), ("checkpoints/feedback.py",), (HOSTILE,))
    layers = (Layer("network", False, HOSTILE), Layer("file system", False, "no Landlock here"))
    first, *others = base.stages
    return replace(
        base,
        course=Course(HOSTILE, HOSTILE),
        branch=HOSTILE,
        problems=(problem,),
        integrity=changed,
        isolation=Isolation("spawn", layers),
        stages=(replace(first, short=HOSTILE, capability=HOSTILE), *others),
        reflections=(ReflectionText("00", HOSTILE, 9, f"{HOSTILE}\n\n</details>{HOSTILE}"),),
        custom=(custom(1, HOSTILE, "fp", parts),),
    )


def timeouts() -> Report:
    """Endless loops, crashes, a checkpoint that could not run, and rungs that wait for them."""
    crash = {
        "headline": "the worker ended without an answer (exit status 137)",
        "got": "killed by SIGKILL: the memory limit of 2 GiB was reached",
        "expected": "",
    }
    return report(
        {
            "00": "ppppp",
            "01": "pptpppppp",
            "02": "tttttttt",
            "03": Run(outcomes(LADDER.by_id["03"], "eeeeeeee", crash)),
            "04": Run(
                (), trouble="error", message="modules/04_losses/losses.py:12: invalid syntax"
            ),
            "05": "ffffpppp",
            "06": "nnnnnnnn",
            "07": Run((), trouble="timeout", message="the checkpoint's 120 s ran out"),
        }
    )


SAMPLES = {
    "empty": empty,
    "partway": partway,
    "passed": passed,
    "hostile": hostile,
    "timeouts": timeouts,
}
