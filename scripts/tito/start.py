"""Make a student's tree of a fork of the course, in place: one more commit on its branch.

The commit before it has the solutions; it also gets the branch `course`, and the new commit names
it, so that `tito module solution` finds them in every clone that has the history.
"""

from dataclasses import dataclass

from tito.release import build, refuse_leaks
from tito.repository import Entry, Repository, RepositoryError, some
from tito.selfstudy import TRAILER

BRANCH = "course"
# What grading and export wrote from the solutions; Git ignores it.
GENERATED = ("report.json", "summary.md", "grade.json", "classroom.json")


@dataclass(frozen=True)
class Start:
    """What a start will do: the tree to write, and what goes."""

    tree: dict[str, bytes]
    removed: tuple[str, ...]
    course: str
    branch: str


def prepare(repository: Repository) -> Start:
    """Make the student's tree in memory; nothing is changed.

    Raises:
        RepositoryError, ReleaseError, FileProblem: If it cannot be made.
    """
    tree = build(repository.root)
    refuse_leaks(repository.root, tree)
    head = repository.files(repository.head)
    going = {path for path in head if path not in tree}
    fresh = [path for path in tree if path not in head]
    if in_the_way := [p for p in repository.in_the_way(fresh) if p not in going]:
        raise RepositoryError(
            f"{some(in_the_way)} is not committed and would be overwritten; move it away, then run "
            f"this again"
        )
    return Start(tree, tuple(sorted(going)), repository.head, _free_branch(repository))


def _free_branch(repository: Repository) -> str:
    """The name of the branch that keeps the solutions: one that is new, or is there already."""
    rows = repository.git(
        "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads"
    ).splitlines()
    taken = dict(row.rsplit(" ", 1) for row in rows)
    number, name = 1, BRANCH
    while taken.get(name, repository.head) != repository.head:
        number += 1
        name = f"{BRANCH}-{number}"
    return name


def start(repository: Repository, plan: Start) -> str:
    """Commit the student's tree and bring the files to it; returns the commit.

    Raises:
        RepositoryError: If that fails; the tree is as it was.
    """
    changes: dict[str, Entry | None] = dict.fromkeys(plan.removed)
    head = repository.files(repository.head)
    for path, data in plan.tree.items():
        mode = head[path].mode if path in head and head[path].ordinary else "100644"
        changes[path] = Entry(mode, repository.store(data))
    text = (
        f"Begin the course as a student\n\nThe solutions are in the commit before this one.\n\n"
        f"{TRAILER}: {plan.course}\n"
    )
    commit = repository.commit(repository.head, changes, [repository.head], text)
    repository.git("branch", "--force", "--no-track", plan.branch, plan.course)
    repository.swap(commit, "tito start")
    _sweep(repository)
    return commit


def _sweep(repository: Repository) -> None:
    """Remove what was generated from the solutions: exports, the last report."""
    for name in GENERATED:
        (repository.root / name).unlink(missing_ok=True)
    tracked = repository.files(repository.head)
    for path in sorted((repository.root / "tinytorch" / "core").glob("*.py")):
        if path.relative_to(repository.root).as_posix() not in tracked:
            path.unlink()
