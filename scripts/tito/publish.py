"""Publish badges and report to an orphan branch: one commit, pushed over the one before.

Git runs in an empty repository of its own, so no hook, filter, alias or setting of the graded
tree takes part, and the tree's own branches cannot be touched. A token reaches Git through its
environment only: not an argument, not a remote's address, not a line of any log.

What has to outlive the replaced commit is read back from it at the moment of publishing, and again
when another publication came between (`tito.published` keeps the records of milestones so).
"""

import base64
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

MARK = "Published-by: tito report publish"
ATTEMPTS = 5
LARGEST = 1 << 20  # bytes in one file; a badge has about a thousand
MOST = 200  # files that are read back from the branch
GIT_SECONDS = 60
AUTHOR = "github-actions[bot]"
ADDRESS = "41898282+github-actions[bot]@users.noreply.github.com"

# With a token, Git gets these variables and no others: above all no tracing, which prints
# headers, and no setting that names a program to run.
KEPT = (
    "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "SYSTEMROOT",
    "TEMP", "TMP", "TMPDIR", "all_proxy", "http_proxy", "https_proxy", "no_proxy",
    "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip

# What Git says when trying again is no use, without regard to case.
NOT_ALLOWED = re.compile(r"(?is)\b403\b|permission to .* denied|write access .* not granted")
NOT_KNOWN = re.compile(r"(?i)\b401\b|authentication failed|could not read username|prompts dis")
NOT_THERE = re.compile(r"(?i)not appear to be a git repository|repository .* not found")
PROTECTED = re.compile(r"(?i)GH006|GH013|protected branch|rule violations")


class PublishError(Exception):
    """Nothing was published; the text says why and what to do."""


class Retry(PublishError):
    """The push lost a race or a connection: worth another try."""


def find_remote(root: Path, environment: Mapping[str, str]) -> str | None:
    """The address to publish to: the repository of the Actions run, else the tree's `origin`."""
    server, repository = (environment.get(f"GITHUB_{n}") for n in ("SERVER_URL", "REPOSITORY"))
    if server and repository:
        return f"{server}/{repository}"
    found = subprocess.run(
        ["git", "-C", str(root), "config", "--get", "remote.origin.url"],
        capture_output=True, encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip
    return found.stdout.strip() or None


def collect(badges: Path, report: Path) -> dict[str, bytes]:
    """What is published, by path: the regular files of the badges' folder, and the report."""
    files = {"report.json": _read(report)}
    for path in sorted(badges.iterdir()):
        if path.suffix in (".svg", ".json"):
            files[f"badges/{path.name}"] = _read(path)
    return files


def _read(path: Path) -> bytes:
    """Read a regular file of at most `LARGEST` bytes; a link could lead out of the tree."""
    facts = path.lstat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > LARGEST:
        raise PublishError(f"{path} is not a regular file of at most {LARGEST} bytes; render again")
    return path.read_bytes()


Files = Mapping[str, bytes]  # content by path, at most one folder deep


def publish(
    files: Files | Callable[[Files], Files],
    *,
    remote: str,
    branch: str,
    subject: str,
    environment: Mapping[str, str],
    wait: Callable[[float], None] = time.sleep,
) -> str:
    """Make `files` the whole content of `branch` on `remote`, as one commit without a parent.

    Args:
        files: What to publish; or a function that is given what the branch holds at the moment
            and returns it, called again when another publication came between.
        remote: Address or path of the repository.
        branch: Branch to replace. An existing one must hold nothing but an earlier publication.
        subject: First line of the commit's message.
        environment: Variables of the process; GITHUB_TOKEN or GH_TOKEN authenticates over HTTP.
        wait: Sleeps between attempts, in seconds.

    Returns:
        The id of the published commit.

    Raises:
        PublishError: If it cannot be published, with the remedy.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", branch) or branch in ("main", "master"):
        raise PublishError(f"refusing to replace the branch {branch!r}; publish to `badges`")
    with tempfile.TemporaryDirectory(prefix="tito-publish-") as folder:
        git = Git(Path(folder), remote, environment)
        for attempt in range(ATTEMPTS):
            try:
                old = git.look(branch)
                there = git.read_tree(old) if old and callable(files) else {}
                tree = git.write_tree(files(there) if callable(files) else files)
                return git.replace(branch, old, tree, subject)
            except Retry as problem:
                last = problem
                wait(0.5 * 2**attempt)
    raise PublishError(f"the push failed {ATTEMPTS} times, the last time with: {last}")


class Git:
    """Git in an empty bare repository, talking to one remote."""

    def __init__(self, folder: Path, remote: str, environment: Mapping[str, str]):
        self.remote = remote
        self.folder = folder / "objects.git"
        token = environment.get("GITHUB_TOKEN") or environment.get("GH_TOKEN") or ""
        web = urlsplit(remote).scheme in ("http", "https")
        self.secrets = [token, _basic(token)] if token and web else []
        self.environment = dict(_environment(environment, remote, self.secrets, folder))
        program = shutil.which("git", path=environment.get("PATH"))
        if program is None:
            raise PublishError("git is not installed; on Debian and Ubuntu: sudo apt install git")
        self.program = program
        self.run("init", "--quiet", "--bare", "--template=", str(self.folder), inside=False)

    def run(self, *arguments: str, data: bytes = b"", inside: bool = True) -> str:
        """Run Git and return what it printed."""
        place = ["--git-dir", str(self.folder)] if inside else []
        try:
            done = subprocess.run(
                [self.program, *place, *arguments],
                input=data, capture_output=True, env=self.environment, cwd=self.folder.parent,
                timeout=GIT_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Retry(f"git {arguments[0]}: no answer in {GIT_SECONDS} s") from None
        if done.returncode != 0:
            raise self.explain(done.stderr.decode("utf-8", "replace"))
        return done.stdout.decode("utf-8", "replace").strip()

    def explain(self, story: str) -> Exception:
        """Turn Git's complaint into a remedy, or into a reason to try again."""
        for secret in self.secrets:
            story = story.replace(secret, "***")
        if PROTECTED.search(story):
            return PublishError(
                "a rule of this repository forbids replacing the branch; exempt `badges` under "
                "Settings > Rules"
            )
        if NOT_ALLOWED.search(story):
            return PublishError(
                "the token may not write to this repository; the job needs `permissions: contents: "
                "write`, and the organisation must allow it (Settings > Actions > General > "
                "Workflow permissions)"
            )
        if NOT_THERE.search(story):
            return PublishError("there is no repository at the remote's address")
        if NOT_KNOWN.search(story):
            return PublishError(
                "the remote does not know who is pushing; set GITHUB_TOKEN, or publish from a "
                "checkout that can push"
            )
        return Retry(" ".join(story.split())[-300:] or "git said nothing")

    def write_tree(self, files: Mapping[str, bytes]) -> str:
        """Store the files and return the id of the tree that holds them."""
        folders: dict[str, list[str]] = {"": []}
        for path, content in sorted(files.items()):
            folder, _, name = path.rpartition("/")
            blob = self.run("hash-object", "-w", "--stdin", data=content)
            folders.setdefault(folder, []).append(f"100644 blob {blob}\t{name}\0")
        for folder, rows in folders.items():
            if folder:
                tree = self.run("mktree", "-z", data="".join(rows).encode())
                folders[""].append(f"040000 tree {tree}\t{folder}\0")
        return self.run("mktree", "-z", data="".join(folders[""]).encode())

    def fetch(self, branch: str) -> str:
        """Fetch the remote's branch and return its commit; "" where there is no such branch."""
        reference = f"refs/heads/{branch}"
        if not self.run("ls-remote", "--", self.remote, reference).split():
            return ""
        self.run("fetch", "--quiet", "--depth=1", "--no-tags", "--", self.remote, reference)
        return self.run("rev-parse", "FETCH_HEAD")

    def look(self, branch: str) -> str:
        """The commit that the branch is at, or "" where it does not exist; refuses others' work."""
        commit = self.fetch(branch)
        if commit and MARK not in self.run("cat-file", "commit", commit):
            raise PublishError(
                f"the branch {branch!r} holds work that `tito report publish` did not put "
                f"there; rename that branch, then run this again"
            )
        return commit

    def read_tree(self, commit: str) -> dict[str, bytes]:
        """The regular files of a commit: small ones, and no more than a publication has."""
        files: dict[str, bytes] = {}
        for row in self.run("ls-tree", "-r", "-l", "-z", commit).split("\0"):
            facts, _, path = row.partition("\t")
            mode, _, blob, size = (*facts.split(), "", "", "", "")[:4]
            if mode == "100644" and size.isdecimal() and int(size) <= LARGEST:
                if len(files) == MOST:
                    break
                files[path] = self.run("cat-file", "blob", blob).encode()
        return files

    def replace(self, branch: str, old: str, tree: str, subject: str) -> str:
        """Push one commit of the tree over the old one, if the branch still holds that."""
        reference = f"refs/heads/{branch}"
        commit = self.run("commit-tree", tree, data=f"{subject}\n\n{MARK}\n".encode())
        lease = f"--force-with-lease={reference}:{old}"
        self.run("push", "--quiet", lease, "--", self.remote, f"{commit}:{reference}")
        return commit


def _basic(token: str) -> str:
    return base64.b64encode(f"x-access-token:{token}".encode()).decode()


def _environment(
    environment: Mapping[str, str], remote: str, secrets: list[str], home: Path
) -> Iterator[tuple[str, str]]:
    """The variables Git runs with, as (name, value).

    With a token (a CI job): a short list, no settings of the system or the home folder, no
    credential helper. Without one (a person's machine): their own settings and keys.
    """
    settings = {"core.hooksPath": os.devnull, "gc.auto": "0"}
    if secrets:
        yield from ((n, v) for n, v in environment.items() if n in KEPT)
        yield from {"HOME": str(home), "GIT_CONFIG_GLOBAL": os.devnull}.items()
        yield from {"GIT_CONFIG_NOSYSTEM": "1", "GIT_ALLOW_PROTOCOL": "https:http"}.items()
        settings |= {
            f"http.{remote}.extraHeader": f"Authorization: basic {secrets[1]}",
            "http.followRedirects": "false",
            "credential.helper": "",
        }
    else:
        kept = ("GIT_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO")
        yield from ((n, v) for n, v in environment.items() if n[:4] != "GIT_" or n in kept)
    yield from {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}.items()
    for who in ("AUTHOR", "COMMITTER"):
        yield from {f"GIT_{who}_NAME": AUTHOR, f"GIT_{who}_EMAIL": ADDRESS}.items()
    yield "GIT_CONFIG_COUNT", str(len(settings))
    for number, (key, value) in enumerate(settings.items()):
        yield from {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}.items()
