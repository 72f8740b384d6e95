"""grade.json: the few numbers of a report that a student, a badge or a gradebook asks for.

    {"schema_version": 1, "course": …, "version": …, "repository": …, "commit": …,
     "generated_at": …, "points": 17, "max": 100, "level": 3,
     "checkpoints": [{"id": "05", "name": "differentiation", "status": "partial",
                      "points": 4, "max": 8, "tests": {"passed": 7, "total": 12}}],
     "next": {"checkpoint": "05", "file": …, "line": …, "command": …}}

`repository`, `commit`, `level` and `next` may be null; points are whole numbers. A custom
checkpoint is in the list, as C1, only where the course's ladder counts it in the 100.
"""

import json

from tito.report import Report


def grade_json(report: Report) -> str:
    """Write grade.json."""
    step = report.next
    grade = {
        "schema_version": 1,
        "course": report.course.name,
        "version": report.course.version,
        "repository": report.repository,
        "commit": report.commit,
        "generated_at": report.generated_at,
        "points": report.score.points,
        "max": report.score.max,
        "level": report.level,
        "checkpoints": [
            {
                "id": c.id,
                "name": c.name,
                "status": c.status,
                "points": c.points,
                "max": c.max_points,
                "tests": {"passed": c.passed, "total": len(c.tests)},
            }
            for c in report.scored
        ],
        "next": step
        and {
            "checkpoint": step.checkpoint,
            "file": step.file,
            "line": step.line,
            "command": step.command,
        },
    }
    return json.dumps(grade, indent=1) + "\n"
