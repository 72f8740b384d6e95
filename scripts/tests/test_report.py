"""report.json: what is written can be read, what is wrong is refused, and the schema agrees."""

import copy
import json
import os
from dataclasses import FrozenInstanceError, replace

import jsonschema
import pytest
from golden.regenerate import HERE, SCHEMA, schema_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reports import reports

from tito.files import write_atomic
from tito.record import RecordError
from tito.report import (
    SIZE_LIMIT,
    WRITE_LIMIT,
    Failure,
    Layer,
    Outcome,
    Report,
    ReportError,
    Score,
    dump_report,
    load_report,
    parse_report,
    save_report,
)

VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
SAMPLES = sorted(path.parent.name for path in HERE.glob("*/sample.json"))
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50)


def sample(name: str = "partway") -> dict:
    """A sample report as parsed JSON."""
    return json.loads((HERE / name / "sample.json").read_text(encoding="utf-8"))


def refusal(data: object) -> ReportError:
    """The error with which a document is refused."""
    with pytest.raises(ReportError) as caught:
        parse_report(json.dumps(data))
    return caught.value


def test_the_schema_file_is_what_the_dataclasses_demand():
    """Regenerate it with scripts/tests/golden/regenerate.py."""
    assert SCHEMA.read_text(encoding="utf-8") == schema_text()
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text()))


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_satisfy_the_schema_and_survive_a_round_trip(name):
    text = (HERE / name / "sample.json").read_text(encoding="utf-8")
    VALIDATOR.validate(json.loads(text))
    assert dump_report(parse_report(text)) == text


@SLOW
@given(reports())
def test_every_report_round_trips_and_satisfies_the_schema(report):
    text = dump_report(report)
    assert parse_report(text) == report
    assert dump_report(parse_report(text)) == text
    VALIDATOR.validate(json.loads(text))
    text.encode()
    assert text.replace("\n", "").isprintable()


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**60, 1e300, 0.5, 3.0, -0.0]),
    st.text(max_size=4),
    st.sampled_from(["x" * 5000, "05", "passed", "05\n", "²²", "2026-11-20T12:00:00Z", "fork"]),
    st.lists(st.none(), max_size=2),
    st.just({}),
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """Every path into a JSON value but the empty one."""
    found = [path] if path else []
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            found += places(inner, (*path, key))
    return found


def mutate(document: dict, path: tuple, way: str, junk: object) -> dict:
    """A copy of a document with one place replaced, removed, doubled or given a new key."""
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if way == "remove":
        del inner[path[-1]]
    elif way == "add" and isinstance(inner, dict):
        inner[str(junk)[:8]] = junk
    elif way == "add":
        inner.append(junk)
    else:
        inner[path[-1]] = junk
    return changed


@SLOW
@given(reports(), st.data())
def test_the_reader_and_the_schema_refuse_the_same(report, data):
    """One random change: the schema refuses it exactly when the reader says it is misshapen.

    Only the reader knows that sums must agree; of such a document the schema has no complaint.
    """
    document = report.to_json()
    path = data.draw(st.sampled_from(places(document)))
    way = data.draw(st.sampled_from(("replace", "replace", "remove", "add")))
    changed = mutate(document, path, way, data.draw(JUNK))
    try:
        Report.from_json(json.loads(json.dumps(changed)))
        misshapen = False
    except RecordError as error:
        misshapen = "must agree" not in error.mend
    assert misshapen == (not VALIDATOR.is_valid(changed))


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"commit": "main"}, "$.commit", ["'main'", "full commit hash"]),
        ({"cources": 1}, "$", ["unknown key 'cources'", "did you mean 'course'"]),
        ({"level": "5"}, "$.level", ["'5'", "whole number from 0 to 99"]),
        ({"level": True}, "$.level", ["True"]),
        ({"seed": -1}, "$.seed", ["-1"]),
        ({"generated_at": "yesterday"}, "$.generated_at", ["'yesterday'", "2026-11-20T12:00:00Z"]),
        ({"problems": {}}, "$.problems", ["expected a list"]),
        ({"branch": "b" * 251}, "$.branch", ["251 characters", "250 allowed", "shorten it"]),
        ({"score": {"points": 32, "max": 100}}, "$.score.points", ["32", "31", "must agree"]),
        ({"score": {"points": 101, "max": 100}}, "$.score", ["101 points of 100"]),
        ({"level": 20}, "$.level", ["20 does not follow", "give 4"]),
    ],
)
def test_an_error_names_the_place_the_value_and_the_mend(change, path, words):
    error = refusal(sample() | change)
    assert error.path == path
    assert str(error).startswith("report.json: ")
    for word in (*words, "tito grade"):
        assert word in str(error)


