"""Landlock: the process itself gives up the file system and the network, except for a list.

Needs no privilege; Linux 5.13 and later, as far as the kernel's version of it goes.
"""

import contextlib
import os
import struct

from tito.isolation.linux import checked, syscall

CREATE, ADD_RULE, RESTRICT = 444, 445, 446

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = (1 << bit for bit in range(4))
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
FIRST_RIGHTS = 13  # of version 1: execute … make a symbolic link
READ = READ_FILE | READ_DIR
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | (1 << 14) | (1 << 15)  # truncate, device ioctl
NETWORK = 0b11  # bind and connect, TCP
SCOPES = 0b11  # abstract sockets, signals


def version() -> int:
    """Which version of Landlock the kernel offers.

    Raises:
        OSError: If it offers none.
    """
    return checked(syscall(CREATE, None, 0, 1), "Landlock")


def rights(abi: int) -> int:
    """All rights over files that this version can withhold."""
    return (1 << FIRST_RIGHTS + (abi >= 2) + (abi >= 3) + (abi >= 5)) - 1


class Ruleset:
    """What stays allowed; in force once `enforce` is called.

    Args:
        network: Whether TCP stays allowed (it is already confined to a namespace).
    """

    def __init__(self, network: bool):
        self.abi = version()
        self.handled = rights(self.abi)
        fields = [self.handled]
        if self.abi >= 4:
            fields.append(0 if network else NETWORK)
        if self.abi >= 6:
            fields.append(SCOPES)
        attributes = struct.pack(f"{len(fields)}Q", *fields)
        self.file = checked(syscall(CREATE, attributes, len(attributes), 0), "Landlock")

    def allow(self, path: str, wanted: int) -> None:
        """Allow rights at and below a path; a path that is not there is left out."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            file = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                if not os.path.isdir(path):
                    wanted &= FILE_RIGHTS
                rule = struct.pack("=Qi", wanted & self.handled, file)
                checked(syscall(ADD_RULE, self.file, 1, rule, 0), "Landlock rule")
            finally:
                os.close(file)

    def allow_all_but_devices(self, path: str) -> None:
        """Allow everything below a path but making device nodes and running programs."""
        self.allow(path, self.handled & ~(EXECUTE | MAKE_CHAR | MAKE_BLOCK))

    def enforce(self) -> str:
        """Restrict this thread and its children, for good; needs no_new_privs."""
        checked(syscall(RESTRICT, self.file, 0), "Landlock")
        os.close(self.file)
        parts = ["files"]
        if self.abi >= 4:
            parts.append("TCP")
        if self.abi >= 6:
            parts.append("signals")
        return f"version {self.abi}: {', '.join(parts)}"
