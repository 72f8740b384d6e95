"""tito report: a report turned into files, into Actions' own output, and onto the badges branch."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from tito.cli.actions import add_action, add_report, append_to, shown, typed
from tito.cli.console import complain, quote, say
from tito.cli.parser import Usage
from tito.report import Report, ReportError, load_report


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `tito report`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    render = add_action(actions, "render", "write badges/, summary.md, grade.json …")
    render.add_argument(
        "--out", type=typed, default=Path(), metavar="FOLDER", help="default: the tree itself"
    )
    render.set_defaults(run=run_render)
    github = add_action(
        actions, "github", "in an Actions step: summary, annotations, notices, outputs"
    )
    github.set_defaults(run=run_github)
    publish = add_action(actions, "publish", "push badges/ and the report to a branch of their own")
    publish.add_argument("--branch", default="badges", help="default: badges")
    publish.add_argument("--badges", type=typed, default=Path("badges"), metavar="FOLDER")
    publish.add_argument("--remote", help="default: the run's repository in Actions, else origin")
    publish.epilog = (
        "The branch becomes one commit without history; no other branch is touched. "
        "GITHUB_TOKEN authenticates if it is set. Exit status 1 if it could not be published."
    )
    publish.set_defaults(run=run_publish)
    integrity = add_action(
        actions, "integrity", "compare the course's files here with the release they came from"
    )
    integrity.set_defaults(run=run_integrity)
    show = add_action(actions, "show", "what a report says, at the terminal")
    show.add_argument("-v", "--verbose", action="store_true", help="every failure of a checkpoint")
    show.set_defaults(run=run_show)
    for action in (render, github, publish, show):
        add_report(action)


def _load(options: argparse.Namespace) -> Report:
    """Read the report that the options name; one that is missing or broken is bad usage."""
    path = options.root / options.report
    if not path.exists():
        raise Usage(f"no {shown(options.report)} yet; make one with: tito grade")
    try:
        return load_report(path)
    except ReportError as error:
        raise Usage(str(error)) from error


def run_render(options: argparse.Namespace) -> int:
    """Write every file that the report becomes, each whole or not at all."""
    from tito.files import write_atomic
    from tito.render import render_all

    files = render_all(_load(options))
    folder = options.root / options.out
    for name, text in files.items():
        write_atomic(folder / name, text)
    say(f"written: {len(files)} files under {quote(shown(folder))}")
    return 0


def run_github(options: argparse.Namespace) -> int:
    """Say what the report says in the ways that Actions and GitHub Classroom understand."""
    from tito.dialects import github_classroom
    from tito.render.annotations import annotations
    from tito.render.summary import summary

    report = _load(options)
    outputs = {
        "result": github_classroom.encoded(report),
        "points": str(report.score.points),
        "max": str(report.score.max),
    }
    append_to("GITHUB_STEP_SUMMARY", summary(report))
    append_to("GITHUB_OUTPUT", "".join(f"{name}={value}\n" for name, value in outputs.items()))
    # Not through Rich: it would wrap a command, and only the first line of it would count.
    for line in (*annotations(report), *github_classroom.notices(report)):
        print(line)
    return 0


def run_publish(options: argparse.Namespace) -> int:
    """Publish; without a remote there is nothing to do, which is no failure."""
    from tito.ladder import load_ladder
    from tito.publish import PublishError, collect, find_remote, publish
    from tito.published import publication, published_records
    from tito.render.escape import command_message, markdown

    report = _load(options)
    remote = options.remote or find_remote(options.root, os.environ)
    if not remote:
        say("not published: this tree has no remote")
        return 0
    try:
        files = collect(options.root / options.badges, options.root / options.report)
        ladder = load_ladder(options.root)

        def keep(there: Mapping[str, bytes]) -> Mapping[str, bytes]:
            records = published_records(there, ladder)
            return {**files, **publication(report, records)} if records else files

        commit = publish(
            keep,
            remote=remote,
            branch=options.branch,
            subject=f"Badges of {(report.commit or 'a tree without commits')[:12]}",
            environment=os.environ,
        )
    except PublishError as error:
        if os.environ.get("GITHUB_ACTIONS") == "true":
            print(f"::warning title=The badges were not published::{command_message(str(error))}")
        # The grade stands; whoever reads it learns here why the README shows an older one.
        words = f"\n## The badges were not published\n\n{markdown(str(error))}\n"
        append_to("GITHUB_STEP_SUMMARY", words)
        complain(f"not published: {error}")
        return 1
    say(f"published {len(files)} files on the branch {options.branch} ({commit[:12]})")
    return 0


def run_integrity(options: argparse.Namespace) -> int:
    """Name the files that are not as released; in an Actions step set the output `changed`."""
    from tito.manifest import inspect

    found = inspect(options.root)
    lost = (*found.findings.modified, *found.findings.missing)
    append_to("GITHUB_OUTPUT", f"changed={'true' if lost else 'false'}\n")
    rows = {
        "changed": found.findings.modified,
        "missing": found.findings.missing,
        "not of the course": found.findings.unexpected,
    }
    for word, paths in rows.items():
        for path in paths:
            here = ", the history has its released text" if path in found.pristine else ""
            say(f"{word}: {quote(path)}{here}")
    if found.findings.clean:
        release = found.manifest and f"release {found.manifest.course_version}"
        say(f"as in {release}" if release else "this is the course itself: there is no release")
    return 0


def run_show(options: argparse.Namespace) -> int:
    """Print the verdict, what made it, and what failed in every checkpoint that was begun."""
    from tito.cli.checkpoint import show_checkpoint, verdict_line

    report = _load(options)
    commit = f"commit {report.commit[:12]}, " if report.commit else ""
    say(verdict_line(report))
    say(f"{commit}graded {report.generated_at}, seed {report.seed}, {report.duration:.0f} s")
    inactive = [layer for layer in report.isolation.layers if not layer.active]
    for layer in inactive:
        say(f"isolation without {quote(layer.name)}: {quote(layer.detail)}")
    for problem in report.problems:
        say(
            f"{quote(problem.file)}:{problem.line}: {quote(problem.message)}; {quote(problem.mend)}"
        )
    for name, files in (
        ("modified", report.integrity.modified),
        ("missing", report.integrity.missing),
        ("unexpected", report.integrity.unexpected),
    ):
        if files:
            say(f"{name} against the release: {quote(', '.join(files))}")
    for checkpoint in report.checkpoints:
        if checkpoint.status != "not_started":
            say()
            show_checkpoint(options.root, checkpoint, verbose=options.verbose)
    return 0
