"""Execute a workflow file as GitHub's runner would: the `run:` steps of one job, for real.

    run = Runner(tmp_path, remote="file:///…/server", repository="ada/tree").job(path, "grade")
    run.step("ladder").outputs["points"], run.summary, run.commands, run.artifacts

`run_workflow` runs all jobs of a file, each on a machine of its own: needs, a matrix, artifacts and
caches that pass from one to the next.

Each step runs in bash in the checked-out workspace, with the files GITHUB_OUTPUT, GITHUB_ENV,
GITHUB_PATH and GITHUB_STEP_SUMMARY of its own, which are read when it has ended; workflow commands
are read from what it prints. Actions (`uses:`) are replaced by the stand-ins of `ACTIONS`. What
this runner does not know is an error, never skipped: a key, an action, an expression.
Source: docs.github.com, "Workflow syntax" and "Workflow commands".
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from expressions import ExpressionError, condition, evaluate, expand

LARGEST_SUMMARY = 1 << 20  # bytes a step
# YAML reads the key `on` as true.
WORKFLOW_KEYS = {"concurrency", "defaults", "env", "jobs", "name", "permissions", True}
STEP_KEYS = {
    "continue-on-error", "env", "id", "if", "name", "run", "shell", "timeout-minutes", "uses",
    "with", "working-directory",
}  # fmt: skip
JOB_KEYS = {
    "concurrency", "env", "if", "name", "needs", "outputs", "permissions", "runs-on", "steps",
    "strategy", "timeout-minutes",
}  # fmt: skip
SHELLS = {
    None: ["bash", "-e"],
    "bash": ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail"],
}
# The runner takes a line that begins with `::name fields::text`, after spaces, for a command, and
# also `##[name fields]text` anywhere in a line. Names it does not know are plain text.
COMMAND = re.compile(r"\s*::(?P<name>[\w-]+)(?: (?P<fields>.*?))?::(?P<text>.*)")
OLD_COMMAND = re.compile(r".*?##\[(?P<name>[\w-]+)(?: (?P<fields>[^\]]*))?\](?P<text>.*)")
COMMANDS = {
    "add-mask", "debug", "endgroup", "error", "group", "notice", "stop-commands", "warning",
}  # fmt: skip
RETIRED = {"add-path", "save-state", "set-env", "set-output"}
PIN = re.compile(r"(?P<action>[\w.-]+/[\w./-]+)@(?P<commit>[0-9a-f]{40})")


class WorkflowError(Exception):
    """The workflow uses something that this runner, or GitHub, does not accept."""


@dataclass(frozen=True)
class Command:
    """A workflow command that a step printed, such as an annotation."""

    step: str
    name: str
    fields: dict[str, str]
    text: str


@dataclass
class StepResult:
    """What one step left behind. `outcome` is before, `conclusion` after continue-on-error."""

    name: str
    outcome: str = "success"
    conclusion: str = "success"
    log: str = ""
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)


@dataclass
class JobResult:
    """What a job left behind; `result` is success, failure or skipped."""

    result: str
    workspace: Path
    artifacts: Path
    steps: list[StepResult] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)

    def step(self, name: str) -> StepResult:
        """The result of a step, by its id or name."""
        return next(s for s in self.steps if s.name == name)

    @property
    def log(self) -> str:
        return "".join(s.log for s in self.steps)

    @property
    def summary(self) -> str:
        return "".join(s.summary for s in self.steps)

    @property
    def commands(self) -> list[Command]:
        return [c for s in self.steps for c in s.commands]


@dataclass
class Runner:
    """One machine: folders of its own, a remote to check out from, and an event.

    `inputs` are what was given with the event, `needs` and `matrix` the contexts of that name;
    `shared` is a folder for artifacts and caches, without which a cache never has anything.
    """

    folder: Path
    server: str
    repository: str = "ada/tree"
    branch: str = "main"
    default_branch: str = "main"
    event: str = "push"
    token: str = "ghs_the_token_of_this_run"
    extra: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, Any] = field(default_factory=dict)
    matrix: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    configuration: Mapping[str, str] = field(default_factory=dict)  # the variables, `vars`
    shared: Path | None = None
    run_id: int = 42

    def __post_init__(self) -> None:
        self.workspace = self.folder / "workspace"
        self.temp = self.folder / "temp"
        self.artifacts = (self.shared or self.folder) / "artifacts"
        for path in (self.workspace, self.temp, self.artifacts, self.folder / "home"):
            path.mkdir(parents=True, exist_ok=True)
        self.commit = self.resolve(self.repository, f"refs/heads/{self.branch}")

    def address(self, repository: str) -> str:
        """Where Git finds a repository of the server, with the token."""
        address = f"{self.server}/{repository}"
        if self.server.startswith("file:"):
            return address
        return address.replace("://", f"://x-access-token:{self.token}@", 1)

    def resolve(self, repository: str, reference: str) -> str:
        """The commit of a reference."""
        command = ["git", "ls-remote", self.address(repository), reference]
        listed = subprocess.check_output(command, text=True).split()
        if not listed:
            raise ActionFailed(f"couldn't find remote ref {reference} of {repository}")
        return listed[0]

    @property
    def github(self) -> dict[str, Any]:
        """The `github` context."""
        return {
            "actor": "ada",
            "event": {"repository": {"default_branch": self.default_branch}},
            "event_name": self.event,
            "ref": f"refs/heads/{self.branch}",
            "ref_name": self.branch,
            "repository": self.repository,
            "run_attempt": "1",
            "run_id": str(self.run_id),
            "run_number": "7",
            "server_url": self.server,
            "sha": self.commit,
            "token": self.token,
            "workflow": "grade",
            "workspace": str(self.workspace),
        }

    def variables(self) -> dict[str, str]:
        """The environment that every step starts with."""
        upper = {
            f"GITHUB_{n.upper()}": v
            for n, v in self.github.items()
            if isinstance(v, str) and n != "token"
        }
        event = self.folder / "event.json"
        event.write_text(json.dumps(self.github["event"]))
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_PATH": str(event),
            "RUNNER_OS": "Linux",
            "RUNNER_TEMP": str(self.temp),
            **upper,
            **self.extra,
        }

    def job(self, workflow: Path, name: str) -> JobResult:
        """Run one job of a workflow file."""
        document = yaml.safe_load(workflow.read_text(encoding="utf-8"))
        job = document["jobs"][name]
        _only(document, WORKFLOW_KEYS, workflow.name)
        _only(job, JOB_KEYS, f"job {name}")
        return _Job(self, document, job).run()


class _Settings(dict):
    """The variables or secrets of a repository: those that were never set are empty."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return ""


