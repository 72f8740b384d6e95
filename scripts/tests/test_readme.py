"""The READMEs, in the course and as students get them: links, commands, sessions and figures."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path, PurePosixPath

import pytest

from tito.cli.main import build_parser
from tito.ladder import Checkpoint, Ladder
from tito.release import build, write

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULES = (ROOT / "modules" / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:`|^ +(?:\$ )?|bootstrap\.py )tito ([a-z]+)", re.MULTILINE)
SCRIPT = re.compile(r"(?<![\w/.])(?:\.ci/run\b|(?:scripts|checkpoints|modules)/[\w/]*\w\.\w+)")
STEP = re.compile(r"^    \$ (.*)\n((?:(?:    (?!\$ ).*)?\n)*)", re.MULTILINE)


@pytest.fixture(scope="module")
def released() -> dict[str, bytes]:
    return build(ROOT)


def pages(tree: dict[str, bytes]) -> dict[str, str]:
    """The Markdown files of a release, without their code blocks in fences."""
    texts = {path: data.decode() for path, data in tree.items() if path.endswith(".md")}
    return {p: re.sub(r"```.*?```", "", text, flags=re.DOTALL) for p, text in texts.items()}


# What students get


def test_every_link_of_a_released_page_leads_somewhere(released):
    known = {parent.as_posix() for path in released for parent in PurePosixPath(path).parents}
    for path, text in pages(released).items():
        for target in LINK.findall(text):
            if re.match(r"https?:|mailto:|#", target) or "raw/badges" in target:
                continue
            place = os.path.normpath(PurePosixPath(path).parent / target.partition("#")[0])
            assert Path(place).as_posix() in known | set(released), f"{path}: {target}"


def test_every_command_of_a_released_page_exists(released):
    body = ast.parse(released["scripts/tito/cli/main.py"]).body
    (table,) = (
        node.value
        for node in body
        if isinstance(node, ast.Assign) and node.targets[0].id == "COMMANDS"
    )
    known = set(ast.literal_eval(table))
    assert "release" not in known
    for path, text in pages(released).items():
        assert set(COMMAND.findall(text)) <= known, path


def test_every_file_that_a_released_page_names_is_there(released):
    made_later = {"scripts/manifest.json"}
    for path, text in pages(released).items():
        for name in SCRIPT.findall(text):
            assert name in released.keys() | made_later or "NN" in name, f"{path}: {name}"


def test_every_file_that_the_readme_names_is_there():
    for name in SCRIPT.findall(README):
        assert (ROOT / name).exists() or "NN" in name, name


def test_the_badges_are_shown_from_where_they_are(released):
    shown = re.findall(r"\]\(\.\./\.\./raw/badges/([^)]+)\)", released["README.md"].decode())
    assert {"badges/level.svg", "badges/score.svg", "badges/timeline.svg"} <= set(shown)
    assert set(shown) <= set(released)


def test_no_part_for_others_is_left(released):
    text = released["README.md"].decode()
    assert "only -->" not in text
    for word in ("tito release", "tito start", ".ci/run", "scripts/bench", "TEMPLATE_TOKEN"):
        assert word not in text, word
    assert "\n\n\n" not in text


WHOLE = re.compile(
    r"`tito ([^`\n]+)`|^ {4}(?:\$ |python3 scripts/bootstrap\.py )?tito (.+?)(?:  .*)?$",
    re.MULTILINE,
)


@pytest.mark.parametrize(
    "words", sorted({a or b for a, b in WHOLE.findall(README + MODULES)}), ids=lambda w: w
)
def test_every_command_of_the_readmes_is_understood(words):
    """With its actions, arguments and options."""
    given = words.replace("DIR", "folder").replace(" N", " 7").split()
    options, rest = build_parser(given[0]).parse_known_args(given)
    assert not rest
    assert callable(options.run)


# The session


def steps() -> list[tuple[str, str]]:
    """The commands of the README's session, each with what it prints."""
    found = []
    for command, block in STEP.findall(README):
        rows = [row[4:] for row in block.split("\n")]
        found.append((command, "\n".join(rows).strip("\n")))
    return found


