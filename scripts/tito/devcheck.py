"""The course's own consistency: what an author forgot, each finding with file, line and mend.

`check_files` reads and runs nothing of the course; `check_runs` grades it twice, with its solutions
and as stubs.
"""

import ast
import io
import re
import tempfile
import textwrap
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from tito.files import FileProblem, read_text, write_atomic
from tito.hints import hints_file, parse_hints
from tito.ladder import LADDER_FILE, Checkpoint, Custom, Ladder, LadderError, load_ladder
from tito.manifest import is_module
from tito.reflection import answer, file_of
from tito.release import (
    ReleaseError,
    build,
    is_course_only,
    leaks,
    left_out,
    select_parts,
    source_files,
    why_left_out,
)
from tito.report import KINDS, CheckpointResult, Outcome
from tito.source import ModuleSource, parse
from tito.strip import strip

LONGEST_CELL = 60  # lines of an exported cell with one solution
LONGEST_ASKED = 200  # characters of the sentence that says what a test asks
SHORTEST_HINT = 10
FEWEST_STEPS = 3
REPEATS = 2  # times that a timing which did not pass is taken again

_STEP = re.compile(r"^# ## Step (\d+)\b")
_IMPORT = re.compile(r"\s*(?:from|import) tinytorch\.core\.(\w+)")
_PROMISE = re.compile(r"^\s*# about (\d+) lines?$")
_TWO_DIGITS = re.compile(r"(?<![\w.,])\d\d(?![\w%]|[.,]\d)")
_LEFT_BEHIND = re.compile(r"(~|\.(orig|rej|bak|swp|tmp|py[cod])|\.DS_Store)$")


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is not as it must be, and what to do about it."""

    file: str
    line: int
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}; {self.mend}"


@dataclass(frozen=True)
class Asked:
    """A checkpoint's test as its file says it, without running anything."""

    name: str
    line: int
    kind: str
    step: int
    of: str
    hint: str
    module: str | None
    docstring: str


