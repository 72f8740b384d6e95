"""Parse a module file: its cells, directives, steps and solution regions.

A module is a Python file in percent format. A code cell says by its first line what it is:
`#| default_exp core.tensor` names the exported module, `#| export` is copied to it,
`#| test` holds unit tests, and a cell without a directive is for trying things out.
"""

import ast
import re
from dataclasses import dataclass
from functools import cached_property

from tito.files import FileProblem, empty
from tito.markers import BEGIN, END

DIRECTIVES = ("default_exp", "export", "test")

_MARKER = re.compile(r"^\s*#+\s*(begin|end)[\s_-]*solution\b.*$", re.IGNORECASE)
_CELL = re.compile(r"^# %%(?P<rest>.*)$")
_DIRECTIVE = re.compile(r"^#\s*\|\s*(?P<name>\w+)?(?P<rest>.*)$")
_HEADING = re.compile(r"^# ##? (?P<title>.+)$")
_STEP = re.compile(r"^# ## Step (?P<number>\d+)\b")


@dataclass(frozen=True)
class Cell:
    """A run of lines: `role` is prose, default_exp, export, test or try.

    `start` is the line of the `# %%` mark, `end` the last line; both count from 1.
    """

    role: str
    start: int
    end: int
    step: int | None


@dataclass(frozen=True)
class Region:
    """A solution: the lines of its two markers, the function around it, and its step."""

    begin: int
    end: int
    name: str
    step: int | None


@dataclass(frozen=True)
class ModuleSource:
    """A module file, understood. Line numbers count from 1 and are those of the file."""

    file: str
    lines: tuple[str, ...]
    target: str
    cells: tuple[Cell, ...]

    def select(self, *roles: str) -> list[str]:
        """The file's lines with every cell of another role left blank."""
        kept = [""] * len(self.lines)
        for cell in self.cells:
            if cell.role in roles:
                kept[cell.start : cell.end] = self.lines[cell.start : cell.end]
        return ["" if line.startswith("#|") else line for line in kept]

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree of the exported cells, with the file's own line numbers."""
        return compile_check("\n".join(self.select("export")), self.file)

    @cached_property
    def definitions(self) -> dict[str, int]:
        """Qualified name of each exported function and class, and its first line."""
        return {name: node.lineno for name, node in _definitions(self.tree)}

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """The solutions in order; every problem with a marker is an error."""
        return tuple(_regions(self))

    def step_of(self, line: int) -> int | None:
        """The step that a line belongs to."""
        return next((c.step for c in self.cells if c.start <= line <= c.end), None)

    def locate(self, name: str) -> int | None:
        """The line where `name` is defined; `Tensor.sum` may also be the function `sum`."""
        for candidate in (name, name.rpartition(".")[2], name.partition(".")[0]):
            if candidate in self.definitions:
                return self.definitions[candidate]
        return None

    def place(self, of: str, step: int | None, call: str) -> int | None:
        """The line to open when a call went wrong: a test may be about more than one function.

        It is that of the step's own function which the call names, such as `mean(axis=1)`, or of
        the property at its end, such as `Roofline(4, 2).ridge`; else that of `of`.
        """
        called = re.findall(r"\w+(?=\()", call)
        if of.rpartition(".")[2] not in called:
            steps = [region.name for region in self.regions if region.step == step]
            of = next((name for name in called if name in steps), of)
            ending = re.search(r"\)(\.\w+)$", call)
            of = next((name for name in steps if ending and name.endswith(ending[1])), of)
        return self.locate(of)

    def named(self, call: str, kind: str) -> int | None:
        """The line of what a call names, for a test that is about more than its own step.

        One of every name (kind "imports") means the first function or class that its call names;
        one of the whole ("integration") means the step's function that its call begins with.
        """
        if kind == "integration":
            begin = re.match(r"\w+(?=\()", call)
            known = {region.name for region in self.regions}
            return self.definitions[begin[0]] if begin and begin[0] in known else None
        for name in re.findall(r"[A-Za-z_][\w.]*(?=\()|^[\w.]+$", call):
            for candidate in (name, name.rpartition(".")[2]):
                if kind == "imports" and candidate in self.definitions:
                    return self.definitions[candidate]
        return None


def compile_check(text: str, file: str) -> ast.Module:
    """Parse Python text; a syntax error becomes a `FileProblem` with its line."""
    try:
        return ast.parse(text, filename=file)
    except SyntaxError as error:
        raise FileProblem(
            file, f"syntax error: {error.msg}", "mend this line", error.lineno or 1
        ) from None
    except (RecursionError, MemoryError):
        raise FileProblem(file, "is nested too deeply to parse", "simplify the code") from None
    except ValueError as error:
        raise FileProblem(file, f"cannot be parsed: {error}", "save it as UTF-8 text") from None


def _definitions(tree: ast.AST) -> list[tuple[str, ast.AST]]:
    """All functions and classes below a node with their qualified names, in order."""
    found: list[tuple[str, ast.AST]] = []
    waiting = [(tree, "")]  # no recursion: a student's text may be nested deeper than our stack
    while waiting:
        node, prefix = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append((prefix + node.name, node))
            prefix += f"{node.name}."
        children = [n for n in ast.iter_child_nodes(node) if not isinstance(n, ast.expr)]
        waiting += [(child, prefix) for child in reversed(children)]
    return found