def steady(text: str) -> str:
    """Without what differs from run to run: seconds, line numbers, spaces at the ends of lines."""
    text = re.sub(r"\b\d+\.\d s\b", "… s", text)
    text = re.sub(r"(?<=\.py:)\d+", "…", text)
    return "\n".join(row.rstrip() for row in text.strip().split("\n"))


@pytest.mark.slow
def test_the_session_of_the_readme_is_what_happens(released, tmp_path):
    tree = tmp_path / "my tree"
    write(released, tree, ROOT)
    module = "modules/01_tensor/tensor.py"
    text = (ROOT / module).read_text(encoding="utf-8")
    wrongs = (ROOT / "scripts/tests/mutants/01_tensor.toml").read_text(encoding="utf-8")
    named = {mutant["name"]: mutant for mutant in tomllib.loads(wrongs)["mutant"]}
    wrong = named["sum ignores keepdims"]
    setup = "modules/00_setup/setup.py"
    (tree / setup).write_bytes((ROOT / setup).read_bytes())

    def tito(words: str) -> str:
        command = [sys.executable, "-P", "-m", "tito", "-C", str(tree), *words.split()]
        environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONUTF8": "1"}
        done = subprocess.run(
            command,
            check=False,
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    tito("module complete 00")
    written = {
        "tito export 01": text.replace(wrong["find"], wrong["replace"]),
        "tito module complete 01": text,
    }
    for command, shown in steps():
        if command in written:
            (tree / module).write_text(written[command], encoding="utf-8")
        assert steady(tito(command.removeprefix("tito "))) == steady(shown), command


def test_the_session_has_its_commands():
    begun = [command for command, _ in steps()]
    assert begun == [
        "tito module start 01",
        "tito export 01",
        "tito checkpoint run 01",
        "tito module complete 01",
    ]


# The overview of the modules

WORDS = {
    "an": "1",
    "two and a half": "2.5",
    **{word: str(n) for n, word in enumerate("two three four five six seven eight".split(), 2)},
}


def hours(rung: Checkpoint) -> tuple[float, float]:
    """The least and the most hours that a module says it takes."""
    said = re.search(r"\*\*Time\*\*: (.*?) hours?\b", (ROOT / rung.source).read_text("utf-8"))[1]
    said = said.removeprefix("about ")
    ends = [float(WORDS.get(end, end)) for end in (said.split(" to ") * 2)[:2]]
    return ends[0], ends[1]


def row(rung: Checkpoint) -> str:
    """A module's line in modules/README.md."""
    least, most = hours(rung)
    time = f"{least:g} h" if least == most else f"{least:g}–{most:g} h"
    link = f"[{rung.id} {rung.module}]({rung.folder}/README.md)"
    return f"| {link} | {rung.question} | {time} | {', '.join(rung.needs) or '–'} |"


def overview(ladder: Ladder) -> str:
    """The part of modules/README.md that the ladder and the modules decide."""
    parts = []
    starts = [tier.first for tier in ladder.tiers[1:]]
    for tier, (first, end) in zip(ladder.tiers, pairwise(["00", *starts, "99"]), strict=True):
        rungs = [rung for rung in ladder.checkpoints if first <= rung.id < end]
        parts.append(f"## {tier.name}")
        heads = "| module | the question it answers | time | builds on |\n|---|---|---|---|"
        parts.append("\n".join([heads, *map(row, rungs)]))
        runs = [
            f"- after {max(m.requires)}: [{m.year}, {m.title}](../milestones/{m.id}/README.md)"
            for m in ladder.milestones
            if first <= max(m.requires) < end
        ]
        parts += ["Then, on your own framework:", "\n".join(runs)]
    return "\n\n".join(parts) + "\n"


def test_the_overview_of_the_modules_is_the_ladders(ladder):
    head, mark, rest = MODULES.partition("## ")
    assert mark + rest == overview(ladder)
    middle = sum(sum(hours(rung)) / 2 for rung in ladder.checkpoints)
    assert f"about {round(middle, -1):.0f} hours in all" in head


# The figures


@pytest.fixture(scope="module")
def record():
    """scripts/bench/record.py as a module."""
    spec = importlib.util.spec_from_file_location("bench_record", ROOT / "scripts/bench/record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_figures_of_the_readme_are_the_recorded_ones(record):
    assert record.with_table(README) == README, "run: python scripts/bench/record.py readme"


def test_every_benchmark_has_its_title(record):
    assert set(record.benches()) <= set(record.TITLES)


def test_every_record_is_of_a_benchmark(record):
    known = {*record.benches(), *(f"milestone_{n:02}" for n in range(1, 7))}
    assert {path.stem for path in record.RESULTS.glob("*.json")} <= known
    for name, kept in record.kept().items():
        assert kept["bench"] == name
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", kept["date"])
        assert kept["machine"]
        assert kept["versions"]["python"]
        for comparison in kept.get("rows", ()):
            assert comparison["low"] <= comparison["ratio"] <= comparison["high"]


def test_a_benchmark_that_breaks_leaves_its_record(record, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(record, "HERE", tmp_path)
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    bench = tmp_path / "bench_mlp.py"
    bench.write_text(
        "import json, sys\n"
        "row = dict(name='step', ours=2.0, theirs=4e-3, ratio=1.25, low=1.2, high=1.3, limit=1.2)\n"
        "json.dump(dict(threads=2, sides=['a', 'b'], rows=[row]), open(sys.argv[2], 'w'))\n"
        "sys.exit(1)\n"
    )
    assert not record.measure("mlp", [])  # a limit was missed, and that is a figure too
    bench.write_text("raise SystemExit('no torch')")
    assert not record.measure("mlp", [])
    assert "its record stays as it was" in capfd.readouterr().err
    title = record.TITLES["mlp"]
    assert f"| {title} (step) | 2 s / 4 ms | 1.25 | 1.20–1.30 | 1.2 |" in record.table()
    assert record.with_table(record.BEGIN + record.END).count(title) == 1


def test_the_figures_of_watch_are_a_sentence(record):
    spread = {"median": 0.25, "low": 0.2, "high": 0.3}
    figures = {
        "01": {"step": spread, "all": spread | {"median": 1.5}},
        "02": {"step": spread, "all": spread},
    }
    text = record.watch_line(figures)
    assert "250 ms after a save, and the checkpoint 1.5 s after it (the slowest of 01, 02)" in text


def test_a_quick_run_of_a_milestone_never_replaces_a_full_one(
    record, ladder, tmp_path, monkeypatch
):
    def ran(quick: bool, value: float) -> None:
        run = {
            "schema_version": 1,
            "id": milestone.id,
            "year": milestone.year,
            "dataset": "digits",
            "quick": quick,
            "passed": True,
            "summary": "",
            "figure": "test_accuracy",
            "value": value,
            "target": 0.9,
            "better": "higher",
            "figures": [],
            "seconds": 300.0,
            "seed": 0,
            "finished_at": "2026-11-21T06:00:00Z",
            "code": "0" * 64,
            "versions": {"python": "3.13.0", "numpy": "2.4.0", "platform": "Linux"},
            "curves": [],
        }
        results = tmp_path / "milestones" / milestone.id / "results"
        results.mkdir(parents=True, exist_ok=True)
        (results / "record.json").write_text(json.dumps(run), encoding="utf-8")
        record.keep_milestones()

    milestone = ladder.milestones[2]
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/ladder.toml").write_bytes(
        (ROOT / "checkpoints/ladder.toml").read_bytes()
    )
    monkeypatch.setattr(record, "ROOT", tmp_path)
    monkeypatch.setattr(record, "RESULTS", tmp_path / "kept")
    ran(quick=True, value=0.91)
    assert "digits, quick run | test accuracy 0.91 | at least 0.9 | 5 min |" in record.table()
    ran(quick=False, value=0.98)
    ran(quick=True, value=0.92)
    assert "digits, full run | test accuracy 0.98 | at least 0.9 | 5 min |" in record.table()
    assert "quick run" not in record.table()
