"""Where a student's tree gets later releases from, and reading one: a branch or a plain folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tito.files import read_bytes
from tito.manifest import (
    LARGEST,
    MANIFEST_FILE,
    Manifest,
    ManifestError,
    digest,
    parse_manifest,
    same,
)
from tito.repository import Repository, RepositoryError, some

BRANCH = "template"
REMOTE = "template"
FETCHED = "refs/tito/release"
TRAILER = "Course-from"


@dataclass(frozen=True)
class Release:
    """A release as it was read: its files with their content, the manifest included.

    `commit` is where it stands in this repository's objects, None for a folder.
    """

    manifest: Manifest
    files: Mapping[str, bytes]
    source: str
    branch: str = ""
    commit: str | None = None


def plain_address(address: str) -> str:
    """An address without the name and secret that it may carry."""
    parts = urlsplit(address)
    if parts.scheme in ("http", "https") and "@" in parts.netloc:
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return address


def find_source(repository: Repository) -> tuple[str, str | None]:
    """Where this tree's releases come from: an address and a branch, if the branch is known.

    In this order: a remote named `template`; what the last update noted in its commit; the remotes
    `upstream` and `origin`, if they have a branch `template`.
    """
    remotes = repository.git("remote").split("\n")
    if REMOTE in remotes:
        return REMOTE, None
    pattern = f"--grep=^{TRAILER}: "
    said = repository.git("log", "-1", pattern, "--format=%B", "HEAD")
    if found := re.search(rf"(?m)^{TRAILER}: (\S+) (\S+)$", said):
        return found[1], found[2]
    for name in ("upstream", "origin"):
        if name in remotes and _has(repository, name, BRANCH):
            return name, BRANCH
    raise RepositoryError(
        "this repository does not say where the course's releases come from; ask for the address "
        "of the template (it ends in the name you made this repository from), then: tito update "
        "--from https://github.com/OWNER/NAME"
    )


def _has(repository: Repository, remote: str, branch: str) -> bool:
    try:
        return bool(repository.git("ls-remote", "--", remote, f"refs/heads/{branch}").strip())
    except RepositoryError:
        return False


def _address(repository: Repository, remote: str) -> str:
    """The address of a remote by name, or the address itself."""
    if remote in repository.git("remote").split("\n"):
        return repository.git("remote", "get-url", remote).strip()
    return remote


def _is_folder(place: Path) -> bool:
    """Whether a release lies in a folder as plain files."""
    return place.is_dir() and not (place / ".git").exists() and (place / MANIFEST_FILE).is_file()


def read_release(repository: Repository, source: str | None, branch: str | None) -> Release:
    """Read the release to merge, from a folder or a branch.

    Raises:
        RepositoryError: If there is none, or not a whole one.
        FileProblem: If a file of the folder cannot be read.
    """
    known: str | None = None
    if source is None:
        source, known = find_source(repository)
    elif (place := Path(source).expanduser()).exists():
        if _is_folder(place):
            return _from_folder(place.resolve())
        source = str(place.resolve())
    return _from_branch(repository, source, branch or known)


def _checked(manifest: Manifest, contents: Mapping[str, bytes], where: str) -> dict[str, bytes]:
    """The files that a manifest names, each with exactly the content it says."""
    files = {}
    for path, wanted in manifest.everything.items():
        data = contents.get(path, b"")
        if not same(data, wanted):
            word = "differs from" if path in contents else "is missing, but named by"
            raise RepositoryError(
                f"the release in {where} is not whole: {path} {word} its manifest; get it anew"
            )
        files[path] = data if digest(data) == wanted else data.replace(b"\r\n", b"\n")
    return files


def _manifest(data: bytes, where: str) -> Manifest:
    try:
        return parse_manifest(data.decode("utf-8", "replace"))
    except ManifestError as problem:
        raise RepositoryError(f"the release in {where} cannot be used: {problem.message}") from None


def _from_folder(folder: Path) -> Release:
    """Read a release that `tito release --out` wrote, or an unpacked archive of one."""
    data = read_bytes(folder, MANIFEST_FILE, LARGEST).replace(b"\r\n", b"\n")
    manifest = _manifest(data, str(folder))
    contents = {}
    for path in manifest.everything:
        if (folder / path).exists():
            contents[path] = read_bytes(folder, path, LARGEST)
    files = _checked(manifest, contents, str(folder))
    return Release(manifest, {**files, MANIFEST_FILE: data}, str(folder))


def _from_branch(repository: Repository, remote: str, branch: str | None) -> Release:
    """Fetch a branch with its history, which has the stubs of every earlier release."""
    where = plain_address(_address(repository, remote))
    try:
        rows = repository.git("ls-remote", "--symref", "--", remote).splitlines()
    except RepositoryError as problem:
        raise RepositoryError(
            f"no release can be fetched from {where}: {problem}; check the address and the "
            f"network, or name a folder that holds a release: tito update --from PATH"
        ) from None
    heads = {r.split("\t")[1].removeprefix("refs/heads/") for r in rows if "\trefs/heads/" in r}
    main = [r[16:].split("\t")[0] for r in rows if r.startswith("ref: refs/heads/")]
    branch = branch or (BRANCH if BRANCH in heads else main[0] if main else BRANCH)
    if branch not in heads:
        there = some(sorted(heads)) or "none"
        raise RepositoryError(f"{where} has no branch {branch!r}; it has: {there}; see --branch")
    repository.git(
        "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", remote,
        f"+refs/heads/{branch}:{FETCHED}",
    )  # fmt: skip
    commit = repository.git("rev-parse", FETCHED).strip()
    there = repository.files(commit)
    if MANIFEST_FILE not in there:
        raise RepositoryError(
            f"the branch {branch} of {where} holds no release (it has no {MANIFEST_FILE}); the "
            f"course itself keeps its releases on the branch {BRANCH}: see --branch"
        )
    words = f"{branch} of {where}"
    blobs = repository.contents(e.blob for e in there.values() if e.ordinary)
    contents = {path: blobs[e.blob] for path, e in there.items() if e.ordinary}
    manifest = _manifest(contents[MANIFEST_FILE], words)
    files = {**_checked(manifest, contents, words), MANIFEST_FILE: contents[MANIFEST_FILE]}
    return Release(manifest, files, where, branch, commit)
