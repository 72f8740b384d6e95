"""Publish the student's tree: one more commit on a branch that students' repositories grow from.

Never forced: a commit is added to whatever the branch holds at that moment, and only when the tree
has changed, so that a repository made from an earlier release can merge a later one.
"""

import re
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tito.publish import ADDRESS, ATTEMPTS, AUTHOR, Git, PublishError, Retry

MARK = "Published-by: tito release"
WORKFLOWS = re.compile(r"(?is)refusing to allow .* workflow")


class _Branch(Git):
    """Git in a repository of its own, adding to one branch of a remote."""

    def explain(self, story: str) -> Exception:
        """Also explain what GitHub says of a token that may not write workflows."""
        if WORKFLOWS.search(story):
            return PublishError(
                "the token may not write workflow files there; a fine-grained token needs the "
                "permissions Contents and Workflows (write), and in this repository the same files "
                "must be on its main branch first"
            )
        return super().explain(story)

    def tip(self, branch: str) -> str:
        """The commit that the branch is at, or "" where it does not exist; refuses others' work."""
        old = self.fetch(branch)
        if old and MARK not in self.run("cat-file", "commit", old):
            raise PublishError(
                f"the last commit of the branch {branch!r} was not made by `tito release`, which "
                f"would undo it; move that work to another branch, then run this again"
            )
        return old

    def commit(self, tree: Mapping[str, bytes], message: str, parent: str, when: int) -> str:
        """Store a commit with exactly these files, and return its id."""
        text = message.encode()
        head = f"commit refs/heads/next\ncommitter {AUTHOR} <{ADDRESS}> {when} +0000\n"
        stream = [head.encode(), b"data %d\n%b\n" % (len(text), text)]
        stream += [f"from {parent}\n".encode()] if parent else []
        stream += [b"deleteall\n"]
        for path, data in sorted(tree.items()):
            stream.append(b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(data), data))
        self.run("fast-import", "--quiet", "--force", data=b"".join(stream))
        return self.run("rev-parse", "refs/heads/next")

    def add(self, branch: str, tree: Mapping[str, bytes], message: str, when: int) -> str | None:
        """Add a commit unless the branch has that tree already; a lost race is a `Retry`."""
        old = self.tip(branch)
        new = self.commit(tree, message, old, when)
        if old and self.run("rev-parse", f"{old}^{{tree}}") == self.run(
            "rev-parse", f"{new}^{{tree}}"
        ):
            return None
        self.run("push", "--quiet", "--", self.remote, f"{new}:refs/heads/{branch}")
        return new


def advance(
    tree: Mapping[str, bytes],
    *,
    remote: str,
    branch: str,
    subject: str,
    commit: str,
    environment: Mapping[str, str],
    wait: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> str | None:
    """Bring a branch up to a release by an ordinary commit.

    Args:
        tree: The release, content by path.
        remote: Address or path of the repository.
        branch: The branch; where it does not exist it begins with this commit.
        subject: First line of the commit's message.
        commit: The course's own commit, named in the message.
        environment: Variables of the process; GITHUB_TOKEN authenticates over HTTP.
        wait, clock: Sleeps between attempts; tells the time, in seconds.

    Returns:
        The id of the new commit, or None if the branch holds this very tree.

    Raises:
        PublishError: If it cannot be done, with the remedy; the branch is as it was.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", branch):
        raise PublishError(f"{branch!r} is not a plain name of a branch")
    message = f"{subject}\n\nSource-commit: {commit}\n{MARK}\n"
    last: Exception | None = None
    with tempfile.TemporaryDirectory(prefix="tito-template-") as folder:
        git = _Branch(Path(folder), remote, environment)
        for attempt in range(ATTEMPTS):
            try:
                return git.add(branch, tree, message, int(clock()))
            except Retry as problem:
                last = problem
                wait(0.5 * 2**attempt)
    raise PublishError(f"the push failed {ATTEMPTS} times, the last time with: {last}")
