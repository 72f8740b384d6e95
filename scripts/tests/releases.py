"""Small releases of a small course, and repositories that students made from them."""

import subprocess
from pathlib import Path

from tito.manifest import MANIFEST_FILE, dump_manifest, make_manifest

LADDER = (Path(__file__).resolve().parents[2] / "checkpoints" / "ladder.toml").read_bytes()
TENSOR = "modules/01_tensor/tensor.py"
LAYERS = "modules/03_layers/layers.py"
FEEDBACK = "checkpoints/feedback.py"
SOLVED = "    total = x + y\n    return total\n"


def git(*arguments: str, at: Path, data: bytes | None = None) -> str:
    """What Git prints; the text of a failure."""
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    command = ["git", "-C", str(at), *who, *arguments]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def step(number: int, name: str, lines: int, title: str = "Title") -> str:
    """A step of a module with the stub of one function."""
    return f'''\
# %% [markdown]
# ## Step {number}: {title} {name}
#
# What {name} is for, and why it costs what it costs.

# %%
#| export
def {name}(x, y):
    """Do what {name} does."""
    ### BEGIN SOLUTION
    # about {lines} line{"s" if lines != 1 else ""}
    raise NotImplementedError("module 01, step {number}: {name}")
    ### END SOLUTION


# %%
{name}_shown = "{name}"

'''


def module(name: str, *steps: str) -> str:
    """A module's stub."""
    head = f"# %% [markdown]\n# # {name}\n#\n# A purpose.\n\n# %%\n#| default_exp core.{name}\n\n"
    return head + "".join(steps)


def tree() -> dict[str, bytes]:
    """The files of a first release."""
    texts = {
        ".gitattributes": "* text=auto eol=lf\n",
        ".gitignore": ".tito/\n__pycache__/\n/report.json\n",
        "README.md": "# The course\n\nOne.\n\nTwo.\n\nThree.\n",
        FEEDBACK: "FACT = 1\n",
        "badges/level.svg": "<svg>0</svg>\n",
        "modules/01_tensor/README.md": "# Tensor\n",
        "modules/01_tensor/reflection.md": "# Reflection: tensor\n\n> Why?\n",
        TENSOR: module("tensor", *(step(n + 1, w, 2) for n, w in enumerate(("add", "mul", "sum")))),
        LAYERS: module("layers", step(1, "linear", 4), step(2, "dropout", 3)),
        "pyproject.toml": "[project]\n",
        "scripts/tito/tool.py": "x = 1\n",
        "scripts/tito/gone.py": "y = 1\n",
    }
    return {"checkpoints/ladder.toml": LADDER, **{p: t.encode() for p, t in texts.items()}}


def release(files: dict[str, bytes], version: str = "1.0.0") -> dict[str, bytes]:
    """A release with its manifest."""
    return {**files, MANIFEST_FILE: dump_manifest(make_manifest(version, files)).encode()}


def changed(files: dict[str, bytes], path: str, old: str, new: str) -> dict[str, bytes]:
    """The files with one replacement in one of them."""
    text = files[path].decode()
    assert text.count(old) == 1, (path, old)
    return {**files, path: text.replace(old, new).encode()}


def lay_out(folder: Path, files: dict[str, bytes]) -> Path:
    """Make a folder hold these files and, beside `.git`, no others."""
    for path in [p for p in folder.rglob("*") if p.is_file() and ".git" not in p.parts]:
        path.unlink()
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def commit(folder: Path, subject: str) -> str:
    """Commit everything in a folder; a repository is begun where there is none."""
    if not (folder / ".git").exists():
        git("init", "--quiet", "--initial-branch=main", at=folder)
        git("config", "user.name", "Ada", at=folder)
        git("config", "user.email", "ada@example.org", at=folder)
    git("add", "--all", at=folder)
    git("commit", "--quiet", "--allow-empty", "-m", subject, at=folder)
    return git("rev-parse", "HEAD", at=folder)


def solve(root: Path, path: str, name: str, body: str = SOLVED) -> None:
    """Write a solution in place of a stub."""
    text = (root / path).read_text(encoding="utf-8")
    begin = text.index("    ### BEGIN SOLUTION\n", text.index(f"def {name}(")) + 23
    end = text.index("    ### END SOLUTION", begin)
    (root / path).write_text(text[:begin] + body + text[end:], encoding="utf-8")
