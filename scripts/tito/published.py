"""What the branch `badges` holds: the last report, its badges, and the records of milestones.

Every push replaces the branch, but a milestone is run once in a while: so a publication begins with
the records that are there. They are strict data like any other, and one that cannot be used goes.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tito.files import FileProblem, read_bytes
from tito.ladder import Ladder
from tito.milestones import RECORD_LIMIT, MilestoneRecord, parse_record
from tito.render import render_all
from tito.report import SIZE_LIMIT, Report, ReportError, dump_report, parse_report

FOLDER = "milestones"  # on the branch
REPORT = "report.json"

Records = Mapping[str, MilestoneRecord]


def published_records(files: Mapping[str, bytes], ladder: Ladder) -> dict[str, MilestoneRecord]:
    """By id, the usable records among published files."""
    records = {}
    for milestone in ladder.milestones:
        content = files.get(f"{FOLDER}/{milestone.id}.json")
        if content is None or len(content) > RECORD_LIMIT:
            continue
        try:
            records[milestone.id] = parse_record(content.decode("utf-8"), milestone)
        except ValueError:
            continue
    return records


def published_report(files: Mapping[str, bytes]) -> Report | None:
    """The report among published files, if there is one that can be used."""
    try:
        return parse_report(files[REPORT].decode("utf-8"))
    except (KeyError, UnicodeDecodeError, ReportError):
        return None


def read_checkout(folder: Path, ladder: Ladder) -> dict[str, bytes]:
    """The report and the records in a checkout of the branch; no link is followed."""
    files = {}
    limits = {f"{FOLDER}/{milestone.id}.json": RECORD_LIMIT for milestone in ladder.milestones}
    for name, limit in {REPORT: SIZE_LIMIT, **limits}.items():
        try:
            files[name] = read_bytes(folder, name, limit)
        except FileProblem:
            continue
    return files


def better(old: MilestoneRecord | None, new: MilestoneRecord) -> MilestoneRecord:
    """The newer record; but a quick run never hides a full one that passed with the same code."""
    kept = old is not None and old.passed and new.quick and not old.quick and old.code == new.code
    return old if old is not None and kept else new


def with_records(report: Report, records: Records) -> Report:
    """A report that shows the recorded runs; one it has already stays where no record is."""
    milestones = tuple(
        replace(m, result=records[m.id].run) if m.id in records else m for m in report.milestones
    )
    return replace(report, milestones=milestones)


def publication(report: Report, records: Records) -> dict[str, bytes]:
    """All that is published for a report and records, by path."""
    shown = with_records(report, records)
    texts = {n: text for n, text in render_all(shown).items() if n.startswith("badges/")}
    texts[REPORT] = dump_report(shown)
    for name, record in sorted(records.items()):
        texts[f"{FOLDER}/{name}.json"] = json.dumps(record.to_json(), indent=1) + "\n"
    return {name: text.encode() for name, text in texts.items()}
