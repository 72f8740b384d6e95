"""The helper that executes workflow files, on small workflows of its own."""

import subprocess
from pathlib import Path
from textwrap import dedent, indent

import pytest
from expressions import ExpressionError, condition, evaluate, expand
from workflow import JobResult, Runner, WorkflowError

PINNED = "0123456789abcdef0123456789abcdef01234567"
HEAD = """\
name: small
on: push
permissions: {}
jobs:
  job:
    runs-on: ubuntu-24.04
    timeout-minutes: 1
    steps:
"""


def commit(folder: Path, files: dict[str, str]) -> None:
    """Put files on main of the bare repository `folder`/ada/tree, as one commit."""
    bare, work = folder / "ada" / "tree", folder / "work"
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    subprocess.run([*git, "init", "-q", "--bare", "-b", "main", str(bare)], check=True)
    subprocess.run([*git, "clone", "-q", str(bare), str(work)], check=True)
    for name, text in files.items():
        (work / name).write_text(text)
    subprocess.run([*git, "-C", str(work), "add", "."], check=True)
    subprocess.run([*git, "-C", str(work), "commit", "-q", "-m", "Start"], check=True)
    subprocess.run([*git, "-C", str(work), "push", "-q", "origin", "HEAD:main"], check=True)


@pytest.fixture
def server(tmp_path: Path) -> str:
    commit(tmp_path / "server", {"hello.txt": "hello\n"})
    return f"file://{tmp_path / 'server'}"


@pytest.fixture
def execute(tmp_path: Path, server: str):
    """Run the given steps as a job."""

    def run(steps: str, head: str = HEAD, **settings) -> JobResult:
        file = tmp_path / "small.yml"
        file.write_text(head + indent(dedent(steps), " " * 6))
        return Runner(tmp_path / "machine", server, **settings).job(file, "job")

    return run


def test_steps_run_in_order_and_pass_on_outputs_environment_and_path(execute):
    job = execute("""\
        - id: first
          run: |
            echo "plain=a=b" >> "$GITHUB_OUTPUT"
            { echo "long<<END"; echo one; echo "two=2"; echo END; } >> "$GITHUB_OUTPUT"
            echo "COLOUR=green" >> "$GITHUB_ENV"
            mkdir tools; printf '#!/bin/sh\\necho tool\\n' > tools/mytool; chmod +x tools/mytool
            echo "$PWD/tools" >> "$GITHUB_PATH"
            echo "# Title" >> "$GITHUB_STEP_SUMMARY"
        - name: second
          env:
            PLAIN: ${{ steps.first.outputs.plain }}
          run: |
            echo "$PLAIN $COLOUR ${{ env.COLOUR }} $(mytool)"
            echo "${{ steps.first.outputs.long }}" | tr '\\n' ','
            echo "- more" >> "$GITHUB_STEP_SUMMARY"
    """)
    assert job.result == "success"
    assert job.step("first").outputs == {"plain": "a=b", "long": "one\ntwo=2"}
    assert job.step("second").log == "a=b green green tool\none,two=2,"
    assert job.summary == "# Title\n- more\n"


def test_the_environment_of_a_step_wins_over_job_and_workflow(execute):
    head = HEAD.replace("permissions: {}\n", "permissions: {}\nenv: {A: 1, B: 1, C: 1}\n")
    head = head.replace("    steps:\n", "    env: {B: 2, C: 2}\n    steps:\n")
    job = execute("- {name: show, env: {C: 3}, run: 'echo $A $B $C $CI $GITHUB_REF'}", head)
    assert job.step("show").log == "1 2 3 true refs/heads/main\n"


def test_a_failure_ends_the_job_but_not_what_always_runs(execute):
    job = execute("""\
        - {name: fail, run: 'false; echo not reached'}
        - {name: skipped, run: echo no}
        - {name: always, if: always(), run: echo yes}
        - {name: on failure, if: "${{ failure() }}", run: echo oh}
        - {name: kept, if: "!cancelled()", run: echo kept}
        - {name: never, if: "success() || github.event_name == 'none'", run: echo no}
    """)
    assert job.result == "failure"
    assert job.log == "yes\noh\nkept\n"
    assert [s.conclusion for s in job.steps].count("skipped") == 2


def test_a_step_that_may_fail_does_not_fail_the_job(execute):
    job = execute("""\
        - {id: flaky, continue-on-error: true, run: exit 3}
        - {name: after, run: 'echo ${{ steps.flaky.outcome }} ${{ steps.flaky.conclusion }}'}
    """)
    assert job.result == "success"
    assert job.step("after").log == "failure success\n"


def test_only_the_shell_called_bash_notices_a_broken_pipe(execute):
    assert execute("- run: false | true").result == "success"
    assert execute("- {shell: bash, run: false | true}").result == "failure"


