"""Publishing to the orphan branch: against real repositories, over the file system and HTTP."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from gitserver import GitServer

from tito.publish import PublishError, collect, find_remote, publish

FILES = {"badges/level.svg": b"<svg/>", "badges/level.json": b"{}", "report.json": b'{"score": 1}'}
TOKEN = "ghs_0123456789abcdefThisIsASecret"


def git(*arguments: str, at: Path | None = None) -> str:
    """Run Git for the test's own purposes and return what it printed."""
    place = ["-C", str(at)] if at else []
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    done = subprocess.run(
        ["git", *place, *who, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare repository whose main has one commit."""
    bare, work = tmp_path / "remote of Ada.git", tmp_path / "work"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    git("clone", "--quiet", str(bare), str(work))
    (work / "README.md").write_text("hello\n")
    git("add", "README.md", at=work)
    git("commit", "--quiet", "-m", "Start", at=work)
    git("push", "--quiet", "origin", "HEAD:main", at=work)
    return bare


def send(remote: Path | str, files: dict[str, bytes] = FILES, **changes) -> str:
    """Publish without waiting between attempts."""
    given = {"environment": dict(os.environ), "branch": "badges", "subject": "Badges"} | changes
    return publish(files, remote=str(remote), wait=lambda seconds: None, **given)


def content(remote: Path, path: str) -> str:
    return git("show", f"badges:{path}", at=remote)


def test_the_branch_holds_one_commit_and_main_is_untouched(remote):
    main = git("rev-parse", "main", at=remote)
    commit = send(remote)
    assert git("rev-list", "badges", at=remote) == commit
    assert git("ls-tree", "-r", "--name-only", "badges", at=remote).split() == sorted(FILES)
    assert content(remote, "report.json") == '{"score": 1}'
    assert git("rev-parse", "main", at=remote) == main


def test_a_second_publication_replaces_the_first(remote):
    first = send(remote)
    second = send(remote, {"report.json": b"later"})
    assert second != first
    assert git("rev-list", "badges", at=remote) == second
    assert git("ls-tree", "-r", "--name-only", "badges", at=remote) == "report.json"


def test_a_lost_race_is_tried_again(remote, tmp_path):
    """While our push arrives, another one moves the branch; ours must win in the end."""
    send(remote, {"report.json": b"before"})
    message = "Other\n\nPublished-by: tito report publish"
    other = git("commit-tree", "main^{tree}", "-m", message, at=remote)
    hook, flag = remote / "hooks" / "update", tmp_path / "raced"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        f'#!/bin/sh\n[ -e "{flag}" ] && exit 0\ntouch "{flag}"\n'
        f"env -u GIT_QUARANTINE_PATH git update-ref refs/heads/badges {other}\n"
    )
    hook.chmod(0o755)
    waits: list[float] = []
    commit = publish(
        FILES, remote=str(remote), branch="badges", subject="Badges",
        environment=dict(os.environ), wait=waits.append,
    )  # fmt: skip
    assert flag.exists()
    assert len(waits) == 1
    assert git("rev-list", "badges", at=remote) == commit


def test_what_is_there_can_be_kept_also_after_a_lost_race(remote):
    """The function sees the branch as it is at each attempt: of two records none is lost."""
    send(remote, {"milestones/01.json": b"one", "report.json": b"{}"})
    seen: list[dict[str, bytes]] = []

    def add(there):
        seen.append(dict(there))
        if len(seen) == 1:  # somebody else comes between
            send(remote, {**there, "milestones/02.json": b"two"})
        return {**there, "milestones/03.json": b"three"}

    send(remote, add)
    assert [sorted(names) for names in seen] == [
        ["milestones/01.json", "report.json"],
        ["milestones/01.json", "milestones/02.json", "report.json"],
    ]
    assert content(remote, "milestones/02.json") == "two"
    assert content(remote, "milestones/03.json") == "three"
    assert git("rev-list", "--count", "badges", at=remote) == "1"


def test_many_at_once_leave_one_whole_commit(remote):
    sent: list[str] = []

    def one(number: int) -> None:
        sent.append(publish(
            {"report.json": str(number).encode()}, remote=str(remote), branch="badges",
            subject="Badges", environment=dict(os.environ), wait=lambda s: None,
        ))  # fmt: skip

    threads = [threading.Thread(target=one, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sent) == 3
    assert git("rev-list", "badges", at=remote) in sent


def test_a_branch_with_other_work_is_never_replaced(remote):
    git("branch", "badges", "main", at=remote)
    before = git("rev-parse", "badges", at=remote)
    with pytest.raises(PublishError, match="rename that branch"):
        send(remote)
    assert git("rev-parse", "badges", at=remote) == before


@pytest.mark.parametrize("branch", ["main", "master", "--all", "a b", "", "x:main", "refs/../x"])
def test_only_a_plain_branch_of_its_own_is_accepted(remote, branch):
    with pytest.raises(PublishError, match="refusing"):
        send(remote, branch=branch)


def test_a_remote_that_is_not_there_is_named_at_once(tmp_path):
    with pytest.raises(PublishError, match="no repository"):
        send(tmp_path / "nowhere")


def test_an_unreachable_remote_is_reported_after_some_attempts():
    with pytest.raises(PublishError, match="failed 5 times"):
        send("http://127.0.0.1:9/ada/tree")


def test_a_protected_branch_is_explained(remote):
    hook = remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'GH013: Repository rule violations found' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(PublishError, match="exempt `badges`"):
        send(remote)


def test_no_setting_of_the_home_folder_or_the_tree_can_run_code(remote, tmp_path, monkeypatch):
    """Every trap would touch a file; with a token in the environment none is looked at."""
    trap, hooks = tmp_path / "sprung", tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-push", "post-commit", "reference-transaction", "post-checkout"):
        (hooks / name).write_text(f'#!/bin/sh\ntouch "{trap}"\n')
        (hooks / name).chmod(0o755)
    settings = (
        f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = touch {trap}\n\tsshCommand = touch {trap}\n"
        f"[credential]\n\thelper = !touch {trap}\n[init]\n\ttemplateDir = {tmp_path}\n"
    )
    home, tree = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    (home / ".gitconfig").write_text(settings)
    with (tree / ".git" / "config").open("a") as config:
        config.write(settings)
    monkeypatch.chdir(tree)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "GITHUB_TOKEN": TOKEN}
    with GitServer(remote, TOKEN) as address:
        send(address, environment=environment)
    assert git("rev-list", "--count", "badges", at=remote) == "1"
    assert not trap.exists()


def test_the_token_authenticates_and_is_in_no_argument(remote, tmp_path):
    """A spy in Git's place writes down every command line, then becomes Git."""
    spy, heard = tmp_path / "bin" / "git", tmp_path / "heard"
    spy.parent.mkdir()
    real = subprocess.check_output(["which", "git"], text=True).strip()
    spy.write_text(f'#!/bin/sh\necho "$@" >> "{heard}"\nexec "{real}" "$@"\n')
    spy.chmod(0o755)
    environment = {"PATH": f"{spy.parent}:{os.environ['PATH']}", "GITHUB_TOKEN": TOKEN}
    server = GitServer(remote, TOKEN)
    with server as address:
        commit = send(address, environment=environment | {"GIT_TRACE_CURL": "1", "GIT_TRACE": "1"})
    assert git("rev-list", "badges", at=remote) == commit
    assert set(server.seen) == {server.wanted}
    words = heard.read_text()
    assert "push" in words
    assert TOKEN not in words
    assert server.wanted.split()[1] not in words


def test_a_token_that_may_only_read_is_explained(remote):
    with (
        GitServer(remote, TOKEN, may_push=False) as address,
        pytest.raises(PublishError, match="contents: write") as caught,
    ):
        send(address, environment={"PATH": os.environ["PATH"], "GITHUB_TOKEN": TOKEN})
    assert TOKEN not in str(caught.value)


def test_a_wrong_token_is_explained_without_a_question(remote):
    with (
        GitServer(remote, TOKEN) as address,
        pytest.raises(PublishError, match="does not know who is pushing"),
    ):
        send(address, environment={"PATH": os.environ["PATH"], "GITHUB_TOKEN": "wrong"})


def test_the_remote_is_that_of_the_run_else_origin(tmp_path):
    actions = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "ada/tree"}
    assert find_remote(tmp_path, actions) == "https://github.com/ada/tree"
    git("init", "--quiet", str(tmp_path))
    assert find_remote(tmp_path, {}) is None
    git("remote", "add", "origin", "../there", at=tmp_path)
    assert find_remote(tmp_path, {}) == "../there"


def test_only_badges_and_the_report_are_collected(tmp_path):
    badges, report = tmp_path / "badges", tmp_path / "report.json"
    badges.mkdir()
    report.write_text("{}")
    for name in ("level.svg", "level.json", "notes.txt"):
        (badges / name).write_text(name)
    assert sorted(collect(badges, report)) == [
        "badges/level.json",
        "badges/level.svg",
        "report.json",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="making a link needs a privilege there")
def test_a_link_in_place_of_a_badge_is_refused(tmp_path):
    badges, report = tmp_path / "badges", tmp_path / "report.json"
    badges.mkdir()
    report.write_text("{}")
    (badges / "level.svg").symlink_to("/etc/hostname")
    with pytest.raises(PublishError, match="not a regular file"):
        collect(badges, report)