class Course:
    """The course at `root`, each file read once; `trouble` has what could not be read."""

    def __init__(self, root: Path, ladder: Ladder):
        self.root, self.ladder = root, ladder
        self.trouble: list[Finding] = []
        self.modules = {
            rung.id: module
            for rung in ladder.checkpoints
            if (module := self._attempt(lambda rung=rung: self._module(rung))) is not None
        }
        self.trees = {
            rung.id: tree
            for rung in ladder.checkpoints
            if (tree := self._attempt(lambda rung=rung: self._tree(rung.file))) is not None
        }

    def _attempt(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except FileProblem as problem:
            self.trouble.append(as_finding(problem))
            return None

    def _module(self, rung: Checkpoint) -> ModuleSource:
        module = parse(read_text(self.root, rung.source), rung.source)
        module.regions  # noqa: B018 (a marker in the wrong place is reported here)
        return module

    def _tree(self, file: str) -> ast.Module:
        try:
            return ast.parse(read_text(self.root, file))
        except SyntaxError as error:
            fact = f"syntax error: {error.msg}"
            raise FileProblem(file, fact, "mend this line", error.lineno or 1) from None

    @cached_property
    def steps(self) -> dict[str, dict[int, int]]:
        """By module, its steps in the order of the file: number to line."""
        return {rung: _steps(module) for rung, module in self.modules.items()}

    def text(self, file: str) -> str | None:
        """A file's text, or None and a note of why not."""
        return self._attempt(lambda: read_text(self.root, file))

    @cached_property
    def files(self) -> list[str]:
        """What a release is made from."""
        return source_files(self.root)


def _steps(module: ModuleSource) -> dict[int, int]:
    found = ((n, _STEP.match(line)) for n, line in enumerate(module.lines, 1))
    return {int(match[1]): n for n, match in found if match}


def as_finding(problem: FileProblem) -> Finding:
    """A file that cannot be used, as a finding."""
    return Finding(problem.file, problem.line, problem.message, problem.mend)


def check_files(root: Path) -> list[Finding]:
    """Everything that can be seen without running anything.

    Raises:
        ReleaseError: If Git cannot say which files belong to the course.
    """
    try:
        ladder = load_ladder(root)
    except LadderError as error:
        what = str(error).removeprefix(f"{LADDER_FILE}: ")
        return [Finding(LADDER_FILE.as_posix(), 1, what, "mend the ladder first")]
    course = Course(root, ladder)
    found: list[Finding] = []
    for rung in ladder.checkpoints:
        if (module := course.modules.get(rung.id)) is not None:
            found += check_module(course, rung, module)
            found += check_hints(course, rung)
        if (tree := course.trees.get(rung.id)) is not None:
            found += check_checkpoint(course, rung, tree)
        found += check_readme(course, rung)
        found += check_reflection(course, rung)
    found += check_released(course)
    found += check_marks(course)
    found += check_strays(course)
    found += check_spoilers(course)
    return sorted({*found, *course.trouble})


# A module


def check_module(course: Course, rung: Checkpoint, module: ModuleSource) -> Iterator[Finding]:
    """Stubs, steps in order with solution and unit tests, the closing sections, the imports."""
    file, steps = rung.source, course.steps[rung.id]
    if not module.regions:
        yield Finding(file, 1, "has no solution, so students get no stub", "mark a solution")
    if list(steps) != list(range(1, len(steps) + 1)) or len(steps) < FEWEST_STEPS:
        what = f"its steps are {', '.join(map(str, steps)) or 'none'}"
        yield Finding(file, 1, what, f"number them 1, 2, 3 …, at least {FEWEST_STEPS}")
    solved = {region.step for region in module.regions}
    tested = {cell.step for cell in module.cells if cell.role == "test"}
    for step, line in steps.items():
        if step not in solved:
            yield Finding(file, line, f"step {step} has no solution", "mark one, or join it")
        if step not in tested:
            yield Finding(file, line, f"step {step} has no unit test", "add a `#| test` cell")
    for region in module.regions:
        if region.step is None:
            yield Finding(file, region.begin, "a solution outside the steps", "move it into one")
    text = "\n".join(module.lines)
    if not re.search(r"^# ##.*reflect", text, re.MULTILINE | re.IGNORECASE):
        yield Finding(file, len(module.lines), "asks no reflection", "add `## Reflect`")
    if f"tito checkpoint run {rung.id}" not in text:
        mend = f"close with `tito checkpoint run {rung.id}`"
        yield Finding(file, len(module.lines), "does not say how to check it", mend)
    for node in module.tree.body:
        public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
        if public and not ast.get_docstring(node):
            yield Finding(file, node.lineno, f"{node.name} has no docstring", "say what it is")
    for cell in module.cells:
        inside = [r for r in module.regions if cell.start <= r.begin <= cell.end]
        lines = [line for line in module.lines[cell.start : cell.end] if line.strip()]
        if cell.role == "export" and len(inside) == 1 and len(lines) > LONGEST_CELL:
            what = f"a cell to be filled in has {len(lines)} lines"
            yield Finding(file, cell.start, what, f"split it; {LONGEST_CELL} fit a screen")
    yield from check_imports(course, rung, file, module.lines)
    yield from check_sizes(rung, module)


def check_imports(
    course: Course, rung: Checkpoint, file: str, lines: Iterable[str]
) -> Iterator[Finding]:
    """The ladder's `needs` are true: nothing later or unrelated is imported, in a probe neither."""
    needs = course.ladder.transitive_needs(rung.id)
    allowed = {rung.module} | {course.ladder.by_id[need].module for need in needs}
    modules = {other.module for other in course.ladder.checkpoints}
    for number, line in enumerate(lines, 1):
        match = _IMPORT.match(line)
        name = match[1] if match else ""
        backward = (rung.id, name) == ("01", "autograd")  # when Tensor.backward is called
        if name in modules - allowed and not backward:
            mend = f"do without, or add it to the `needs` of {rung.id} in {LADDER_FILE.name}"
            yield Finding(file, number, f"imports {name}, which {rung.id} does not need", mend)


def code_lines(text: str) -> int:
    """How many lines of a text hold code, counted by Python's own tokens."""
    kept: set[int] = set()
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    lines = textwrap.dedent(text).strip("\n").split("\n")
    for token in tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline):
        if token.type not in (*layout, tokenize.ENDMARKER):
            kept.update(range(token.start[0], token.end[0] + 1))
    return sum(bool(lines[n - 1].strip()) for n in kept)


