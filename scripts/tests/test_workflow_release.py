"""The workflow that publishes the student's tree, executed against local repositories."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gitserver import GitServer
from workflow import JobResult, Runner

from tito.cli.main import main
from tito.manifest import MANIFEST_FILE, parse_manifest
from tito.publish import PublishError
from tito.release import Leak, build, leaks, source_files
from tito.template import advance

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
TOKEN = "ghs_0123456789abcdefThisIsASecret"


def git(*arguments: str, at: Path, data: bytes | None = None) -> str:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    command = ["git", "-C", str(at), *who, *arguments]
    return (
        subprocess.run(command, input=data, capture_output=True, check=True).stdout.decode().strip()
    )


class Organisation:
    """The course and a template repository on a server, and a checkout of the course."""

    def __init__(self, folder: Path):
        self.folder, self.runs = folder, 0
        self.course, self.template = folder / "ada" / "course", folder / "ada" / "template"
        self.work = folder / "my côurse"
        for path in (self.course, self.template):
            path.mkdir(parents=True)
            git("init", "--quiet", "--bare", "--initial-branch=main", at=path)
        self.work.mkdir()
        git("init", "--quiet", "--initial-branch=main", at=self.work)
        for name in source_files(ROOT):
            (self.work / name).parent.mkdir(parents=True, exist_ok=True)
            (self.work / name).write_bytes((ROOT / name).read_bytes())
        self.push("Begin the course")

    def push(self, subject: str) -> str:
        git("add", "--all", at=self.work)
        git("commit", "--quiet", "--allow-empty", "-m", subject, at=self.work)
        git("push", "--quiet", str(self.course), "HEAD:main", at=self.work)
        return git("rev-parse", "HEAD", at=self.work)

    def run(self, **settings) -> JobResult:
        self.runs += 1
        runner = Runner(
            self.folder / f"run {self.runs}", f"file://{self.folder}", "ada/course",
            extra={"TITO_BOOTSTRAP_PYTHON": sys.executable}, **settings,
        )  # fmt: skip
        return runner.job(WORKFLOW, "release")

    def history(self, repository: Path, branch: str) -> list[str]:
        return git("rev-list", branch, at=repository).split()


@pytest.fixture(scope="module")
def organisation(tmp_path_factory) -> Organisation:
    return Organisation(tmp_path_factory.mktemp("two words é"))


def test_the_branch_begins_grows_and_rests(organisation):
    """First run without a branch, a change for students, a change for authors alone."""
    main_before = git("rev-parse", "main", at=organisation.course)
    job = organisation.run()
    assert job.result == "success", job.log
    assert "no template repository is configured" in job.step("repository").log
    (first,) = organisation.history(organisation.course, "template")
    message = git("show", "--no-patch", "--format=%B", "template", at=organisation.course)
    assert main_before[:12] in message.splitlines()[0]
    assert f"Source-commit: {main_before}" in message
    version = parse_manifest(
        git("show", f"template:{MANIFEST_FILE}", at=organisation.course)
    ).course_version
    assert message.startswith(f"Release {version} from ")

    organisation.push("Nothing")
    job = organisation.run()
    assert "nothing changed" in job.step("branch").log, job.log
    assert organisation.history(organisation.course, "template") == [first]

    with (organisation.work / "README.md").open("a", encoding="utf-8") as readme:
        readme.write("\n<!-- student-only\nWelcome.\nstudent-only -->\n")
    organisation.push("Welcome")
    job = organisation.run()
    assert job.result == "success", job.log
    second, parent = organisation.history(organisation.course, "template")
    assert parent == first
    changed = git("diff", "--name-only", first, second, at=organisation.course).split()
    assert changed == ["README.md", MANIFEST_FILE]
    assert git("rev-parse", "main", at=organisation.course) != second


def test_the_history_of_the_branch_holds_no_solution(organisation):
    """Every object that the branch reaches, read as files."""
    if not git("branch", "--list", "template", at=organisation.course):
        organisation.run()
    listed = git("rev-list", "--objects", "template", at=organisation.course).splitlines()
    rows = [row.split(" ", 1) for row in listed if " " in row]
    blobs = {
        f"{path}": subprocess.check_output(
            ["git", "-C", str(organisation.course), "cat-file", "blob", sha]
        )
        for sha, path in rows
        if path and git("cat-file", "-t", sha, at=organisation.course) == "blob"
    }
    assert len(blobs) > 100
    found: list[Leak] = leaks(ROOT, blobs)
    assert found == []
    messages = git("log", "--format=%B", "template", at=organisation.course)
    assert leaks(ROOT, {"messages.txt": messages.encode()}) == []


def test_a_template_repository_is_served_when_configured(organisation):
    settings = {"configuration": {"TEMPLATE_REPOSITORY": "ada/template"}}
    job = organisation.run(**settings)
    assert job.result == "success", job.log
    assert len(organisation.history(organisation.template, "main")) == 1
    names = git("ls-tree", "-r", "--name-only", "main", at=organisation.template).split("\n")
    assert MANIFEST_FILE in names
    assert "scripts/tito/release.py" not in names
    assert "nothing changed" in organisation.run(**settings).step("repository").log


def test_another_branch_publishes_nothing(organisation):
    git("push", "--quiet", str(organisation.course), "HEAD:idea", at=organisation.work)
    assert organisation.run(branch="idea").result == "skipped"


def test_workflows_of_students_are_the_courses_byte_for_byte():
    """GitHub's own token may push a workflow only if the same file is on another branch."""
    for path, data in build(ROOT).items():
        if path.startswith(".github/workflows/"):
            assert data == (ROOT / path).read_bytes(), path


