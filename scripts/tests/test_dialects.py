"""The report in Classroom's and Classroom 50's formats, as their readers read them."""

import base64
import json
import re

import pytest
from golden.regenerate import ENVIRONMENT, HERE
from hypothesis import HealthCheck, given, settings
from reports import reports

from tito.dialects import classroom50, github_classroom
from tito.report import Report, parse_report

SAMPLES = sorted(path.parent.name for path in HERE.glob("*/sample.json"))
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50)


def sample(name: str) -> Report:
    """A sample report."""
    return parse_report((HERE / name / "sample.json").read_text(encoding="utf-8"))


@SLOW
@given(reports())
def test_classroom_result_is_what_its_reporter_can_read(report):
    """Whole scores that sum to ours, a list of tests, known statuses, no line ends."""
    data = json.loads(base64.b64decode(github_classroom.encoded(report)))
    assert list(data) == ["version", "status", "max_score", "tests"]
    assert data["version"] == 1
    assert data["max_score"] == report.score.max
    assert sum(test["score"] for test in data["tests"]) == report.score.points
    everything = report.score.points == report.score.max
    assert data["status"] == ("pass" if everything else "fail")
    for test in data["tests"]:
        assert type(test["score"]) is int
        assert type(test["duration"]) is int
        assert type(test["line_no"]) is int
        assert test["status"] in ("pass", "fail", "error")
        for name in ("name", "message", "filename", "test_code"):
            assert test[name].isprintable()
            assert not test[name].startswith("::")
            assert "##[" not in test[name]


def test_classroom_output_is_one_line():
    text = github_classroom.encoded(sample("hostile"))
    assert re.fullmatch(r"[A-Za-z0-9+/]+=*", text)


def test_classroom_notices_are_those_it_looks_for():
    assert github_classroom.notices(sample("partway")) == [
        "::notice title=Autograding complete::Points 31/100",
        '::notice title=Autograding report::{"totalPoints":31,"maxPoints":100}',
    ]


def test_classroom_messages():
    messages = {t["name"]: t for t in github_classroom.result(sample("timeouts"))["tests"]}
    assert messages["00 environment"]["status"] == "pass"
    assert messages["00 environment"]["message"] == ""
    assert messages["01 foundation"]["status"] == "fail"
    assert messages["01 foundation"]["message"] == "fit: no answer after 20 s"
    assert messages["02 intelligence"]["message"] == "first mend 01"
    assert messages["01 foundation"]["line_no"] == 102


@pytest.mark.parametrize("name", SAMPLES)
def test_classroom50_result(name):
    report = sample(name)
    data = classroom50.result(report, ENVIRONMENT)
    assert list(data) == (
        "schema classroom assignment submission commit release review datetime score max-score"
        " tests"
    ).split(" ")
    assert data["schema"] == "classroom50/result/v1"
    assert (data["classroom"], data["release"]) == ("cs249", "")
    assert (data["score"], data["max-score"]) == (report.score.points, report.score.max)
    assert sum(test["score"] for test in data["tests"]) == data["score"]
    for test in data["tests"]:
        assert list(test) == ["test-name", "passed", "score", "max-score"]
        assert test["passed"] is (test["score"] == test["max-score"]) or not test["passed"]