def check_sizes(rung: Checkpoint, module: ModuleSource) -> Iterator[Finding]:
    """What a stub promises is what its solution takes."""
    stubs = (_PROMISE.match(line) for line in strip(rung.id, module).split("\n"))
    promised = [int(match[1]) for match in stubs if match]
    for region, said in zip(module.regions, promised, strict=True):
        size = code_lines("\n".join(module.lines[region.begin : region.end - 1]))
        if not size:
            mend = "write the solution"
            yield Finding(
                rung.source, region.begin, f"the solution of {region.name} is empty", mend
            )
        elif size != said:
            what = f"the stub of {region.name} promises {said} lines, its solution has {size}"
            yield Finding(rung.source, region.begin, what, "mend tito.strip.body_size")


def check_hints(course: Course, rung: Checkpoint) -> Iterator[Finding]:
    """Where a module has hints, each of its steps has one to three."""
    file = hints_file(rung)
    if not (course.root / file).exists() or (text := course.text(file)) is None:
        return
    try:
        hints = parse_hints(text, file)
    except FileProblem as problem:
        yield as_finding(problem)
        return
    steps = course.steps[rung.id]
    lines = {int(m[1]): text[: m.start()].count("\n") + 1
             for m in re.finditer(r"^step *= *(\d+)", text, re.MULTILINE)}  # fmt: skip
    for step in sorted(hints.keys() - steps.keys()):
        what = f"gives hints for step {step}, which {rung.source} does not have"
        yield Finding(file, lines.get(step, 1), what, "remove them, or mend the number")
    for step in sorted(steps.keys() - hints.keys()):
        yield Finding(file, 1, f"has no hint for step {step}", "add a [[step]] table")


# A checkpoint


def asked_by(tree: ast.Module, file: str) -> tuple[list[Asked], list[Finding]]:
    """The tests of a checkpoint, and those whose `asks` cannot be read."""
    tests, bad = [], []
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        marks = [
            mark
            for mark in node.decorator_list
            if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "asks"
        ]
        try:
            (mark,) = marks
            kind, *more = (ast.literal_eval(value) for value in mark.args)
            named = {word.arg: ast.literal_eval(word.value) for word in mark.keywords}
            fields = dict(zip(("step", "of", "hint", "module"), more, strict=False)) | named
            text = ast.get_docstring(node) or ""
            tests.append(
                Asked(
                    name=node.name, line=node.lineno, kind=kind, step=fields["step"],
                    of=fields["of"], hint=fields["hint"], module=fields.get("module"),
                    docstring=" ".join(text.split("\n\n")[0].split()),
                )
            )  # fmt: skip
        except (ValueError, KeyError):
            mend = "put one @asks(kind, step=…, of=…, hint=…) of plain texts above it"
            bad.append(Finding(file, node.lineno, f"{node.name} does not say what it asks", mend))
    return tests, bad


