"""tito release: the student's tree, from this course, into a folder or onto a branch."""

import argparse
import os

from tito.cli.actions import shown, typed
from tito.cli.console import complain, quote, say
from tito.cli.parser import Usage

SERVER = "https://github.com"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tito release`."""
    parser.add_argument(
        "--out", type=typed, metavar="DIR",
        help="a new or empty folder, or one that holds an earlier release",
    )  # fmt: skip
    parser.add_argument(
        "--branch", metavar="NAME", help="add a commit to this branch of the course's repository"
    )
    parser.add_argument(
        "--push", action="store_true", help="with --branch: in the remote repository, not here"
    )
    parser.add_argument(
        "--repository", metavar="OWNER/NAME",
        help="add a commit to the main branch of a template repository, with TEMPLATE_TOKEN",
    )  # fmt: skip
    parser.epilog = (
        "Only what Git tracks is taken; for a branch it must be committed. No push is forced, and "
        "nothing is committed when the tree has not changed. Exit status 1, and nothing "
        "overwritten, if there is other work in the way or a solution would leak."
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Build the tree, then write or publish it."""
    from tito.publish import PublishError
    from tito.release import ReleaseError, build, refuse_leaks

    wanted = (options.out, options.branch, options.repository)
    if all(value is None for value in wanted) or (options.push and not options.branch):
        raise Usage("say where to: tito release --out DIR, or tito release --branch template")
    try:
        tree = build(options.root)
        refuse_leaks(options.root, tree)
        if options.out is not None:
            _write(options, tree)
        if options.branch or options.repository:
            _publish(options, tree)
    except (ReleaseError, PublishError) as error:
        complain(str(error))
        return 1
    if options.repository == "":
        say("no template repository is configured (variable TEMPLATE_REPOSITORY): skipped")
    return 0


def _write(options: argparse.Namespace, tree: dict[str, bytes]) -> None:
    """Write the tree to the folder, and say what it is."""
    from tito.release import changes, counts, write

    write(tree, options.out, options.root)
    if unsaved := changes(options.root):
        say(f"[yellow]note[/]  the course has uncommitted changes: {quote(', '.join(unsaved[:8]))}")
    files, modules, stubs = counts(tree)
    where = quote(shown(options.out))
    say(f"released {files} files, {modules} modules with {stubs} stubs, to {where}")


def _publish(options: argparse.Namespace, tree: dict[str, bytes]) -> None:
    """Add the tree to the branch and to the template repository, as far as they are wanted."""
    from tito import __version__
    from tito.publish import PublishError, find_remote
    from tito.release import ReleaseError, changes, source_commit
    from tito.template import advance

    commit = source_commit(options.root)
    if commit is None:
        raise ReleaseError("a branch needs a Git repository with a commit; try --out DIR")
    if unsaved := changes(options.root):
        raise ReleaseError(
            f"uncommitted changes would be published: {', '.join(unsaved[:8])}; commit them first"
        )
    subject = f"Release {__version__} from {commit[:12]}"
    targets = []
    if options.branch:
        remote = find_remote(options.root, os.environ) if options.push else str(options.root)
        if remote is None:
            raise PublishError("this repository has no remote to push to; leave out --push")
        if options.branch in ("main", "master"):
            raise PublishError("the course itself is on that branch; publish to `template`")
        targets.append((remote, options.branch, dict(os.environ)))
    if options.repository:
        server = os.environ.get("GITHUB_SERVER_URL", SERVER)
        plain = options.repository.count("/") == 1 and not options.repository.startswith((".", "/"))
        remote = f"{server}/{options.repository}" if plain else options.repository
        token = os.environ.get("TEMPLATE_TOKEN", "")
        targets.append((remote, "main", {**os.environ, "GITHUB_TOKEN": token, "GH_TOKEN": ""}))
    for remote, branch, environment in targets:
        new = advance(
            tree, remote=remote, branch=branch, subject=subject, commit=commit,
            environment=environment,
        )  # fmt: skip
        place = f"{branch} of {quote(remote)}"
        say(f"added {new[:12]} to {place}" if new else f"nothing changed in {place}")
