"""tito update: take a newer release of the course into your repository."""

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tito.cli.console import complain, quote, row, say
from tito.cli.parser import Usage

if TYPE_CHECKING:
    from tito.repository import Repository
    from tito.threeway import Conflict, Merged
    from tito.update import Change, Plan, Updated

WIDE = 12
CONFLICTS, LINES = 3, 4  # that are shown of a module; the file has them all


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tito update`."""
    parser.add_argument(
        "--from", dest="source", metavar="URL|PATH",
        help="the repository of the template, or a folder that holds a release (needs no network)",
    )  # fmt: skip
    parser.add_argument(
        "--branch", metavar="NAME", help="its branch (default: template, else its main branch)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would happen, and change nothing"
    )
    parser.add_argument(
        "--merge", metavar="NN",
        help="put the waiting merge of module NN into its file, both versions marked",
    )  # fmt: skip
    parser.epilog = (
        "What you must not change becomes the release's; modules you have not begun are replaced;\n"
        "in those you have, your solutions stay and the rest is merged. One commit, or none: take\n"
        "it back with git reset --keep HEAD~1. Without --from: the Git remote `template`, else\n"
        "where the last update came from. Exit status 1 when a module is left to merge by hand."
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Update the tree, show what would happen, or bring a waiting merge in."""
    from tito.repository import Repository, RepositoryError

    if options.merge:
        if options.source or options.branch or options.dry_run:
            raise Usage("--merge stands alone: tito update --merge 05")
        return _bring_in(options)
    try:
        repository = Repository(options.root)
        if not options.dry_run:
            recover(repository)
            repository.check_ready("the update")
        return _update(repository, options)
    except RepositoryError as problem:
        complain(str(problem))
        return 2


def recover(repository: "Repository") -> None:
    """Undo what a killed update left half-way, and say so."""
    if repository.undo():
        say("an update was interrupted here: the files are back as they were before it")


def _update(repository: "Repository", options: argparse.Namespace) -> int:
    from tito.repository import RepositoryError
    from tito.system import BOOTSTRAP
    from tito.update import apply_plan, make_plan, waiting

    if options.dry_run and repository.interrupted:
        raise RepositoryError(
            "an update was interrupted here; run it without --dry-run: it first brings the files "
            "back as they were"
        )
    plan = make_plan(repository, options.source, options.branch)
    release, before = plan.release.manifest.course_version, plan.before.course_version
    where = f"{plan.release.branch} of " if plan.release.branch else ""
    where = quote(f"{where}{plan.release.source}")
    if plan.note:
        say(f"[yellow]note[/]  {quote(plan.note)}")
    if not plan.contents:
        say(f"up to date: this tree has release {release}, as does {where}")
        for folder in waiting(options.root):
            say(f"still to merge: modules/{quote(folder)}, with: tito update --merge {folder[:2]}")
        return 0
    same = " (the same version, with changes)" if release == before else ""
    say(f"release {release}{same}, from {where}; this tree has {before}\n")
    # What is shown is put together first: the swap may replace the very files of tito.
    done = None if options.dry_run else apply_plan(repository, plan)
    _show(plan, done)
    if done is None:
        unsaved = repository.changes()
        say("\nnothing was changed; do it with: tito update")
        if unsaved:
            say(f"before that, commit your work: {quote(', '.join(unsaved[:8]))}")
        return 0
    say(f"\ncommitted as {done.commit[:10]}; look at it: git show --stat HEAD")
    say("take it back: git reset --keep HEAD~1")
    if any(path.startswith("scripts/requirements/") for path in plan.contents):
        say(f"the packages changed too: {BOOTSTRAP}")
    if any(path.startswith(".github/workflows/") for path in plan.contents):
        say("a workflow changed: if GitHub refuses the push, your token lacks the scope `workflow`")
    conflicts = plan.of("conflict")
    number = conflicts[0].path.split("/")[1][:2] if conflicts else ""
    command = f"tito update --merge {number}" if conflicts else "tito grade"
    say(f"next  [bold]{command}[/]")
    return 1 if conflicts else 0


def _some(paths: Iterable[str], most: int = 4) -> str:
    paths = list(paths)
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return quote(", ".join(paths[:most]) + more)


def _show(plan: "Plan", done: "Updated | None") -> None:
    """Every kind of change: those of the course by count, the student's one by one."""
    from tito.manifest import is_module

    replaced = plan.of("replaced")
    modules = [change.path for change in replaced if is_module(change.path)]
    if count := len(replaced) - len(modules):
        row("replaced", f"{_files(count)} of the course", indent=WIDE)
    if modules:
        word = "module that you have" if len(modules) == 1 else "modules that you have"
        row("replaced", f"{len(modules)} {word} not begun: {_some(modules)}", indent=WIDE)
    for kind in ("added", "removed"):
        if changes := plan.of(kind):  # type: ignore[arg-type]
            row(kind, _some(change.path for change in changes), indent=WIDE)
    for change in plan.of("restored"):
        row("restored", f"{quote(change.path)} {quote(change.why or 'was missing')}", indent=WIDE)
    for change in plan.of("moved"):
        why = f" ({change.why})" if change.why else ""
        row("moved", quote(f"{change.origin} → {change.path}{why}"), indent=WIDE)
    for path in sorted(plan.aside):
        kept = f"your version is in {done.kept[path]}" if done else "your version is kept aside"
        text = f"{path} belongs to the course and was changed; {kept}"
        row("replaced", quote(text), indent=WIDE)
    for change in plan.of("kept"):
        row("kept yours", quote(f"{change.path}: {change.why}"), indent=WIDE)
    for change in plan.of("merged"):
        moved = f", from {change.origin}" if change.origin else ""
        row("merged", quote(f"{change.path}{moved}; {steps(change.merged)}"), indent=WIDE)
    for change in plan.of("conflict"):
        _explain(change, plan.release.manifest.course_version)


def _files(count: int) -> str:
    return f"{count} file{'s' if count != 1 else ''}"


def steps(merged: "Merged | None") -> str:
    """What a release changed in a module, in words."""
    if merged is None or not merged.steps:
        return "what you wrote stays"
    numbers = [str(step) for step in merged.steps if step is not None]
    parts = [f"step{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"] if numbers else []
    parts += ["the text outside the steps"] if None in merged.steps else []
    return f"your solutions stay; the release changed {' and '.join(parts)}"


def _explain(change: "Change", release: str) -> None:
    """A module that could not be merged: what both sides did, and the one command."""
    number = change.path.split("/")[1][:2]
    row("not merged", f"[yellow]{quote(change.path)}[/]", indent=WIDE)
    row("", f"It is as you left it. {_reason(change, release)}", indent=2, style="none")
    assert change.merged is not None
    for conflict in change.merged.conflicts[:CONFLICTS]:
        _show_conflict(conflict)
    if (rest := len(change.merged.conflicts) - CONFLICTS) > 0:
        row("", f"… and {rest} more like this", indent=2, style="none")
    settle = (
        f"To settle it: [bold]tito update --merge {number}[/] puts both versions into the file, "
        f"between marks (<<<<<<< yours … >>>>>>> release {release}); keep what is right, and "
        f"remove the marks."
    )
    row("", settle, indent=2, style="none")
    row("", "Until then you can go on working: your version stays in use.", indent=2, style="none")


def _reason(change: "Change", release: str) -> str:
    if change.why:
        return quote(f"It cannot be merged by itself: {change.why}.")
    return f"Release {release} changed lines outside the solutions that you changed too:"


def _show_conflict(conflict: "Conflict") -> None:
    """The three versions of a few lines."""
    where = f"step {conflict.step}" if conflict.step else "outside the steps"
    row("", f"{where}:", indent=2, style="none")
    parts = ("released", conflict.before), ("yours", conflict.yours), ("now", conflict.theirs)
    for label, lines in parts:
        if not lines:
            row(f"    {label}", "(no such lines)", indent=14, style="none")
        for number, line in enumerate(lines[:LINES]):
            row(f"    {'' if number else label}", quote(line), indent=14, style="none")
        if len(lines) > LINES:
            row("", f"… {len(lines) - LINES} more lines", indent=14, style="none")


def _bring_in(options: argparse.Namespace) -> int:
    """Put a waiting merge into the module's file."""
    from tito.ladder import load_ladder
    from tito.update import bring_in

    rung = load_ladder(options.root).find(options.merge)
    merged, kept = bring_in(options.root, rung.source)
    say(f"your version is kept in {quote(kept)}")
    if merged.clean:
        say(f"{rung.source} took the release in; {steps(merged)}")
    else:
        count = max(1, len(merged.conflicts))
        line = merged.conflicts[0].line if merged.conflicts else 1
        say(
            f"{rung.source}:{line}: {count} place{'s' if count != 1 else ''} to settle, each "
            f"between <<<<<<< and >>>>>>>: keep what is right, remove the marks"
        )
    say(f"next  [bold]tito test {rung.id}[/]")
    return 0
