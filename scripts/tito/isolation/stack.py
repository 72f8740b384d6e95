"""Where a process is at this moment, as Python's `faulthandler` tells it: asked for, and read.

A signal makes the worker write down the functions it is in, whatever it is doing: the answer comes
from C and needs no turn of the student's code. It is as little to be trusted as all it prints.
"""

import faulthandler
import re
import signal

ASK = getattr(signal, "SIGUSR1", None)  # there is none on Windows
HEAD = b"Stack (most recent call first):\n"
DEEPEST = 100  # functions that faulthandler names
_FRAME = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d{1,7}) in (?P<function>.+)')

Place = tuple[str, int, str]  # file, line, function


def tell_when_asked(file: int) -> None:
    """From now on, write the stack to a descriptor whenever the signal comes."""
    if ASK is not None:
        faulthandler.register(ASK, file=file, all_threads=False)


def places(text: str) -> list[Place]:
    """The functions that a stack names, the outermost first."""
    found = []
    for line in text.splitlines()[: DEEPEST + 1]:
        frame = _FRAME.fullmatch(line)
        if frame is None:
            break
        found.append((frame["file"], int(frame["line"]), frame["function"]))
    return found[::-1]
