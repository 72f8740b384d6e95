"""Linux by system call: process attributes, capabilities, users, namespaces and mounts.

Thin wrappers without policy; each raises OSError when the kernel refuses.
"""

import ctypes
import errno
import os
import socket
import struct
import sys
from typing import Any

libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
NOSUID_NODEV_NOEXEC, PRIVATE_RECURSIVE = 2 | 4 | 8, (1 << 18) | 16384


def checked(result: int, what: str) -> int:
    """Return the result of a system call, or raise OSError for -1."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _need() -> Any:
    if libc is None:
        raise OSError(errno.ENOSYS, f"not offered by {sys.platform}")
    return libc


def prctl(option: int, *arguments: Any) -> int:
    """The system call of that name."""
    words = [a if not isinstance(a, int) else ctypes.c_ulong(a) for a in arguments]
    words += [ctypes.c_ulong(0)] * (4 - len(words))
    return _need().prctl(option, *words)


def syscall(number: int, *arguments: Any) -> int:
    """A system call that the C library has no name for."""
    words = [a if not isinstance(a, int) else ctypes.c_long(a) for a in arguments]
    return _need().syscall(ctypes.c_long(number), *words)


def die_with_parent() -> str:
    """Be killed when the parent ends."""
    checked(prctl(1, 9), "PR_SET_PDEATHSIG")
    return "SIGKILL"


def set_dumpable(allowed: bool) -> None:
    """Whether others of the same user may read this process's memory and environment."""
    checked(prctl(4, int(allowed)), "PR_SET_DUMPABLE")


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends."""
    checked(prctl(36, 1), "PR_SET_CHILD_SUBREAPER")


def no_new_privileges() -> str:
    """No program can give more rights than this process has."""
    checked(prctl(38, 1), "PR_SET_NO_NEW_PRIVS")
    return "for good"


def drop_capabilities() -> str:
    """Give up all capabilities, and those that a program could gain."""
    for capability in range(64):
        if prctl(24, capability) < 0:
            break  # PR_CAPBSET_DROP: the last one the kernel knows, or not ours to drop
    header, none = struct.pack("Ii", 0x20080522, 0), bytes(24)
    checked(_need().capset(header, none), "capset")
    return "none left"


def become(user: int) -> None:
    """Give up root for another user and group."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def unshare(flags: int) -> None:
    """Move this process (or, for process ids, its children) to new namespaces."""
    checked(_need().unshare(flags), "unshare")


def map_own_user(user: int, group: int) -> None:
    """In a new user namespace, be who we were."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def loopback_up() -> None:
    """Switch on the loopback interface of a new network namespace."""
    import fcntl  # not on Windows

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        up = struct.pack("16sH22x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(control, 0x8914, up)  # SIOCSIFFLAGS


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mount a file system."""
    words = [word.encode() if word else None for word in (source, target, kind)]
    result = _need().mount(*words, ctypes.c_ulong(flags), options.encode() or None)
    checked(result, f"mount {kind or 'private'}")


def unmount(target: str) -> None:
    """Take a file system away, at once for those to come."""
    checked(_need().umount2(target.encode(), 2), "umount")