class _Job:
    """The state of a running job."""

    def __init__(self, runner: Runner, document: dict[str, Any], job: dict[str, Any]):
        self.runner, self.document, self.job_ = runner, document, job
        self.result = JobResult("success", runner.workspace, runner.artifacts)
        self.environment = runner.variables()
        self.paths: list[str] = []
        self.steps: dict[str, dict[str, Any]] = {}
        self.failed = False

    def contexts(self, environment: Mapping[str, str]) -> dict[str, Any]:
        runner = {"os": "Linux", "arch": "X64", "temp": str(self.runner.temp)}
        return {
            "env": environment,
            "github": self.runner.github,
            "inputs": _inputs(self.document, self.runner),
            "matrix": self.runner.matrix,
            "needs": self.runner.needs,
            "job": {"status": "failure" if self.failed else "success"},
            "runner": runner,
            "secrets": _Settings({"GITHUB_TOKEN": self.runner.token, **self.runner.secrets}),
            "steps": self.steps,
            "vars": _Settings(self.runner.configuration),
        }

    def functions(self) -> dict[str, Callable[..., Any]]:
        return {
            "always": lambda: True,
            "cancelled": lambda: False,
            "failure": lambda: self.failed,
            "fromJSON": json.loads,
            "hashFiles": self.hash_files,
            "success": lambda: not self.failed,
        }

    def hash_files(self, *patterns: str) -> str:
        """SHA-256 over the files that match, or nothing when there are none."""
        globs = [x + "/*" if x.endswith("**") else x for x in patterns]
        found = sorted({p for x in globs for p in self.runner.workspace.glob(x) if p.is_file()})
        total = hashlib.sha256(b"".join(hashlib.sha256(p.read_bytes()).digest() for p in found))
        return total.hexdigest() if found else ""

    def expand_all(
        self, values: Mapping[str, Any] | None, env: Mapping[str, str]
    ) -> dict[str, str]:
        """Expand the expressions of a mapping such as `env` or `with`."""
        rows = (values or {}).items()
        contexts, functions = self.contexts(env), self.functions()
        return {
            name: expand(_scalar(value), contexts, functions).rstrip("\n") for name, value in rows
        }

    def run(self) -> JobResult:
        group = (self.document.get("concurrency") or {}).get("group", "")
        expand(group, self.contexts({}), self.functions())
        if not self.wanted():
            self.result.result = "skipped"
            return self.result
        for level in (self.document, self.job_):
            self.environment |= self.expand_all(level.get("env"), self.environment)
        for number, step in enumerate(self.job_["steps"], 1):
            self.result.steps.append(self.step(step, number))
        outputs = (self.job_.get("outputs") or {}).items()
        self.result.outputs = {name: self.output(text) for name, text in outputs}
        self.result.result = "failure" if self.failed else "success"
        return self.result

    def output(self, text: str) -> str:
        """An output of the job; of a step that did not come to it, nothing."""
        try:
            return expand(text, self.contexts(self.environment), self.functions())
        except ExpressionError:
            if not self.failed:
                raise
            return ""

    def wanted(self) -> bool:
        """Whether the job runs, by its `if` and the jobs that it needs."""
        results = [need["result"] for need in self.runner.needs.values()]
        functions = self.functions() | {
            "failure": lambda: "failure" in results,
            "success": lambda: all(result == "success" for result in results),
        }
        return condition(self.job_.get("if", "true"), self.contexts({}), functions)

    def step(self, step: dict[str, Any], number: int) -> StepResult:
        """Run one step, or skip it, and take note of what it left behind."""
        result = StepResult(step.get("id") or step.get("name") or f"step {number}")
        _only(step, STEP_KEYS, result.name)
        environment = self.environment | self.expand_all(step.get("env"), self.environment)
        contexts, functions = self.contexts(environment), self.functions()
        if not condition(step.get("if", "true"), contexts, functions):
            result.outcome = result.conclusion = "skipped"
        elif "uses" in step:
            self.use(step, environment, result)
        else:
            self.execute(step, expand(step["run"], contexts, functions), environment, result)
        forgiven = step.get("continue-on-error", False)
        if result.outcome == "failure":
            result.conclusion = "success" if forgiven is True else "failure"
        self.failed = self.failed or result.conclusion == "failure"
        if "id" in step:
            self.steps[step["id"]] = {
                "conclusion": result.conclusion,
                "outcome": result.outcome,
                "outputs": result.outputs,
            }
        return result

    def use(self, step: dict[str, Any], environment: dict[str, str], result: StepResult) -> None:
        """Run the stand-in of an action."""
        pin = PIN.fullmatch(step["uses"])
        if not pin:
            raise WorkflowError(f"{step['uses']}: an action must be pinned to a commit")
        if pin["action"] not in ACTIONS:
            raise WorkflowError(f"{pin['action']}: this runner has no stand-in for the action")
        inputs = self.expand_all(step.get("with"), environment)
        try:
            result.outputs = ACTIONS[pin["action"]](self, inputs)
        except ActionFailed as problem:
            result.outcome, result.log = "failure", str(problem)

    def execute(
        self, step: dict[str, Any], script: str, environment: dict[str, str], result: StepResult
    ) -> None:
        """Run a script as the runner does, then read the files and commands it wrote."""
        default = self.document.get("defaults", {}).get("run", {}).get("shell")
        shell = step.get("shell", default)
        if shell not in SHELLS:
            raise WorkflowError(f"{result.name}: no shell {shell!r} here")
        folder = self.runner.temp / "_runner_file_commands"
        folder.mkdir(exist_ok=True)
        number = len(self.result.steps)
        files = {
            name: folder / f"{name.lower()}_{number}"
            for name in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")
        }
        for path in files.values():
            path.touch()
        file = self.runner.temp / f"step_{number}.sh"
        file.write_text(script, encoding="utf-8")
        path = os.pathsep.join([*reversed(self.paths), environment["PATH"]])
        environment = environment | {n: str(p) for n, p in files.items()} | {"PATH": path}
        try:
            done = subprocess.run(
                [*SHELLS[shell], str(file)],
                cwd=self.runner.workspace / step.get("working-directory", "."), env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=60 * self.minutes(step),
                check=False,
            )  # fmt: skip
            result.log, code = done.stdout.decode("utf-8", "replace"), done.returncode
        except subprocess.TimeoutExpired as late:
            result.log, code = (late.stdout or b"").decode("utf-8", "replace"), 1
        result.outcome = "failure" if code else "success"
        result.commands = list(_commands(result.name, result.log))
        self.read(files, result)

    def minutes(self, step: dict[str, Any]) -> float:
        """How long a step may take."""
        limit = step.get("timeout-minutes", self.job_["timeout-minutes"])
        return float(expand(str(limit), self.contexts(self.environment), self.functions()))

    def read(self, files: dict[str, Path], result: StepResult) -> None:
        """Take over what the step wrote into the runner's files."""
        result.outputs = _assignments(files["GITHUB_OUTPUT"])
        for name, value in _assignments(files["GITHUB_ENV"]).items():
            if name == "NODE_OPTIONS" or name.startswith(("GITHUB_", "RUNNER_")):
                raise WorkflowError(f"{result.name}: GITHUB_ENV may not set {name}")
            self.environment[name] = value
        self.paths += files["GITHUB_PATH"].read_text(encoding="utf-8").split("\n")[:-1]
        summary = files["GITHUB_STEP_SUMMARY"].read_bytes()
        if len(summary) > LARGEST_SUMMARY:
            raise WorkflowError(f"{result.name}: a summary of {len(summary)} bytes is not shown")
        result.summary = summary.decode("utf-8")