def _directive(file: str, lines: tuple[str, ...], start: int, end: int) -> tuple[str, str, int]:
    """The directive of a code cell: its name ("try" for none), its argument and its line."""
    name, argument, at = "try", "", 0
    top = True
    for number in range(start + 1, end + 1):
        line = lines[number - 1]
        match = _DIRECTIVE.match(line)
        if match is None:
            top = top and not line.strip()
            continue
        word, rest = match["name"] or "", match["rest"].strip()
        if word not in DIRECTIVES:
            from difflib import get_close_matches

            near = get_close_matches(word, DIRECTIVES, n=1)
            mend = (
                f"did you mean `#| {near[0]}`?" if near else f"use one of {', '.join(DIRECTIVES)}"
            )
            raise FileProblem(file, f"unknown directive {line.strip()!r}", mend, number)
        if not line.startswith(f"#| {word}"):
            raise FileProblem(
                file,
                f"malformed directive {line.strip()!r}",
                f"write `#| {word}`",
                number,
            )
        if not top:
            raise FileProblem(
                file,
                f"directive {line.strip()!r} is not at the top of its cell",
                "move it up",
                number,
            )
        if at:
            raise FileProblem(file, "a cell has two directives", "keep one of them", number)
        if bool(rest) != (word == "default_exp"):
            mend = (
                "write `#| default_exp core.name`"
                if word == "default_exp"
                else f"write `#| {word}`"
            )
            raise FileProblem(file, f"malformed directive {line.strip()!r}", mend, number)
        name, argument, at = word, rest, number
    return name, argument, at


def parse(text: str, file: str) -> ModuleSource:
    """Understand a module file.

    Args:
        text: Its content.
        file: Its path from the root of the tree, for messages.

    Raises:
        FileProblem: For the first malformed directive or marker; names the line and the mend.
    """
    if not text.strip():
        raise empty(file)
    lines = tuple(text.split("\n"))
    if lines[-1] == "":
        lines = lines[:-1]
    marks = [n for n, line in enumerate(lines, 1) if _CELL.match(line)]
    if not marks:
        raise FileProblem(file, "has no cells", "start each cell with a line `# %%`")
    cells: list[Cell] = []
    target, step = "", None
    for start, end in zip(marks, [m - 1 for m in marks[1:]] + [len(lines)], strict=True):
        rest = _CELL.match(lines[start - 1])["rest"].strip()  # type: ignore[index]
        if rest.startswith(("[markdown]", "[md]")):
            step = _step_after(lines[start:end], step)
            cells.append(Cell("prose", start, end, step))
            continue
        role, argument, at = _directive(file, lines, start, end)
        if role == "default_exp":
            if target:
                raise FileProblem(file, "names its export twice", "keep one `#| default_exp`", at)
            if not re.fullmatch(r"core(\.[a-z_][a-z0-9_]*)+", argument):
                raise FileProblem(
                    file,
                    f"cannot export to {argument!r}",
                    "use a name such as core.tensor",
                    at,
                )
            target = argument
        cells.append(Cell(role, start, end, step))
    if not target:
        raise FileProblem(file, "does not say where it is exported", "add `#| default_exp core.…`")
    module = ModuleSource(file, lines, target, tuple(cells))
    _check_markers(module)
    return module


def _step_after(lines: tuple[str, ...], step: int | None) -> int | None:
    """The step in force after a prose cell: a `## Step N` begins one, another `##` ends it."""
    for line in lines:
        if _STEP.match(line):
            step = int(_STEP.match(line)["number"])  # type: ignore[index]
        elif _HEADING.match(line):
            step = None
    return step


def _check_markers(module: ModuleSource) -> list[tuple[int, int]]:
    """Pair the solution markers; nested, unclosed, stray and misspelt ones are errors."""
    pairs: list[tuple[int, int]] = []
    opened = 0
    for number, line in enumerate(module.lines, 1):
        if not _MARKER.match(line):
            continue
        word = line.strip()
        if word not in (BEGIN, END):
            near = BEGIN if "begin" in word.lower() else END
            raise FileProblem(
                module.file,
                f"malformed marker {word[:60]!r}",
                f"write `{near}`",
                number,
            )
        if word == BEGIN and opened:
            raise FileProblem(
                module.file,
                f"a solution begins inside the one of line {opened}",
                f"close that one first with `{END}`",
                number,
            )
        if word == END and not opened:
            raise FileProblem(
                module.file,
                "a solution ends that never began",
                f"remove it, or add `{BEGIN}`",
                number,
            )
        if word == BEGIN:
            opened = number
        else:
            pairs.append((opened, number))
            opened = 0
    if opened:
        raise FileProblem(
            module.file, "a solution is never closed", f"add `{END}` after it", opened
        )
    return pairs


def _regions(module: ModuleSource) -> list[Region]:
    """Attach each pair of markers to the innermost function around it."""
    functions = [
        (name, node)
        for name, node in _definitions(module.tree)
        if not isinstance(node, ast.ClassDef)
    ]
    regions = []
    for begin, end in _check_markers(module):
        around = [
            (node.lineno, name)
            for name, node in functions
            if node.lineno < begin
            and begin <= (node.end_lineno or 0) + 1
            and node.col_offset
            < len(module.lines[begin - 1]) - len(module.lines[begin - 1].lstrip())
        ]
        if not around:
            raise FileProblem(
                module.file,
                "a solution outside a function",
                "put the markers inside its body",
                begin,
            )
        regions.append(Region(begin, end, max(around)[1], module.step_of(begin)))
    return regions