def check_checkpoint(course: Course, rung: Checkpoint, tree: ast.Module) -> Iterator[Finding]:
    """Every test with its sentence, kind, hint and place; every step and every kind exercised."""
    file = rung.file
    tests, bad = asked_by(tree, file)
    yield from bad
    for test in tests:
        yield from check_test(course, rung, test)
    for kind in KINDS:
        if kind not in {test.kind for test in tests}:
            yield Finding(file, 1, f"has no test of the kind {kind}", "add one")
    exercised = {test.step for test in tests if test.module in (None, rung.id)}
    for step, line in course.steps.get(rung.id, {}).items():
        if step not in exercised:
            what = f"step {step} is exercised by no test of {file}"
            yield Finding(rung.source, line, what, "add a test")
    for name in rung.free:
        if name not in {test.name for test in tests}:
            what = f"checkpoint {rung.id} lists {name} as free, which {file} does not have"
            yield Finding(LADDER_FILE.as_posix(), 1, what, "remove it, or mend the name")
    yield from check_imports(course, rung, file, (course.text(file) or "").split("\n"))


def check_test(course: Course, rung: Checkpoint, test: Asked) -> Iterator[Finding]:
    """One test of a checkpoint."""
    wrong: list[tuple[str, str]] = []
    if test.kind not in KINDS:
        wrong.append((f"is of the unknown kind {test.kind!r}", f"use {', '.join(KINDS)}"))
    if len(test.hint.strip()) < SHORTEST_HINT:
        wrong.append(("has an empty hint", "name the concept, then the place"))
    if not test.docstring:
        wrong.append(("has no docstring", "say in one sentence what it asks"))
    elif len(test.docstring) > LONGEST_ASKED:
        words = f"asks in {len(test.docstring)} characters"
        wrong.append((words, f"say it in {LONGEST_ASKED}"))
    module = course.modules.get(test.module or rung.id)
    if module is not None and test.step not in course.steps[test.module or rung.id]:
        wrong.append((f"is about step {test.step}, which {module.file} does not have", "mend it"))
    if module is not None and module.locate(test.of) is None:
        wrong.append((f"is about {test.of}, which {module.file} does not define", "mend `of`"))
    for what, mend in wrong:
        yield Finding(rung.file, test.line, f"{test.name} {what}", mend)


# README and reflection


def check_readme(course: Course, rung: Checkpoint) -> Iterator[Finding]:
    """Its number, question, steps, commands and links are the module's."""
    file = f"modules/{rung.folder}/README.md"
    text = course.text(file)
    if text is None:
        return
    lines = text.split("\n")
    if not re.match(rf"# (Module )?{rung.id}\b", lines[0]):
        yield Finding(file, 1, f"its title does not begin with {rung.id}", f"write `# {rung.id} ·`")
    if rung.question not in " ".join(text.split()):
        yield Finding(file, 1, "does not ask the ladder's question", f"quote “{rung.question}”")
    for command in (f"tito test {rung.id}", f"tito checkpoint run {rung.id}"):
        if command not in text:
            yield Finding(file, len(lines), f"does not name `{command}`", "say how to work")
    needs = {rung.id, *course.ladder.transitive_needs(rung.id)}
    heading, steps, listed = "", 1, []
    for number, line in enumerate(lines, 1):
        heading = line.lower() if line.startswith("## ") else heading
        for command in re.finditer(r"tito (?:test|checkpoint run) (\d\d)\b", line):
            if command[1] != rung.id:
                what = f"`{command[0]}` is another module's"
                yield Finding(file, number, what, f"write {rung.id}")
        if "need" in heading:
            for other in _TWO_DIGITS.findall(re.sub(r"[^.]*\bnot needed", "", line)):
                if other in course.ladder.by_id and other not in needs:
                    mend = "mend the number, or the ladder's `needs`"
                    yield Finding(file, number, f"says it needs {other}; the ladder: no", mend)
        if re.match(r"## (the )?steps", heading) and (item := re.match(r"(\d+)\. ", line)):
            steps, listed = number, [*listed, int(item[1])]
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            place = PurePosixPath(file).parent / target.partition("#")[0]
            if not re.match(r"https?:|mailto:|#", target) and not (course.root / place).exists():
                yield Finding(file, number, f"its link leads nowhere: {target}", "mend the link")
    own = course.steps.get(rung.id)
    if own is not None and listed != list(own):
        what = f"lists {len(listed)} steps, {rung.source} has {len(own)}"
        yield Finding(file, steps, what, "list each of them once, in order")


