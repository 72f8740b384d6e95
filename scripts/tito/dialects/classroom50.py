"""The `result.json` of Classroom 50's graders (schema classroom50/result/v1)."""

import json
from collections.abc import Mapping
from typing import Any

from tito.render.escape import one_line
from tito.report import Report

SCHEMA = "classroom50/result/v1"
# What the shared runner says about the submission, by the key it goes under.
VARIABLES = {
    "classroom": "CLASSROOM",
    "assignment": "ASSIGNMENT",
    "submission": "SUBMISSION_TAG",
    "commit": "COMMIT_URL",
    "release": "RELEASE_URL",
    "review": "REVIEW_URL",
}


def result(report: Report, environment: Mapping[str, str]) -> dict[str, Any]:
    """The result object, each checkpoint one test; `environment` is the runner's."""
    return {
        "schema": SCHEMA,
        **{key: environment.get(name, "") for key, name in VARIABLES.items()},
        "datetime": report.generated_at,
        "score": report.score.points,
        "max-score": report.score.max,
        "tests": [
            {
                "test-name": one_line(f"{checkpoint.id} {checkpoint.name}"),
                "passed": checkpoint.status == "passed",
                "score": checkpoint.points,
                "max-score": checkpoint.max_points,
            }
            for checkpoint in report.scored
        ],
    }


def result_json(report: Report, environment: Mapping[str, str]) -> str:
    """The result as the file that the runner collects."""
    return json.dumps(result(report, environment), indent=1) + "\n"