# One branch, closer


TREE = {"a.txt": b"one\n", "kurs/ä b.txt": b"two\n"}


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    bare = tmp_path / "remote of Ada.git"
    bare.mkdir()
    git("init", "--quiet", "--bare", "--initial-branch=main", at=bare)
    return bare


def send(remote: Path | str, tree=TREE, **changes) -> str | None:
    given = {"branch": "template", "subject": "Release", "commit": "0" * 40}
    given |= {"environment": dict(os.environ), "wait": lambda seconds: None}
    return advance(tree, remote=str(remote), **(given | changes))


def test_the_tree_is_exactly_the_release(remote):
    assert send(remote)
    assert send(remote) is None
    assert send(remote, {"a.txt": b"three\n"})
    names = git("-c", "core.quotePath=false", "ls-tree", "-r", "--name-only", "template", at=remote)
    assert names == "a.txt"
    assert git("rev-list", "--count", "template", at=remote) == "2"


def test_a_lost_race_builds_on_the_winner(remote, tmp_path):
    """While our push arrives, another release lands: ours must come after it, not replace it."""
    first = send(remote)
    text = "Other\n\nPublished-by: tito release"
    other = git("commit-tree", "template^{tree}", "-p", first, "-m", text, at=remote)
    hook, flag = remote / "hooks" / "update", tmp_path / "raced"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        f'#!/bin/sh\n[ -e "{flag}" ] && exit 0\ntouch "{flag}"\n'
        f"env -u GIT_QUARANTINE_PATH git update-ref refs/heads/template {other}\n"
    )
    hook.chmod(0o755)
    waits: list[float] = []
    last = send(remote, {"a.txt": b"later\n"}, wait=waits.append)
    assert flag.exists()
    assert len(waits) == 1
    assert git("rev-list", "template", at=remote).split() == [last, other, first]


def test_work_of_others_on_the_branch_is_never_undone(remote):
    send(remote)
    tree = git("rev-parse", "template^{tree}", at=remote)
    theirs = git("commit-tree", tree, "-p", "template", "-m", "Add a syllabus", at=remote)
    git("update-ref", "refs/heads/template", theirs, at=remote)
    with pytest.raises(PublishError, match="not made by `tito release`"):
        send(remote, {"a.txt": b"later\n"})
    assert git("rev-parse", "template", at=remote) == theirs


def test_a_token_authenticates_and_one_that_may_only_read_is_explained(remote):
    environment = {"PATH": os.environ["PATH"], "GITHUB_TOKEN": TOKEN}
    git("config", "http.receivepack", "true", at=remote)
    with GitServer(remote, TOKEN) as address:
        assert send(address, environment=environment)
    with (
        GitServer(remote, TOKEN, may_push=False) as address,
        pytest.raises(PublishError, match="contents: write"),
    ):
        send(address, {"a.txt": b"later\n"}, environment=environment)


def test_a_token_without_the_permission_for_workflows_is_explained(remote):
    hook = remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        "#!/bin/sh\necho 'refusing to allow a GitHub App to create or update workflow "
        "`.github/workflows/grade.yml` without `workflows` permission' >&2\nexit 1\n"
    )
    hook.chmod(0o755)
    with pytest.raises(PublishError, match="Workflows"):
        send(remote)


def test_uncommitted_changes_and_the_main_branch_are_refused(organisation, capsys):
    assert main(["-C", str(organisation.work), "release", "--branch", "main"]) == 1
    assert "publish to `template`" in capsys.readouterr().err
    readme = organisation.work / "README.md"
    before = readme.read_bytes()
    readme.write_bytes(before + b"\nmore\n")
    try:
        assert main(["-C", str(organisation.work), "release", "--branch", "template"]) == 1
        assert "README.md" in capsys.readouterr().err
    finally:
        readme.write_bytes(before)
    assert main(["-C", str(organisation.work), "release", "--branch", "template"]) == 0
    assert len(git("rev-list", "template", at=organisation.work).split()) == 1