def test_an_error_deep_inside_names_the_whole_path():
    data = sample()
    data["checkpoints"][5]["tests"][2]["status"] = "pased"
    error = refusal(data)
    assert error.path == "$.checkpoints[5].tests[2].status"
    assert "did you mean 'passed'?" in str(error)


def test_a_claim_of_more_points_than_the_tests_earned_is_refused():
    """The sums are checked, so a doctored total cannot be read as a report."""
    data = sample()
    test = next(t for t in data["checkpoints"][5]["tests"] if t["status"] == "failed")
    test["points"] = test["max_points"] = 1
    error = refusal(data)
    assert "but the test is failed" in str(error)


def test_a_newer_schema_version_has_its_own_message():
    error = refusal(sample() | {"schema_version": 2, "something": "new"})
    assert "written by a newer tito: schema version 2, this one reads 1" in str(error)
    assert "scripts up to date" in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "expected an object"),
        ('{"schema_version": 1, "schema_version": 1}', "names a key twice"),
        ('{"schema_version": NaN}', "NaN is not a JSON number"),
        ('{"schema_version": ' + "9" * 5000 + "}", "not valid JSON"),
        (" " * (SIZE_LIMIT + 1), "larger than"),
    ],
)
def test_what_is_no_json_is_refused_in_words(text, words):
    with pytest.raises(ReportError, match=words):
        parse_report(text)


def test_files_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "report.json"
    with pytest.raises(ReportError, match=r"is missing; write it again with: tito grade"):
        load_report(path)
    path.write_bytes(b"\xff{}")
    with pytest.raises(ReportError, match="not UTF-8"):
        load_report(path)
    path.write_bytes(b" " * (SIZE_LIMIT + 1))
    with pytest.raises(ReportError, match="bytes"):
        load_report(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ReportError, match="directory"):
        load_report(path)


def test_a_link_is_not_followed(tmp_path):
    real = tmp_path / "real.json"
    save_report(parse_report(json.dumps(sample())), real)
    link = tmp_path / "report.json"
    try:
        link.symlink_to(real)
    except OSError:
        pytest.skip("this system does not let an ordinary user make symbolic links")
    with pytest.raises(ReportError, match="symbolic link"):
        load_report(link)


def test_a_report_in_memory_is_valid_and_stays_so():
    with pytest.raises(RecordError, match="5 points of 3"):
        Score(5, 3)
    with pytest.raises(RecordError, match=r"Layer.active: expected true or false, got 1"):
        Layer("network", 1, "")
    with pytest.raises(RecordError, match="unknown word 'pass'"):
        Outcome("test", "imports", "pass")
    with pytest.raises(FrozenInstanceError):
        Score(1, 3).points = 2


def test_free_text_is_cut_when_made_and_halves_of_surrogates_are_replaced():
    failure = Failure(headline="x" * 1000, output="\ud800" + "y" * 9000)
    assert (len(failure.headline), failure.headline[-1]) == (400, "…")
    assert (len(failure.output), failure.output[0]) == (4000, "\N{REPLACEMENT CHARACTER}")


def test_a_report_that_would_grow_too_large_loses_output_then_traces_then_failures():
    report = parse_report(json.dumps(sample()))
    failure = Failure(headline="first line", got="g" * 1000, output="\x00" * 4000)
    checkpoints = []
    for checkpoint in report.checkpoints:
        kept = checkpoint.tests[0] if checkpoint.tests else None
        if kept is not None and kept.status != "passed":
            extra = replace(kept, points=0, max_points=0, failure=failure)
            copies = tuple(replace(extra, name=f"test_{i}") for i in range(150))
            checkpoint = replace(checkpoint, tests=(*checkpoint.tests, *copies))
        checkpoints.append(checkpoint)
    large = replace(report, checkpoints=tuple(checkpoints))
    text = dump_report(large)
    assert len(text.encode()) <= WRITE_LIMIT
    small = parse_report(text)
    assert small.score == large.score
    assert not any(t.failure.output for c in small.checkpoints for t in c.tests if t.failure)
    for checkpoint in small.checkpoints:
        if checkpoint.status not in ("passed", "not_started"):
            assert any(test.failure for test in checkpoint.tests)


def test_a_kill_while_writing_leaves_the_previous_report_whole(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    report = parse_report(json.dumps(sample()))
    save_report(report, path)
    before = path.read_bytes()

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_report(replace(report, seed=1), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
    monkeypatch.undo()
    assert write_atomic(path, before) is False
    assert load_report(path) == report