def test_a_job_condition_skips_the_job(execute):
    head = HEAD.replace(
        "    steps:\n",
        "    if: github.ref_name == github.event.repository.default_branch\n    steps:\n",
    )
    assert execute("- run: 'true'", head).result == "success"
    assert execute("- run: 'true'", head, default_branch="trunk").result == "skipped"


def test_commands_are_read_from_what_a_step_prints(execute):
    job = execute(r"""
        - name: talk
          run: |
            echo "::error file=a.py,line=3,title=one%3A two%2C::text 100%25%0Asecond line"
            echo "plain ::notice::not a command"
            echo "::forged::neither"
            echo "text ##[warning]the old form counts anywhere"
            echo "::stop-commands::token"
            echo "::error::quiet"
            echo "::token::"
            echo "  ::notice::last"
    """)
    error, warning, notice = job.commands
    assert error.fields == {"file": "a.py", "line": "3", "title": "one: two,"}
    assert error.text == "text 100%\nsecond line"
    assert (warning.name, warning.text) == ("warning", "the old form counts anywhere")
    assert (notice.name, notice.text) == ("notice", "last")


def test_actions_are_stood_in_for(execute):
    job = execute(f"""\
        - uses: actions/checkout@{PINNED}
          with: {{persist-credentials: false}}
        - id: python
          uses: actions/setup-python@{PINNED}
          with: {{python-version: "3.12"}}
        - id: cache
          uses: actions/cache/restore@{PINNED}
          with: {{path: .venv, key: "venv-${{{{ hashFiles('*.txt') }}}}"}}
        - name: miss
          if: steps.cache.outputs.cache-hit != 'true'
          run: cat hello.txt; git status -sb
        - run: mkdir out && echo 1 > out/a.txt && echo 2 > out/.hidden
        - uses: actions/upload-artifact@{PINNED}
          with:
            name: result
            path: |
              out/*
              hello.txt
    """)
    assert job.step("miss").log == "hello\n## main\n"
    assert sorted(p.name for p in (job.artifacts / "result").iterdir()) == ["a.txt", "hello.txt"]
    assert job.step("cache").outputs["cache-primary-key"].startswith("venv-")
    config = (job.workspace / ".git" / "config").read_text()
    assert "x-access-token" not in config


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ("- {uses: actions/checkout@v7}", "pinned"),
        (f"- {{uses: ada/unknown@{PINNED}}}", "no stand-in"),
        (f"- {{uses: actions/checkout@{PINNED}}}", "persist-credentials"),
        ("- {run: echo, surprise: 1}", "surprise"),
        ("- {shell: pwsh, run: echo}", "no shell"),
        ("- {run: echo 'no sign' >> $GITHUB_OUTPUT}", "invalid format"),
        ("- {run: 'echo \"a<<END\" >> $GITHUB_OUTPUT'}", "never comes"),
        ("- {run: echo NODE_OPTIONS=x >> $GITHUB_ENV}", "may not set"),
        ("- {run: 'echo ::set-output name=a::b'}", "retired"),
        ("- {run: head -c 1100000 /dev/zero > $GITHUB_STEP_SUMMARY}", "not shown"),
    ],
)
def test_what_the_runner_would_refuse_or_ignore_is_an_error(execute, steps, says):
    with pytest.raises(WorkflowError, match=says):
        execute(steps)


def test_a_step_that_takes_too_long_fails(execute):
    job = execute("- {name: slow, timeout-minutes: 0.01, run: echo started; sleep 30}")
    assert job.result == "failure"
    assert job.log == "started\n"


KNOWN = {"github": {"ref": "refs/heads/main", "event": {"n": 2}}, "steps": {"a": {"outputs": {}}}}
FUNCTIONS = {"success": lambda: False, "always": lambda: True}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("github.ref == 'REFS/heads/main'", True),
        ("github.event.n != 2 || !(true && false)", True),
        ("format('refs/heads/{0}', 'main') == github.ref", True),
        ("'it''s'", "it's"),
        ("false || 'default'", "default"),
        ("null", None),
    ],
)
def test_expressions(text, value):
    assert evaluate(text, KNOWN, FUNCTIONS) == value


@pytest.mark.parametrize(
    "text",
    ["github.no", "steps.b.outcome", "unknown()", "1 +", "(true", "'a' == 1", "true false", ""],
)
def test_an_unknown_expression_is_an_error(text):
    with pytest.raises(ExpressionError):
        evaluate(text, KNOWN, FUNCTIONS)


def test_expand_and_condition():
    assert expand("${{ github.ref }}, ${{ true }}", KNOWN, FUNCTIONS) == "refs/heads/main, true"
    assert condition("always()", KNOWN, FUNCTIONS)
    assert not condition("true", KNOWN, FUNCTIONS)
    with pytest.raises(ExpressionError):
        condition("${{ true }} && ${{ true }}", KNOWN, FUNCTIONS)
