"""Run benchmarks, keep their figures in results/, and bring the table in README.md up to date.

    python scripts/bench/record.py [NAME …] [--runs N] [--threads N]

NAME is mlp, conv … (default: every bench_*.py here), `milestones` for the records that full runs
of the milestones left in the tree, or `readme`, which measures nothing and only writes the table
anew. A result is replaced when its benchmark ran to the end, whether it kept its limit or not.
Run it on a machine that does nothing else. Exit status 1 if a limit was missed or a run broke.
"""

import argparse
import importlib.metadata
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tito.ladder import load_ladder
from tito.milestones import MilestoneRecord, parse_record, read_record

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
PACKAGES = ("numpy", "torch")

# What a benchmark's ratio is, in the order of the table.
TITLES = {
    "mlp": "training an MLP, against PyTorch",
    "conv": "convolution forward and backward, against PyTorch",
    "cnn": "training a small CNN, against PyTorch",
    "gpt": "training a small GPT, against PyTorch",
    "autograd": "the reverse pass, against PyTorch",
    "dataloader": "an epoch of augmented batches, against torch.utils.data",
    "bpe": "training a BPE tokenizer on twice the text",
    "cache": "generation with a cache of keys and values, over without",
    "int8": "an INT8 layer, over float32",
    "server": "answers of the server, in batches over one by one",
    "grade": "grading the whole ladder, isolated over in one process",
    "startup": "start of a command, over `import rich.console`",
    "watch": "from a save to the answer of `tito watch`",
}


def benches() -> list[str]:
    """The names of the benchmarks here, in the order of the table."""
    names = {path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py")}
    return [*(n for n in TITLES if n in names), *sorted(names - set(TITLES))]


# Measure


def machine() -> str:
    """The processor's name and the system, without the name of the computer."""
    info = Path("/proc/cpuinfo")
    rows = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    processor = named[0] if named else platform.processor() or platform.machine()
    return f"{processor}, {platform.system()}"


def versions() -> dict[str, str]:
    """Python's version, and those of the packages that a figure depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def measure(name: str, options: list[str]) -> bool:
    """Run one benchmark and keep its figures; False if it missed a limit or broke."""
    print(f"\n{name}: {TITLES.get(name, '')}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        command = [sys.executable, str(HERE / f"bench_{name}.py"), "--json", str(file), *options]
        done = subprocess.run(command, cwd=folder, check=False)
        if not file.exists():
            print(f"{name} wrote no figures: its record stays as it was", file=sys.stderr)
            return False
        figures = json.loads(file.read_text(encoding="utf-8"))
    facts = {
        "bench": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
    }
    keep(name, facts | (figures if "rows" in figures else {"figures": figures}))
    return done.returncode == 0


def keep(name: str, record: dict[str, Any]) -> None:
    """Write one record."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")


def keep_milestones() -> None:
    """Take the records of milestones from the tree; a quick run never replaces a full one."""
    for milestone in load_ladder(ROOT).milestones:
        name = f"milestone_{milestone.id[:2]}"
        found = read_record(ROOT, milestone)
        old = kept_milestones().get(milestone.id)
        if found is None or (found.quick and old is not None and not old.quick):
            print(f"{milestone.id}: {'no record' if found is None else 'a quick run'}, left as is")
            continue
        keep(name, replace(found, curves=()).to_json())
        print(found.summary)


# What the records say


def kept() -> dict[str, dict[str, Any]]:
    """The records of benchmarks by name, in the order of the table."""
    files = {name: RESULTS / f"{name}.json" for name in benches()}
    return {n: json.loads(f.read_text(encoding="utf-8")) for n, f in files.items() if f.exists()}


def kept_milestones() -> dict[str, MilestoneRecord]:
    """The records of milestones by id."""
    found = {}
    for milestone in load_ladder(ROOT).milestones:
        file = RESULTS / f"milestone_{milestone.id[:2]}.json"
        if file.exists():
            found[milestone.id] = parse_record(file.read_text(encoding="utf-8"), milestone)
    return found


