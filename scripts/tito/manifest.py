"""The release manifest: what a student's tree was made of, and what has become of it since.

`scripts/manifest.json` is written by `tito release` alone. It names every file of the release by
its SHA-256, in three tables: `files` a student must not change, `modules` are the stubs they
fill in, `others` are theirs to change as they like (README, notes, editor settings).
"""

import hashlib
import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tito.files import FileProblem, read_bytes
from tito.record import nearest, shown

MANIFEST_FILE = "scripts/manifest.json"
SCHEMA_VERSION = 1
LARGEST = 64 << 20  # bytes of one file of the course
TABLES = ("files", "modules", "others")
AGAIN = f"bring it back with: git checkout HEAD -- {MANIFEST_FILE}, or with: tito update"

# Only here does a file that is not of the course matter: it might be imported by the grader.
WATCHED = ("checkpoints", "scripts", "tinytorch", ".github/workflows")
AT_THE_ROOT = ("conftest.py", "pytest.ini", "sitecustomize.py", "tox.ini", "setup.cfg")
# Python and its libraries try these and do without them; the root is on the path of the tool.
TRIED = (
    *("_scproxy", "_sha2", "_sha256", "_winapi", "_wmi", "java", "msvcrt", "nt", "org", "vms_lib"),
    *("winreg", "sitecustomize", "usercustomize"),
    *("IPython", "argcomplete", "attr", "exceptiongroup", "ipywidgets"),
)
_LEFT_BEHIND = re.compile(r"(^|/)(__pycache__|\..*_cache|\.ipynb_checkpoints)/|\.py[cod]$|\.tmp$")
# A student's own checkpoints: nothing imports them, and they run apart from the ladder's.
_OWN = re.compile(r"checkpoints/custom(_[a-z0-9_]+\.py|\.toml)")
_MODULE = re.compile(r"modules/\d\d_(\w+)/\1\.py")


class ManifestError(FileProblem):
    """The manifest cannot be used; the message says what is wrong with it."""

    def __init__(self, message: str, mend: str = AGAIN):
        super().__init__(MANIFEST_FILE, message, mend)


@dataclass(frozen=True)
class Manifest:
    """A release: its course version, and the SHA-256 of each of its files by path."""

    course_version: str
    files: Mapping[str, str]
    modules: Mapping[str, str]
    others: Mapping[str, str]

    @property
    def everything(self) -> dict[str, str]:
        """Every file of the release but the manifest itself."""
        return {**self.files, **self.modules, **self.others}


@dataclass(frozen=True)
class Findings:
    """The protected files of a tree against its manifest; paths in order."""

    modified: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether the tree is as it was released."""
        return not (self.modified or self.missing or self.unexpected)


@dataclass(frozen=True)
class Inspection:
    """A tree and its manifest, if it has a usable one; `pristine` is what its Git history still
    holds of the files that were changed or lost."""

    manifest: Manifest | None
    findings: Findings
    pristine: Mapping[str, bytes] = field(default_factory=dict)


def digest(data: bytes) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def same(data: bytes, wanted: str) -> bool:
    """Whether a content has a digest, also after an editor wrote Windows line ends."""
    if digest(data) == wanted:
        return True
    return b"\r\n" in data and digest(data.replace(b"\r\n", b"\n")) == wanted


def is_module(path: str) -> bool:
    """Whether a path is a module's source, which students fill in."""
    return _MODULE.fullmatch(path) is not None


def is_protected(path: str) -> bool:
    """Whether students must leave a file of the release alone: it grades, or is the framework's."""
    if path == "checkpoints/custom.toml":
        return False
    return path == "pyproject.toml" or path.startswith((*(f"{w}/" for w in WATCHED), "milestones/"))


def make_manifest(course_version: str, tree: Mapping[str, bytes]) -> Manifest:
    """Describe the files of a release; a manifest among them is left out."""
    tables: dict[str, dict[str, str]] = {name: {} for name in TABLES}
    for path in sorted(tree):
        if path == MANIFEST_FILE:
            continue
        table = "modules" if is_module(path) else "files" if is_protected(path) else "others"
        tables[table][path] = digest(tree[path])
    return Manifest(course_version, **tables)


def _seal(document: Mapping[str, Any]) -> str:
    """The digest of a manifest's own content, which makes an edit by hand visible."""
    kept = {name: document[name] for name in ("schema_version", "course_version", *TABLES)}
    return digest(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode())


def dump_manifest(manifest: Manifest) -> str:
    """Write a manifest as JSON text, the same bytes for the same release."""
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "course_version": manifest.course_version,
        **{name: dict(sorted(getattr(manifest, name).items())) for name in TABLES},
    }
    return json.dumps({**document, "seal": _seal(document)}, indent=1, ensure_ascii=True) + "\n"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ManifestError(f"names {shown(key)} twice")
        found[key] = value
    return found


def _table(name: str, value: Any) -> dict[str, str]:
    """One table of a manifest, checked entry by entry."""
    if not isinstance(value, dict):
        raise ManifestError(f"{name}: expected an object, got {shown(value)}")
    for path, sha in value.items():
        parts = path.split("/")
        odd = {"", ".", "..", ".git", "git~1"} & {part.lower() for part in parts}
        if odd or not path.isprintable() or "\\" in path or ":" in parts[0]:
            raise ManifestError(f"{name}: {shown(path)} is not a path inside the tree")
        if not isinstance(sha, str) or not re.fullmatch("[0-9a-f]{64}", sha):
            raise ManifestError(f"{name}: {shown(path)}: {shown(sha)} is not a SHA-256")
    return value


