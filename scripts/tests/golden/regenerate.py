"""Write the report's schema and every golden file anew, from the sample reports beside this file.

Run it after a deliberate change, then look at the difference and at the pictures:

    python scripts/tests/golden/regenerate.py
"""

import json
from pathlib import Path

from tito.report import Report

HERE = Path(__file__).resolve().parent
SCHEMA = HERE.parent.parent / "tito" / "report.schema.json"


def schema_text() -> str:
    """The schema file as the dataclasses demand it."""
    return json.dumps(Report.schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write everything."""
    SCHEMA.write_text(schema_text(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