def check_reflection(course: Course, rung: Checkpoint) -> Iterator[Finding]:
    """The file asks the question, and holds no answer yet."""
    file = file_of(rung)
    text = course.text(file)
    if text is None:
        return
    if not text.startswith("# Reflection: "):
        yield Finding(file, 1, "does not begin with its heading", "write `# Reflection: Name`")
    if not re.search(r"^ {0,3}> *\w", text, re.MULTILINE):
        yield Finding(file, 1, "asks nothing", "put the module's question in a block quote")
    if answer(text):
        line = text[: text.index(answer(text).split("\n")[0])].count("\n") + 1
        yield Finding(file, line, "holds an answer already", "leave that to the student")


# The tree


def check_released(course: Course) -> Iterator[Finding]:
    """Students get the file of every checkpoint that the ladder names."""
    for rung in left_out(course.ladder, course.files):
        fact, mend = why_left_out(course.root, rung)
        if isinstance(rung, Custom) or (course.root / rung.file).exists():  # else found already
            yield Finding(rung.file, 1, fact, mend)


def check_marks(course: Course) -> Iterator[Finding]:
    """No course-only part is unbalanced, and no mark of one is left in a release."""
    for file in course.files:
        if is_course_only(file) or (course.root / file).is_dir():
            continue
        data = (course.root / file).read_bytes()
        if b"-only" not in data or b"\0" in data:
            continue
        text = data.decode("utf-8", "replace")
        try:
            released = select_parts(text, file)
        except FileProblem as problem:
            yield as_finding(problem)
            continue
        for line in released.split("\n"):
            if "course-only" in line or "student-only" in line:
                number = text.split("\n").index(line) + 1
                mend = "write it as the other files do, or leave the file out of the release"
                yield Finding(file, number, f"students would read {line.strip()[:60]!r}", mend)


def check_strays(course: Course) -> Iterator[Finding]:
    """Nothing lies in modules/, checkpoints/ and milestones/ that does not belong there."""
    ladder = course.ladder
    rungs = {rung.folder: rung for rung in ladder.checkpoints}
    known = {LADDER_FILE.as_posix()}
    known |= {f"checkpoints/{name}.py" for name in ("__init__", "conftest", "feedback")}
    known |= {rung.file for rung in (*ladder.checkpoints, *ladder.custom)}
    exported = {f"tinytorch/core/{rung.module}.py" for rung in ladder.checkpoints}
    for file in course.files:
        folder, *rest = file.split("/")
        stray = False
        if folder == "modules" and len(rest) > 1:
            rung = rungs.get(rest[0])
            name = "/".join(rest[1:])
            own = ("README.md", "hints.toml", "reflection.md", f"{rung.module}.py") if rung else ()
            stray = name not in own and (rung is None or not shown(course, rung, name))
        elif folder == "checkpoints":
            stray = file not in known
        elif folder == "milestones" and len(rest) > 1:
            stray = rest[0] not in {"data", *(m.id for m in ladder.milestones)}
        if stray or file in exported or _LEFT_BEHIND.search(file):
            yield Finding(file, 1, "does not belong here", "remove it, or show it in the README")


def shown(course: Course, rung: Checkpoint, name: str) -> bool:
    """Whether a module's README links to a file beside it."""
    readme = course.root / "modules" / rung.folder / "README.md"
    return readme.is_file() and f"]({name})" in readme.read_text(encoding="utf-8")


def check_spoilers(course: Course) -> Iterator[Finding]:
    """No hint and no README holds a line of a solution."""
    sources = {module.file for module in course.modules.values()}
    if any(is_module(f) and f not in sources for f in course.files):
        return  # a module that cannot be read, or is none of the ladder's, is a finding already
    names = ("README.md", "hints.toml", "reflection.md")
    mine = [f for f in course.files if f.startswith("modules/") and f.endswith(names)]
    for leak in leaks(course.root, {file: (course.root / file).read_bytes() for file in mine}):
        what = f"gives away a line of {leak.solution}: {leak.text!r}"
        yield Finding(leak.file, leak.line, what, "say the idea, not the line")