def parse_manifest(text: str) -> Manifest:
    """Read a manifest strictly.

    Raises:
        ManifestError: If it is not as `tito release` wrote it; the message names the key.
    """
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ManifestError):
            raise
        raise ManifestError(f"is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise ManifestError(f"expected an object, got {shown(document)}")
    version = document.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        mend = "bring this tree's scripts up to date"
        raise ManifestError(f"was written by a newer tito (schema version {version})", mend)
    known = ("schema_version", "course_version", *TABLES, "seal")
    for key in document:
        if key not in known:
            near = nearest(key, known)
            guess = f" (did you mean {near!r}?)" if near else ""
            raise ManifestError(f"unknown key {shown(key)}{guess}")
    for key in known:
        if key not in document:
            raise ManifestError(f"the key {key!r} is missing")
    if version != SCHEMA_VERSION:
        raise ManifestError(f"schema_version: expected {SCHEMA_VERSION}, got {shown(version)}")
    course = document["course_version"]
    if not isinstance(course, str) or not re.fullmatch(r"[0-9A-Za-z.+-]{1,60}", course):
        raise ManifestError(f"course_version: {shown(course)} is not a version")
    tables = {name: _table(name, document[name]) for name in TABLES}
    if document["seal"] != _seal(document):
        raise ManifestError("was changed by hand: its seal does not fit its content")
    return Manifest(course, **tables)


def load_manifest(root: Path) -> Manifest | None:
    """Read the manifest of the tree at `root`; None where there is none, as in the course itself.

    Raises:
        ManifestError: If there is one that cannot be used.
    """
    path = root / MANIFEST_FILE
    if not path.exists() and not path.is_symlink():
        return None
    try:
        data = read_bytes(root, MANIFEST_FILE, LARGEST)
    except FileProblem as problem:  # a link, a device, a giant
        raise ManifestError(problem.message) from None
    try:
        return parse_manifest(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ManifestError("is not UTF-8 text") from None


def _added(root: Path, manifest: Manifest) -> Iterable[str]:
    """Files in the watched folders that no release put there."""
    known = {*manifest.everything, MANIFEST_FILE}
    known |= {f"tinytorch/core/{m[1]}.py" for m in map(_MODULE.fullmatch, manifest.modules) if m}
    found = [path for name in WATCHED for path in (root / name).rglob("*") if not path.is_dir()]
    found += [root / name for name in AT_THE_ROOT if (root / name).exists()]
    for path in root.iterdir():
        if path.name.partition(".")[0] in TRIED and path.name not in AT_THE_ROOT:
            found.append(path)
    for path in found:
        name = path.relative_to(root).as_posix()
        if name in known or _LEFT_BEHIND.search(name):
            continue
        if path.is_symlink() or not _OWN.fullmatch(name):
            yield name


def check(root: Path, manifest: Manifest) -> Findings:
    """Compare the protected files of a tree with its manifest; no link is followed."""
    modified, missing = [], []
    for path, wanted in manifest.files.items():
        if not (root / path).exists() and not (root / path).is_symlink():
            missing.append(path)
            continue
        try:
            if not same(read_bytes(root, path, LARGEST), wanted):
                modified.append(path)
        except FileProblem:
            modified.append(path)
    added = sorted(_added(root, manifest))
    return Findings(tuple(sorted(modified)), tuple(sorted(missing)), tuple(added))


def _git(root: Path, *arguments: str) -> bytes:
    """What Git says about the tree; nothing where it cannot say anything."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "--no-pager", *arguments],
            check=False, capture_output=True, timeout=60,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""


def find_pristine(root: Path, wanted: Mapping[str, str]) -> dict[str, bytes]:
    """Look through the tree's Git history for released contents.

    Args:
        root: The tree; a shallow clone has little history, and another folder none.
        wanted: SHA-256 by path.

    Returns:
        The content of each path whose released bytes some commit still holds.
    """
    if not wanted:
        return {}
    # `--all` takes in every branch and what was fetched; one path may have had many contents.
    log = _git(root, "log", "--all", "-m", "--root", "--raw", "--no-abbrev", "--no-renames",
               "--no-ext-diff", "--no-show-signature", "--no-textconv", "--format=", "-z",
               "--", *wanted)  # fmt: skip
    fields = log.decode("utf-8", "replace").split("\0")
    blobs = {sha for row in fields if row.startswith(":") for sha in row.split()[2:4]}
    found: dict[str, bytes] = {}
    for blob in sorted(blobs - {"0" * 40, "0" * 64}):
        content = _git(root, "cat-file", "blob", blob)
        for path, sha in wanted.items():
            if path not in found and digest(content) == sha:
                found[path] = content
        if len(found) == len(wanted):
            break
    return found


def inspect(root: Path) -> Inspection:
    """Check a tree against its manifest, and look for the released text of what was changed.

    A tree that holds no manifest is the course itself if it can make releases; any other one has
    lost it, and a manifest that cannot be used counts as changed.
    """
    try:
        manifest = load_manifest(root)
    except ManifestError:
        return Inspection(None, Findings(modified=(MANIFEST_FILE,)))
    if manifest is None:
        lost = not (root / "scripts" / "tito" / "release.py").is_file()
        return Inspection(None, Findings(missing=(MANIFEST_FILE,) if lost else ()))
    findings = check(root, manifest)
    changed = (*findings.modified, *findings.missing)
    pristine = find_pristine(root, {path: manifest.files[path] for path in changed})
    return Inspection(manifest, findings, pristine)
