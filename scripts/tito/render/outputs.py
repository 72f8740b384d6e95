"""The files that a report becomes."""

from tito.dialects import github_classroom
from tito.render.badge import badge, badges_of, endpoint
from tito.render.grade import grade_json
from tito.render.summary import summary
from tito.render.timeline import timeline
from tito.report import Report


def outputs(report: Report) -> dict[str, str]:
    """Every file by its relative path, in a fixed order."""
    files: dict[str, str] = {}
    for name, shown in badges_of(report).items():
        files[f"badges/{name}.svg"] = badge(shown.label, shown.message, shown.colour)
        files[f"badges/{name}.json"] = endpoint(shown)
    files["badges/timeline.svg"] = timeline(report)
    files["summary.md"] = summary(report)
    files["grade.json"] = grade_json(report)
    files["classroom.json"] = github_classroom.result_json(report)
    return files
