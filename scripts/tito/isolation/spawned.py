"""A worker without a fork server, for platforms that cannot fork safely.

The wire is standard input and output (one socket on both, or two pipes); what the student's
code prints goes to standard error.
"""

import contextlib
import io
import json
import os
import shutil
import sys
import threading
import time
from typing import Any

from tito.isolation import limits

LOOK = 0.5  # seconds between two looks at whether the grader is still there


def _writer(file: int) -> Any:
    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]

    return write


def _end_with(grader: int, folder: str) -> None:
    """End this process when the grader is gone, and remove what it wrote."""
    if os.name == "nt":
        import _winapi

        with contextlib.suppress(OSError):  # it is gone already
            process = _winapi.OpenProcess(_winapi.SYNCHRONIZE, False, grader)  # type: ignore[attr-defined]
            _winapi.WaitForSingleObject(process, _winapi.INFINITE)  # type: ignore[attr-defined]
    else:
        while os.getppid() == grader:
            time.sleep(LOOK)
    with contextlib.suppress(OSError):
        os.chdir(os.path.dirname(folder))  # Windows removes no folder that a process is in
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def main() -> None:
    """Give up rights, then serve. Arguments: where NumPy is, and the job."""
    site, job = sys.argv[1], json.loads(sys.argv[2])
    wire_in, wire_out = os.dup(0), os.dup(1)
    if os.name == "nt":
        import msvcrt

        for file in (wire_in, wire_out):
            msvcrt.setmode(file, os.O_BINARY)  # type: ignore[attr-defined]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    host = limits.examine(site, namespaces=False)
    own = (os.path.dirname(os.path.abspath(__file__)),)
    place = limits.Place(site, job["folder"], job["folders"], own)
    if host.user is not None:
        os.chown(place.folder, host.user, host.user)
    layers = limits.confine(limits.Limits(**job["limits"]), host, place, separated=False)
    if not any(layer.active for layer in layers if layer.name == "death with parent"):
        end = threading.Thread(target=_end_with, args=(job["grader"], job["folder"]), daemon=True)
        end.start()  # a loop that does not end would never see that nobody waits for it
    from tito.isolation import worker

    read_into = io.FileIO(wire_in, "r").readinto
    worker.run(read_into, _writer(wire_out), [[x.name, x.active, x.detail] for x in layers])
