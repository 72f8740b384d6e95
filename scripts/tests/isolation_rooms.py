"""Small packages under isolation, for the tests of the boundary."""

import contextlib
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tito import isolation
from tito.isolation import Limits, Server, Source, linux

RUNNER = """
def run(source, *arguments):
    namespace = {"__name__": "tinytorch.room"}
    exec(compile(source, "modules/room.py", "exec"), namespace)
    return namespace["attack"](*arguments)

def honest(x):
    return x + 1

def apply(function, *arguments):
    return function(*arguments)
"""


def package(**modules: str) -> dict[str, Source]:
    """A package of these modules below `tinytorch`, with dedented sources."""
    sources = {"tinytorch": Source("", "tinytorch/__init__.py", is_package=True)}
    for name, text in modules.items():
        sources[f"tinytorch.{name}"] = Source(textwrap.dedent(text), f"modules/{name}.py")
    return sources


@contextlib.contextmanager
def room(sources: dict[str, Source], **options: Any) -> Iterator[Server]:
    """A server for the package, installed, with a first test begun."""
    server = Server(sources, **options)
    server.start()
    isolation.install(server)
    try:
        server.fresh()
        server.begin_test(20)
        yield server
    finally:
        isolation.uninstall()
        server.close()
        with contextlib.suppress(OSError):
            linux.set_dumpable(True)


def active(server: Server) -> set[str]:
    """The names of the layers that hold."""
    return {layer["name"] for layer in server.isolation["layers"] if layer["active"]}


def limits(**changes: Any) -> Limits:
    """Limits for a test."""
    return Limits(**changes)


def processes_of(mark: str) -> list[int]:
    """The living processes that carry a mark in their name (set with `prctl(PR_SET_NAME)`)."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"({mark}) " in (text := (entry / "stat").read_text()):
                found += [] if f"({mark}) Z" in text else [int(entry.name)]
    return found


def resident() -> int:
    """The bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