class ActionFailed(Exception):
    """The stand-in of an action failed, as the action would."""


def _checkout(job: _Job, inputs: dict[str, str]) -> dict[str, str]:
    """Check out the commit of the event, or what is asked for. Credentials must not stay behind."""
    if inputs.get("persist-credentials") != "false":
        raise WorkflowError("checkout must say persist-credentials: false")
    runner = job.runner
    repository = inputs.get("repository") or runner.repository
    own, wanted = repository == runner.repository, inputs.get("ref", "")
    reference, name = (f"refs/heads/{wanted}", wanted) if wanted else ("HEAD", "")
    if own and wanted in ("", runner.commit, runner.branch):
        reference, name, commit = f"refs/heads/{runner.branch}", runner.branch, runner.commit
    elif re.fullmatch("[0-9a-f]{40}", wanted):
        reference = commit = wanted
    else:
        commit = runner.resolve(repository, reference)
    folder = runner.workspace / inputs.get("path", ".")
    folder.mkdir(exist_ok=True)
    git = ["git", "-C", str(folder)]
    subprocess.run([*git, "init", "--quiet", "--initial-branch", name or "main"], check=True)
    origin = f"{runner.server}/{repository}"
    if '[remote "origin"]' not in (folder / ".git" / "config").read_text(encoding="utf-8"):
        subprocess.run([*git, "remote", "add", "origin", origin], check=True)
    elif inputs.get("clean") != "false":
        raise WorkflowError("a second checkout would remove what the steps before it have made")
    depth = inputs.get("fetch-depth", "1")
    whole = ["--unshallow"] if (folder / ".git" / "shallow").exists() else []
    how = whole if depth == "0" else [f"--depth={depth}"]
    fetch = ["fetch", "--quiet", *how, runner.address(repository), reference]
    subprocess.run([*git, *fetch], check=True)
    subprocess.run([*git, "checkout", "--quiet", "-B", name or "main", commit], check=True)
    return {"commit": commit, "ref": f"refs/heads/{name}"}