# What can only be seen by running it


def check_runs(root: Path, ladder: Ladder, rungs: list[Checkpoint], seed: int) -> list[Finding]:
    """Grade some rungs on the solutions, where all must pass, and on stubs, where nothing has
    been started."""
    found = [*_reference(root, ladder, rungs, seed)]
    try:
        tree = build(root)
    except FileProblem as problem:
        return sorted([*found, as_finding(problem)])
    except ReleaseError as error:
        mend = "a release must be possible"
        return sorted([*found, Finding(LADDER_FILE.as_posix(), 1, str(error), mend)])
    with tempfile.TemporaryDirectory(prefix="tito-dev-") as folder:
        for path, data in tree.items():
            write_atomic(Path(folder) / path, data)
        found += _stubs(Path(folder), ladder, rungs, seed)
    return sorted(found)


def _lines(root: Path, rung: Checkpoint) -> dict[str, int]:
    """The line of each test of a checkpoint."""
    tests, _ = asked_by(ast.parse(read_text(root, rung.file)), rung.file)
    return {test.name: test.line for test in tests}


def _told(test: Outcome) -> str:
    return test.failure.headline if test.failure else ""


def _reference(root: Path, ladder: Ladder, rungs: list[Checkpoint], seed: int) -> Iterator[Finding]:
    """What does not pass on the solutions; a timing gets more than one chance."""
    from tito.grading.grade import grade

    report = grade(root, ladder, rungs, seed=seed)
    for rung in rungs:
        result = report.by_id[rung.id]
        for _ in range(REPEATS):
            if {t.kind for t in result.tests if t.status != "passed"} == {"performance"}:
                result = grade(root, ladder, [rung], seed=seed).by_id[rung.id]
        yield from _not_passed(root, rung, result, seed)


def _not_passed(
    root: Path, rung: Checkpoint, result: CheckpointResult, seed: int
) -> Iterator[Finding]:
    """The tests of one checkpoint that do not pass on the solutions."""
    if not result.tests:
        what = f"gives no result: {result.message or 'it has no test'}"
        yield Finding(rung.file, 1, what, f"see: tito checkpoint run {rung.id}")
        return
    lines = _lines(root, rung)
    for test in result.tests:
        if test.status != "passed":
            what = f"{test.name} does not pass on the solutions: {_told(test)}"
            mend = f"see: tito checkpoint run {rung.id} --seed {seed}"
            yield Finding(rung.file, lines.get(test.name.partition("[")[0], 1), what, mend)


def _stubs(root: Path, ladder: Ladder, rungs: list[Checkpoint], seed: int) -> Iterator[Finding]:
    """What is not as it must be where nothing has been written."""
    from tito.grading.grade import grade

    report = grade(root, ladder, rungs, seed=seed)
    for rung in rungs:
        result = report.by_id[rung.id]
        if result.status != "not_started":
            what = f"is {result.status} on stubs, not not_started"
            yield Finding(rung.file, 1, what, "every test must meet a stub")
        lines = _lines(root, rung)
        for test in result.tests:
            name = test.name.partition("[")[0]
            free = name in rung.free
            if (test.status == "passed") == free and test.status in ("passed", "not_started"):
                place = test.failure and test.failure.file and test.failure.line
                if not free and not place:
                    what = f"{test.name} names no place to begin"
                    yield Finding(rung.file, lines.get(name, 1), what, "mend its `of`")
                continue
            what = f"{test.name} is {test.status} on stubs"
            what += f": {_told(test)}" if _told(test) else ""
            mend = "let it call what the student writes"
            if free:
                mend = f"take it out of `free` in {LADDER_FILE.name}"
            elif test.status == "passed":
                mend += f", or list it as `free` in {LADDER_FILE.name}"
            yield Finding(rung.file, lines.get(name, 1), what, mend)
