"""Random ladders and reports, valid by construction, for the tests of report, score and render."""

from hypothesis import strategies as st

from tito.grading.score import Run, Standing, score_ladder
from tito.ladder import Checkpoint, Ladder, Milestone, Stage, Tier
from tito.report import (
    KINDS,
    SCHEMA_VERSION,
    TEST_STATUSES,
    Course,
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

# Any character a string can hold, control characters and halves of surrogate pairs included.
ANY_TEXT = st.text(st.characters(), max_size=30)
LINES = st.integers(1, 10_000)


@st.composite
def ladders(draw: st.DrawFn) -> Ladder:
    """A ladder of up to eight rungs whose needs point downwards."""
    stages = (Stage("Begin", "Begin", "I can begin"), Stage("Go On", "Go", "I can go on"))
    rungs = []
    for i in range(draw(st.integers(1, 8))):
        earlier = [f"{j:02}" for j in range(i)]
        needs = draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        rungs.append(
            Checkpoint(
                id=f"{i:02}",
                module=f"module{i}",
                name=f"name{i}",
                question="Can I?",
                stage=draw(st.sampled_from(stages)).name,
                points=draw(st.integers(0, 12)),
                needs=tuple(sorted(needs)),
                free=("test_0",) if draw(st.booleans()) else (),
            )
        )
    ids = [rung.id for rung in rungs]
    first = draw(st.sampled_from(ids))
    tiers = (Tier("Upper", first, ids[-1]),)
    requires = tuple(sorted(draw(st.lists(st.sampled_from(ids), unique=True))))
    return Ladder(1, tuple(rungs), stages, tiers, (Milestone("01_1957", 1957, "First", requires),))


def failures() -> st.SearchStrategy[Failure]:
    """A failure whose every text is hostile."""
    return st.builds(
        Failure,
        headline=ANY_TEXT,
        expected=ANY_TEXT,
        got=ANY_TEXT,
        hint=ANY_TEXT,
        file=st.none() | ANY_TEXT,
        line=st.none() | LINES,
        step=st.none() | st.integers(0, 20),
        command=ANY_TEXT,
        output=ANY_TEXT,
        traceback=st.lists(st.builds(Frame, ANY_TEXT, LINES, ANY_TEXT), max_size=2).map(tuple),
    )


@st.composite
def runs(draw: st.DrawFn, ladder: Ladder) -> dict[str, Run]:
    """What some of a ladder's checkpoints gave."""
    found = {}
    for rung in ladder.checkpoints:
        if draw(st.integers(0, 4)) == 0:
            continue
        tests = tuple(
            Outcome(
                name=f"test_{i}",
                kind=draw(st.sampled_from(KINDS)),
                status=(status := draw(st.sampled_from(TEST_STATUSES))),
                duration=draw(st.floats(0, 9)),
                failure=None if status == "passed" else draw(st.none() | failures()),
            )
            for i in range(draw(st.integers(0, 5)))
        )
        trouble = draw(st.sampled_from((None, None, None, "error", "timeout")))
        found[rung.id] = Run(tests, trouble, draw(st.none() | ANY_TEXT))
    return found


@st.composite
def scored(draw: st.DrawFn) -> tuple[Ladder, dict[str, Run], Standing]:
    """A ladder, what its checkpoints gave, and the verdict."""
    ladder = draw(ladders())
    given_runs = draw(runs(ladder))
    return ladder, given_runs, score_ladder(ladder, given_runs)


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """A whole report."""
    _, _, standing = draw(scored())
    milestones = st.none() | st.builds(
        MilestoneRun, st.booleans(), st.booleans(), ANY_TEXT, st.floats(0, 99)
    )
    written = st.builds(ReflectionText, st.just("00"), ANY_TEXT, st.integers(0, 999), ANY_TEXT)
    problems = st.lists(st.builds(Problem, ANY_TEXT, LINES, ANY_TEXT, ANY_TEXT), max_size=2)
    paths = st.lists(ANY_TEXT, max_size=2).map(tuple)
    layers = st.lists(st.builds(Layer, ANY_TEXT, st.booleans(), ANY_TEXT), max_size=2).map(tuple)
    return Report(
        schema_version=SCHEMA_VERSION,
        course=Course(draw(ANY_TEXT), "1.0.0"),
        ladder_version=1,
        generated_at="2026-11-20T12:00:00Z",
        repository=draw(st.sampled_from((None, "lovelace/tinytorch"))),
        commit=draw(st.sampled_from((None, "9f2c" * 10))),
        branch=draw(st.none() | ANY_TEXT),
        seed=draw(st.integers(0, 2**32)),
        duration=draw(st.floats(0, 900)),
        environment=Environment("3.12.7", "2.3.4", draw(ANY_TEXT), "Linux", 4, True),
        isolation=Isolation(draw(st.sampled_from(("fork", "spawn", "none"))), draw(layers)),
        score=standing.score,
        level=standing.level,
        checkpoints=standing.checkpoints,
        stages=standing.stages,
        tiers=standing.tiers,
        milestones=tuple(
            type(m)(**{**m.to_json(), "requires": m.requires, "result": draw(milestones)})
            for m in standing.milestones
        ),
        next=standing.next,
        problems=tuple(draw(problems)),
        integrity=Integrity(draw(st.none() | ANY_TEXT), draw(paths), draw(paths), ()),
        reflections=tuple(draw(st.lists(written, max_size=2))),
    )
