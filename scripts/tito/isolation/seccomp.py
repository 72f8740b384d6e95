"""A small filter of system calls: what no learner's code needs and an attacker would want.

It denies by name and allows the rest, so that NumPy and Python of any version keep working.
What counts most on machines without namespaces: no signal to any other process, no tracing, no
new program, no socket. Numbers are those of Linux's `unistd.h` for x86_64 and aarch64.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from typing import NamedTuple

from tito.isolation.linux import checked, prctl

ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
LAST_KNOWN = 462  # later system calls are answered as an older kernel would

# each with its number on x86_64 and on aarch64, which lacks the oldest
DENIED: dict[str, tuple[int | None, int | None]] = {
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "perf_event_open": (298, 241),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "fanotify_init": (300, 262),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    # memory that no limit counts, or that stays when its process is gone
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    # what Landlock leaves to the owner of a file, all over the file system
    "truncate": (76, 45),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
}

# Likewise; these claim success and do nothing, so that copying a file works as ever.
PRETENDED: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
}


class Rule(NamedTuple):
    """Allow or deny a call by the value of one argument (its lower 32 bits)."""

    numbers: tuple[int, int]
    argument: int
    only: tuple[int, ...] | None = None  # these values are allowed, all others denied
    never: tuple[int, ...] = ()  # these are denied
    never_bits: int = 0  # any of these bits is denied


STREAM, FLAGS = 1, (0, 0o2000000, 0o4000, 0o2004000)  # close-on-exec, non-blocking
NEW_NAMESPACES_OR_PARENT = 0x7E020000 | 0x8000


def rules(pid: int, families: tuple[int, ...]) -> tuple[Rule, ...]:
    """The rules for a process: signals and limits for itself only, sockets of some families."""
    return (
        Rule((62, 129), 0, only=(pid, 0)),  # kill: itself and its own group
        Rule((234, 131), 0, only=(pid,)),  # tgkill
        Rule((302, 261), 0, only=(pid, 0)),  # prlimit64
        Rule((203, 122), 0, only=(pid, 0)),  # sched_setaffinity
        Rule((41, 198), 0, only=families),  # socket
        # a pair of datagram sockets could be pointed at another process's socket
        Rule((53, 199), 1, only=tuple(STREAM | flag for flag in FLAGS)),  # socketpair
        Rule((72, 25), 1, never=(8, 10, 15)),  # fcntl F_SETOWN, F_SETSIG, F_SETOWN_EX
        Rule((16, 29), 1, never=(0x8901, 0x8902, 0x5412)),  # ioctl FIOSETOWN, SIOCSPGRP, TIOCSTI
        Rule((157, 167), 0, never=(1,)),  # prctl PR_SET_PDEATHSIG: it dies with its parent
        Rule((56, 220), 0, never_bits=NEW_NAMESPACES_OR_PARENT),  # clone
    )


LOAD, EQUAL, ABOVE, BITS, RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
DENY, UNKNOWN, PRETEND = ERROR | errno.EACCES, ERROR | errno.ENOSYS, ERROR


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value)


def _arguments(rule: Rule) -> list[bytes]:
    """The steps that judge a call by its argument; each path through them returns."""
    steps = [_step(LOAD, 16 + 8 * rule.argument)]
    if rule.never_bits:
        steps.append(_step(BITS, rule.never_bits, 0, 1))
        return [*steps, _step(RETURN, DENY), _step(RETURN, ALLOW)]
    listed, otherwise = (DENY, ALLOW) if rule.only is None else (ALLOW, DENY)
    for value in rule.never if rule.only is None else rule.only:
        steps += [_step(EQUAL, value, 0, 1), _step(RETURN, listed)]
    return [*steps, _step(RETURN, otherwise)]


def program(machine: str, pid: int, families: tuple[int, ...]) -> bytes:
    """The filter as BPF instructions of eight bytes each."""
    audit, column = ARCHITECTURES[machine]
    steps = [
        *(_step(LOAD, 4), _step(EQUAL, audit, 1, 0), _step(RETURN, KILL)),
        *(_step(LOAD, 0), _step(ABOVE, LAST_KNOWN, 0, 1), _step(RETURN, UNKNOWN)),
        *(_step(EQUAL, 435, 0, 1), _step(RETURN, UNKNOWN)),  # clone3: its flags cannot be seen
    ]
    for table, verdict in ((DENIED, DENY), (PRETENDED, PRETEND)):
        for numbers in table.values():
            if (number := numbers[column]) is not None:
                steps += [_step(EQUAL, number, 0, 1), _step(RETURN, verdict)]
    for rule in rules(pid, families):
        block = _arguments(rule)
        steps += [_step(EQUAL, rule.numbers[column], 0, len(block)), *block]
    return b"".join([*steps, _step(RETURN, ALLOW)])


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def restrict(families: tuple[int, ...]) -> str:
    """Install the filter in this process, for good; `families` are those sockets may be of.

    Raises:
        OSError: If the kernel refuses it, or this machine's call numbers are not known here.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in ARCHITECTURES or sys.maxsize < 1 << 32:
        raise OSError(errno.ENOSYS, f"no filter is written for {sys.platform} on {machine}")
    steps = program(machine, os.getpid(), families)
    checked(prctl(22, 2, ctypes.byref(_Program(len(steps) // 8, steps))), "seccomp")
    return f"{len(DENIED)} system calls denied, {len(rules(0, ()))} restricted by argument"
