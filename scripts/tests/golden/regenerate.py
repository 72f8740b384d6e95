"""Write the report's schema and every golden file anew.

Run it after a deliberate change, then look at the difference and at the pictures:

    python scripts/tests/golden/regenerate.py
"""

import json
from pathlib import Path

from tito.dialects.classroom50 import result_json
from tito.render import render_all
from tito.render.annotations import annotations
from tito.report import Report, dump_report, parse_report

HERE = Path(__file__).resolve().parent
SCHEMA = HERE.parent.parent / "tito" / "report.schema.json"
ENVIRONMENT = {
    "CLASSROOM": "cs249",
    "ASSIGNMENT": "tinytorch",
    "SUBMISSION_TAG": "submit/3",
    "COMMIT_URL": "https://example.org/commit/9f2c4e1",
}


def schema_text() -> str:
    """The schema file as the dataclasses demand it."""
    return json.dumps(Report.schema(), indent=2, ensure_ascii=False) + "\n"


def golden_files(report: Report) -> dict[str, str]:
    """What a report must become: every rendering, the annotations and Classroom 50's result."""
    files = {name.replace("/", "-"): text for name, text in render_all(report).items()}
    files["annotations.txt"] = "\n".join(annotations(report)) + "\n"
    files["classroom50.json"] = result_json(report, ENVIRONMENT)
    return files


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def main() -> None:
    """Write everything."""
    from samples import SAMPLES

    _write(SCHEMA, schema_text())
    for name, make in SAMPLES.items():
        text = dump_report(make())
        _write(HERE / name / "sample.json", text)
        for file, content in golden_files(parse_report(text)).items():
            _write(HERE / name / file, content)


if __name__ == "__main__":
    main()