def time_of(seconds: float) -> str:
    """A time with its unit, three digits of it."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def line(what: str, row: dict[str, Any]) -> str:
    """One row of the table from a comparison of times."""
    sides = f"{time_of(row['ours'])} / {time_of(row['theirs'])}"
    spread = f"{row['low']:.2f}–{row['high']:.2f}"
    return f"| {what} | {sides} | {row['ratio']:.2f} | {spread} | {row['limit']:g} |"


def lines(name: str, record: dict[str, Any]) -> Iterator[str]:
    """The rows of one benchmark: of all comparisons with a limit the one that is nearest to it."""
    title = TITLES.get(name, name)
    limited = [row for row in record.get("rows", ()) if row["limit"] is not None]
    if limited:
        row = max(limited, key=lambda row: row["ratio"] / row["limit"])
        worst = f", the worst of {len(limited)}" if limited[1:] else ""
        yield line(f"{title} ({row['name'].strip()}{worst})", row)
    if weights := record.get("memory"):
        row = max(weights, key=lambda row: row["ratio"])
        sides = f"{row['ours'] / 1e6:.3g} MB / {row['theirs'] / 1e6:.3g} MB"
        yield f"| its memory, the worst of {len(weights)} | {sides} | {row['ratio']:.2f} | | 2.5 |"
    if name == "int8":
        large, small = record["bytes"]
        sides = f"{small / 1e6:.3g} MB / {large / 1e6:.3g} MB"
        error = f"{record['error']:.1%} error"
        yield f"| {title}: size ({error}) | {sides} | {small / large:.3f} | | {1 / 3.9:.3f} |"


def watch_line(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """The sentence on `tito watch`, which is compared with nothing: its slowest module."""
    step, check = (max(m[kind]["median"] for m in figures.values()) for kind in ("step", "all"))
    return (
        f"`tito watch` shows the unit tests of the step {time_of(step)} after a save, and the "
        f"checkpoint {time_of(check)} after it (the slowest of {', '.join(figures)})."
    )


def milestone_lines() -> Iterator[str]:
    """The rows of the milestones: the figure that decides, and what it must reach."""
    titles = {milestone.id: milestone.title for milestone in load_ladder(ROOT).milestones}
    for record in kept_milestones().values():
        value = "none" if record.value is None else f"{record.value:.4g}"
        bound = "at least" if record.better == "higher" else "at most"
        run = "quick" if record.quick else "full"
        took = time_of(record.seconds) if record.seconds < 120 else f"{record.seconds / 60:.0f} min"
        data = f"{record.dataset}, " if record.dataset else ""
        what = f"{record.year} {titles[record.id]}: {data}{run} run"
        figure = record.figure.replace("_", " ")
        yield f"| {what} | {figure} {value} | {bound} {record.target:g} | {took} |"


def table() -> str:
    """The figures as Markdown; empty where nothing has been recorded."""
    parts = []
    records = kept()
    rows = [row for name, record in records.items() for row in lines(name, record)]
    if rows:
        heads = "| time of | ours / theirs | ratio | quartiles | at most |\n|---|---|---|---|---|"
        parts.append("\n".join([heads, *rows]))
        if "watch" in records:
            parts.append(watch_line(records["watch"]["figures"]))
        places = {
            r["machine"] + (f", {r['threads']} threads" if "threads" in r else "")
            for r in records.values()
        }
        days = sorted({r["date"] for r in records.values()})
        when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        packages = {k: v for r in records.values() for k, v in r["versions"].items()}
        with_what = ", ".join(f"{k} {v}" for k, v in packages.items())
        parts.append(
            f"Medians of rounds in turns, {when}; {'; '.join(sorted(places))}; {with_what}."
        )
    if rows := list(milestone_lines()):
        heads = "| milestone | reached | must | took |\n|---|---|---|---|"
        parts.append("\n".join([heads, *rows]))
    return "\n\n".join(parts)


def with_table(text: str) -> str:
    """The README with its table between the marks as the records have it."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"README.md has no {BEGIN} … {END}")
    body = table()
    return (
        f"{before}{BEGIN}\n\n{body}\n\n{END}{after}" if body else f"{before}{BEGIN}\n{END}{after}"
    )


def main() -> int:
    """Measure what was named, then write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--runs", help="rounds of each comparison, if not each benchmark's own")
    parser.add_argument("--threads", help="of both sides")
    options = parser.parse_args()
    known = [*benches(), "milestones", "readme"]
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"there is no {unknown[0]}; there are: {', '.join(known)}")
    passed = [f"--{k}={v}" for k in ("runs", "threads") if (v := getattr(options, k))]
    wanted = options.names or benches()
    if set(wanted) & set(benches()):
        command = [sys.executable, "-m", "tito", "-C", str(ROOT), "export", "--all"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    fine = [measure(name, passed) for name in wanted if name in benches()]
    if "milestones" in wanted:
        keep_milestones()
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")
    return 0 if all(fine) else 1


if __name__ == "__main__":
    raise SystemExit(main())
