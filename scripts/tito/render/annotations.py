"""Error annotations on the student's own lines, as workflow commands of GitHub Actions."""

from dataclasses import replace
from itertools import zip_longest

from tito.render.choose import begun, failing
from tito.render.escape import command_message, command_property
from tito.render.failure import describe
from tito.report import Failure, Report

MOST = 10  # what Actions shows of one step


def annotation(
    title: str, message: str, file: str | None, line: int | None, level: str = "error"
) -> str:
    """One `::error` or `::warning` command on one line, whatever its texts hold."""
    place = f"file={command_property(file)},line={line or 1}," if file else ""
    return f"::{level} {place}title={command_property(title)}::{command_message(message)}"


def _message(failure: Failure) -> str:
    """The block of a failure without the lines that only a full page has room for."""
    return describe(replace(failure, output="", traceback=()))


def _integrity(report: Report) -> list[str]:
    """One warning that names the course's files that are not as released, if there are any."""
    changed = (*report.integrity.modified, *report.integrity.missing)
    if not changed:
        return []
    names = "\n".join(changed[:MOST]) + (
        f"\nand {len(changed) - MOST} more" * (len(changed) > MOST)
    )
    title = "Files of the course are not as released"
    return [annotation(title, names, changed[0], None, "warning")]


def annotations(report: Report) -> list[str]:
    """At most ten: a warning about files of the course that were changed, files that could not be
    used, then the first failure of every checkpoint that was begun, then the second ones, and so
    on. What is not started is left alone."""
    found = [
        annotation(f"{problem.file} cannot be used", f"{problem.message}\n{problem.mend}",
                   problem.file, problem.line)
        for problem in report.problems
    ]  # fmt: skip
    columns = []
    for checkpoint in begun(report):
        name = f"{checkpoint.id} {checkpoint.name}"
        shown = [
            annotation(f"{name}: {test.name}", _message(failure), failure.file, failure.line)
            for test, failure in failing(checkpoint)
            if test.status != "not_started"
        ]
        if not shown and checkpoint.message:
            shown = [annotation(name, checkpoint.message, checkpoint.source, None)]
        columns.append(shown[:MOST])
    for row in zip_longest(*columns):
        found += [text for text in row if text is not None]
    return (_integrity(report) + found)[:MOST]
