"""The result of GitHub Classroom's graders, read by its reporter action and by Classmoji.

A checkpoint is one test, so that partial points survive as whole numbers. What its readers trip
over: a test without `score` sums to NaN, a fraction is read as 0, an object without `tests` ends
the reporter, and a line end in a name or a message can forge a notice in its log.
"""

import base64
import json
from typing import Any

from tito.render.choose import failing
from tito.render.escape import command_message, one_line
from tito.report import CheckpointResult, CustomResult, Report

MESSAGE = 200  # characters


def _message(checkpoint: CheckpointResult | CustomResult) -> str:
    """One line on why a checkpoint did not pass."""
    if checkpoint.status == "passed":
        return ""
    if checkpoint.blocked_by:
        return f"first mend {', '.join(checkpoint.blocked_by)}"
    failures = failing(checkpoint)
    if checkpoint.status == "not_started" or not failures:
        return one_line(checkpoint.message or "not started")[:MESSAGE]
    return one_line(failures[0][1].headline)[:MESSAGE]


def _test(checkpoint: CheckpointResult | CustomResult) -> dict[str, Any]:
    """A checkpoint as Classroom's test."""
    failed = {"error": "error", "timeout": "error"}.get(checkpoint.status, "fail")
    first = next((test for test in checkpoint.tests if test.status != "passed"), None)
    return {
        "name": one_line(f"{checkpoint.id} {checkpoint.name}"),
        "status": "pass" if checkpoint.status == "passed" else failed,
        "score": checkpoint.points,
        "message": _message(checkpoint),
        "test_code": "",
        "filename": one_line(checkpoint.source),
        "line_no": (first.line if first else None) or 0,
        "duration": round(checkpoint.duration * 1000),
    }


def result(report: Report) -> dict[str, Any]:
    """The result object; `status` is pass only when every point is reached."""
    return {
        "version": 1,
        "status": "pass" if report.score.points == report.score.max else "fail",
        "max_score": report.score.max,
        "tests": [_test(checkpoint) for checkpoint in report.scored],
    }


def result_json(report: Report) -> str:
    """The result as a file."""
    return json.dumps(result(report), indent=1) + "\n"


def encoded(report: Report) -> str:
    """The result as the output `result` of a grader step: base64 of compact JSON, one line."""
    return base64.b64encode(json.dumps(result(report), separators=(",", ":")).encode()).decode()


def notices(report: Report) -> list[str]:
    """The two notices that Classroom reads from a check run."""
    points, most = report.score.points, report.score.max
    totals = json.dumps({"totalPoints": points, "maxPoints": most}, separators=(",", ":"))
    return [
        f"::notice title=Autograding complete::Points {points}/{most}",
        f"::notice title=Autograding report::{command_message(totals)}",
    ]