def _setup_python(job: _Job, inputs: dict[str, str]) -> dict[str, str]:
    """Put an interpreter on the path; the version is that of the tests' own."""
    if not inputs.get("python-version"):
        raise WorkflowError("setup-python must say which version")
    folder = job.runner.folder / "python"
    folder.mkdir(exist_ok=True)
    for name in ("python", "python3"):
        launcher = folder / name
        launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        launcher.chmod(0o755)
    job.paths.append(str(folder))
    version = ".".join(str(part) for part in sys.version_info[:3])
    return {"python-version": version, "python-path": str(folder / "python")}


def _cache_restore(job: _Job, inputs: dict[str, str]) -> dict[str, str]:
    """Bring back what was kept under the key, else the newest under one of the other beginnings."""
    if not (inputs.get("key") and inputs.get("path")):
        raise WorkflowError("a cache needs a key and a path")
    matched = ""
    if job.runner.shared:
        kept = _kept(job.runner.shared)
        begins = inputs.get("restore-keys", "").split()
        like = [key for begin in begins for key in reversed(kept) if key.startswith(begin)]
        matched = next(iter([key for key in kept if key == inputs["key"]] or like), "")
        if matched:
            target = job.runner.workspace / inputs["path"]
            shutil.copytree(kept[matched], target, dirs_exist_ok=True, symlinks=True)
    return {
        "cache-hit": "true" if matched == inputs["key"] else "false",
        "cache-primary-key": inputs["key"],
        "cache-matched-key": matched,
    }


def _cache_save(job: _Job, inputs: dict[str, str]) -> dict[str, str]:
    """Keep a folder under a key, once: a key is never written again."""
    if not (inputs.get("key") and inputs.get("path")):
        raise WorkflowError("a cache needs a key and a path")
    path = job.runner.workspace / inputs["path"]
    if job.runner.shared and path.is_dir():
        kept = _kept(job.runner.shared)
        if inputs["key"] not in kept:
            place = job.runner.shared / "caches" / f"{len(kept):04}"
            shutil.copytree(path, place / "content", symlinks=True)
            (place / "key").write_text(inputs["key"])
    return {}


def _kept(shared: Path) -> dict[str, Path]:
    """What is cached, by key, the oldest first."""
    places = sorted((shared / "caches").glob("*"))
    return {(place / "key").read_text(): place / "content" for place in places}


def _upload_artifact(job: _Job, inputs: dict[str, str]) -> dict[str, str]:
    """Copy files to the runner's folder of artifacts; hidden ones are left out, as upstream."""
    target = job.runner.artifacts / inputs.get("name", "artifact")
    found = []
    for pattern in inputs["path"].split("\n"):
        base = Path(pattern) if os.path.isabs(pattern) else job.runner.workspace / pattern
        found += [base] if base.exists() else sorted(base.parent.glob(base.name))
    found = [path for path in found if not path.name.startswith(".")]
    if not found and inputs.get("if-no-files-found", "warn") == "error":
        raise ActionFailed(f"no files were found at {inputs['path']!r}")
    target.mkdir(parents=True, exist_ok=True)
    for path in found:
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, target / path.name)
    return {"artifact-id": "1"}


def _download_artifact(job: _Job, inputs: dict[str, str]) -> dict[str, str]:
    """Bring artifacts whose names match a pattern, each into a folder of its name."""
    if set(inputs) != {"pattern", "path"}:
        raise WorkflowError("this runner knows download-artifact by pattern and path only")
    found = sorted(job.runner.artifacts.glob(inputs["pattern"]))
    for folder in found:
        shutil.copytree(folder, job.runner.workspace / inputs["path"] / folder.name)
    return {"download-path": str(job.runner.workspace / inputs["path"])}


ACTIONS: dict[str, Callable[[_Job, dict[str, str]], dict[str, str]]] = {
    "actions/cache": _cache_restore,
    "actions/cache/restore": _cache_restore,
    "actions/cache/save": _cache_save,
    "actions/checkout": _checkout,
    "actions/download-artifact": _download_artifact,
    "actions/setup-python": _setup_python,
    "actions/upload-artifact": _upload_artifact,
}


def run_workflow(workflow: Path, machine: Callable[..., Runner]) -> dict[str, list[JobResult]]:
    """Run all jobs of a workflow, in order; `machine` makes the Runner of a job from its contexts.

    Returns:
        By name, the results of a job: several for one with a matrix.
    """
    document = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    results: dict[str, list[JobResult]] = {}
    needs: dict[str, dict[str, Any]] = {}
    for name, job in document["jobs"].items():
        wanted = job.get("needs", [])
        mine = {need: needs[need] for need in ([wanted] if isinstance(wanted, str) else wanted)}
        rows = _matrix(job, {"needs": mine})
        results[name] = [machine(needs=mine, matrix=row).job(workflow, name) for row in rows]
        words = {result.result for result in results[name]}
        result = "failure" if "failure" in words else max(words)  # success, or skipped
        outputs = dict.fromkeys(job.get("outputs", {}), "") | results[name][-1].outputs
        needs[name] = {"result": result, "outputs": outputs}
    return results


def _matrix(job: dict[str, Any], contexts: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a job's matrix; one empty row for a job without, or one that is skipped."""
    strategy = job.get("strategy", {})
    _only(strategy, {"fail-fast", "matrix", "max-parallel"}, "strategy")
    matrix = strategy.get("matrix", {})
    if isinstance(matrix, str):
        if {need["result"] for need in contexts["needs"].values()} - {"success"}:
            return [{}]
        matrix = evaluate(matrix.strip()[3:-2], contexts, {"fromJSON": json.loads})
    _only(matrix, {"include"}, "matrix")
    return matrix.get("include") or [{}]


def _inputs(document: dict[str, Any], runner: Runner) -> dict[str, Any]:
    """The `inputs` context: what was given, the defaults of the event, nothing for other events."""
    events = document.get(True)
    events = events if isinstance(events, dict) else {}
    values: dict[str, Any] = {}
    for event in ("workflow_call", "workflow_dispatch"):
        for name, facts in ((events.get(event) or {}).get("inputs") or {}).items():
            given = runner.event == event
            default = facts.get("default", "") if given else None
            values[name] = default if given else values.get(name)
    unknown = sorted(set(runner.inputs) - set(values))
    if unknown:
        raise WorkflowError(f"no input is called {', '.join(unknown)}")
    return values | dict(runner.inputs)


def _scalar(value: Any) -> str:
    """A YAML scalar as GitHub hands it on."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _only(mapping: Mapping[str, Any], known: set[str], where: str) -> None:
    """Refuse keys that this runner would silently ignore."""
    unknown = sorted(str(key) for key in set(mapping) - known)
    if unknown:
        raise WorkflowError(f"{where}: this runner does not know {', '.join(unknown)}")


def _assignments(path: Path) -> dict[str, str]:
    """Read `name=value` lines and `name<<END` … `END` blocks."""
    values: dict[str, str] = {}
    lines = iter(path.read_text(encoding="utf-8").split("\n"))
    for line in lines:
        if not line:
            continue
        plain, block = line.find("="), line.find("<<")
        if block >= 0 and (plain < 0 or block < plain):
            name, end = line[:block], line[block + 2 :]
            rows = []
            for row in lines:
                if row == end:
                    break
                rows.append(row)
            else:
                raise WorkflowError(f"{path.name}: {end!r} never comes")
            values[name] = "\n".join(rows)
        elif plain > 0:
            values[line[:plain]] = line[plain + 1 :]
        else:
            raise WorkflowError(f"{path.name}: invalid format {line!r}")
    return values


def _unescape(text: str, more: tuple[tuple[str, str], ...] = ()) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), *more, ("%25", "%")):
        text = text.replace(code, character)
    return text


def _commands(step: str, log: str) -> Iterator[Command]:
    """The workflow commands in what a step printed; `stop-commands` pauses them."""
    resume: str | None = None
    for line in log.splitlines():
        match = COMMAND.match(line) or OLD_COMMAND.match(line)
        if match and resume is not None:
            resume = None if match["name"] == resume else resume
        elif match and match["name"] == "stop-commands":
            resume = match["text"]
        elif match and match["name"] in RETIRED:
            raise WorkflowError(f"{step} printed the retired command {line!r}")
        elif match and match["name"] in COMMANDS:
            pairs = [x.split("=", 1) for x in (match["fields"] or "").split(",") if "=" in x]
            more = (("%3A", ":"), ("%2C", ","))
            fields = {name.strip(): _unescape(value, more) for name, value in pairs}
            yield Command(step, match["name"], fields, _unescape(match["text"]))
