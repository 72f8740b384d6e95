"""What a worker may use and reach, and in which order it gives the rest up.

Each layer stands alone: what the kernel at hand refuses is named, with its reason, and the
others still hold. The order matters: whatever needs rights comes before they are dropped.
"""

import contextlib
import functools
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tito.isolation import landlock, linux, seccomp

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Limits:
    """Bounds of one worker process.

    Attributes:
        memory: Address space, in bytes.
        processes: Processes and threads at once, beside a thread per core for BLAS.
        file_size: The largest file it may write, in bytes.
        open_files: Open files at once.
        cpu_seconds: Processor time over its whole life, all threads together.
        disk: Space in its temporary directory, in bytes, where the kernel can bound it.
        without: Layers to leave off, by name: so that tests can rely on the others alone.
    """

    memory: int = 4 << 30
    processes: int = 64
    file_size: int = 64 << 20
    open_files: int = 256
    cpu_seconds: int = 900
    disk: int = 256 << 20
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layer:
    """One layer of protection: whether it holds here, and how far or why not."""

    name: str
    active: bool
    detail: str


class Layers:
    """Puts layers on, one after the other, and remembers how each went."""

    def __init__(self, without: tuple[str, ...] = ()) -> None:
        self.found: list[Layer] = []
        self.without = without

    def put_on(self, name: str, layer: Callable[[], str]) -> None:
        """Call what puts a layer on; its result says how far it holds, its OSError why not."""
        try:
            if name in self.without:
                raise OSError("left off")
            self.found.append(Layer(name, True, layer()))
        except (OSError, ValueError) as error:
            self.found.append(Layer(name, False, str(error)))


# Users: where the grader is root, a worker gets a user of its own that owns nothing.

FREE_USERS = range(61184, 65520)  # set aside for short-lived users by systemd's convention
SYSTEM_FILES = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store", "/etc/ld.so.cache"),
    *("/etc/localtime", "/usr/share/zoneinfo"),
    *("/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf"),  # what "localhost" means
    *("/sys/devices/system/cpu", "/sys/devices/system/node"),
    *("/proc/self", "/proc/meminfo", "/proc/cpuinfo", "/proc/loadavg"),
)
LOOPBACK_FAMILIES = (2, 10)  # IPv4 and IPv6: in a network namespace of its own
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def python_folders(site: str) -> tuple[str, ...]:
    """Where Python, its libraries and NumPy live."""
    library = os.path.dirname(os.path.abspath(os.__file__))
    return tuple(dict.fromkeys((library, os.path.join(sys.base_prefix, "lib"), site)))


@dataclass(frozen=True)
class Host:
    """What this machine offers, found out once by trying it in processes that end at once.

    Attributes:
        site: Where NumPy is installed.
        user: The user id that a worker changes to, or None to stay who we are.
        user_detail: What was chosen, or why nothing was.
        namespaces: Whether new namespaces can be made.
        namespaces_detail: Why not.
    """

    site: str
    user: int | None = None
    user_detail: str = ""
    namespaces: bool = False
    namespaces_detail: str = ""


def _tried(attempt: Callable[[], Any]) -> str:
    """Run something in a process that then ends; returns "" or what it failed with."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            attempt()
        except BaseException as error:
            os.write(theirs, (str(error) or type(error).__name__)[:400].encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    os.waitpid(pid, 0)
    return said


def _free_user() -> int:
    taken: set[int] = set()
    with contextlib.suppress(ImportError, OSError):
        import pwd

        taken = {entry.pw_uid for entry in pwd.getpwall()}
    return random.SystemRandom().choice([user for user in FREE_USERS if user not in taken])


def separate() -> None:
    """Move to new namespaces; the next process forked is the first of its own."""
    user, group = os.geteuid(), os.getegid()
    flags = linux.CLONE_NEWNET | linux.CLONE_NEWPID | linux.CLONE_NEWIPC | linux.CLONE_NEWNS
    if user == 0:
        linux.unshare(flags)
        return
    linux.set_dumpable(True)  # else /proc/self/uid_map is not ours to write
    linux.unshare(flags | linux.CLONE_NEWUSER)
    linux.map_own_user(user, group)
    linux.set_dumpable(False)


def _separates() -> None:
    separate()
    said = _tried(lambda: _furnish("/tmp", 1 << 20, os.geteuid(), os.getegid()))
    if said:
        raise OSError(said)


def _identity(host: Host) -> tuple[int, int]:
    """The user and the group that a worker will be."""
    return (host.user, host.user) if host.user is not None else (os.geteuid(), os.getegid())


def _furnish(folder: str, disk: int, user: int, group: int) -> None:
    """In new namespaces: switch loopback on, and bound the temporary directory."""
    linux.loopback_up()
    linux.mount("none", "/", None, linux.PRIVATE_RECURSIVE)
    options = f"size={disk},nr_inodes=16384,mode=700,uid={user},gid={group}"
    linux.mount("tmpfs", folder, "tmpfs", linux.NOSUID_NODEV_NOEXEC, options)


def examine(site: str, namespaces: bool = True) -> Host:
    """Find out what this machine offers; of namespaces only if they are wanted."""
    if sys.platform != "linux":
        missing = f"not offered by {sys.platform}"
        return Host(site, user_detail=missing, namespaces_detail=missing)
    said = _tried(_separates) if namespaces else "not where workers are spawned"
    offered = {"namespaces": not said, "namespaces_detail": said}
    if os.geteuid() != 0:
        return Host(site, user_detail="the grader itself is an ordinary user", **offered)
    user = _free_user()
    refused = _tried(lambda: linux.become(user))
    if refused:
        return Host(site, user_detail=refused, **offered)
    return Host(site, user, f"user {user}", **offered)


@dataclass(frozen=True)
class Place:
    """Where a worker lives.

    Attributes:
        site: Where NumPy is installed.
        folder: Its temporary directory.
        folders: Environment variable -> a further folder that it may read.
        own: Where our own modules are, if more of them will be imported.
    """

    site: str
    folder: str
    folders: dict[str, str]
    own: tuple[str, ...] = ()

    def python(self) -> tuple[str, ...]:
        """The folders that imports come from."""
        return (*python_folders(self.site), *self.own)


# The limits themselves.


def _own_tasks() -> int:
    """How many tasks (threads included) this user runs already: the limit counts them too."""
    count = 0
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{name}/task"))
    return count


def _bound_resources(limits: Limits, tasks: int) -> str:
    """Set the limits that every Unix has; those a platform lacks are left out."""
    wanted = {
        "RLIMIT_AS": limits.memory,
        "RLIMIT_CPU": limits.cpu_seconds,
        "RLIMIT_NPROC": tasks + limits.processes + (os.cpu_count() or 1),
        "RLIMIT_FSIZE": limits.file_size,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_CORE": 0,
    }
    done = []
    for name, value in wanted.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            number = getattr(resource, name)
            _, hard = resource.getrlimit(number)
            if hard != resource.RLIM_INFINITY:
                value = min(value, hard)
            resource.setrlimit(number, (value, value))
            done.append(name.removeprefix("RLIMIT_"))
    if not done:
        raise OSError("this platform has no resource limits")
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # the limits are for each process: let the kernel take these first
    return ", ".join(done)


def _file_rules(place: Place, network: bool) -> Callable[[], str]:
    """Prepare Landlock's rules while everything can be opened; the result enforces them.

    Readable: Python, NumPy, the system's libraries. Writable: the temporary directory.
    """
    try:
        rules = landlock.Ruleset(network)
        for path in (*place.python(), *place.folders.values(), *SYSTEM_FILES):
            rules.allow(path, landlock.READ)
        for path in DEVICES:
            rules.allow(path, landlock.READ | landlock.WRITE_FILE)
        rules.allow_all_but_devices(place.folder)
    except OSError as error:
        return functools.partial(_refuse, str(error))
    return rules.enforce


def _refuse(reason: str) -> str:
    raise OSError(reason)


def confine(limits: Limits, host: Host, place: Place, separated: bool) -> list[Layer]:
    """Put every layer on this process, for good, move in, and say which layers hold.

    Args:
        limits: What it may use.
        host: What the machine offers.
        place: Where it lives.
        separated: Whether this is the first process of new namespaces.
    """
    layers = Layers(limits.without)
    with contextlib.suppress(OSError):
        linux.set_dumpable(True)  # else what is below /proc/self is not ours
    tasks = 0 if host.user is not None else _own_tasks()

    def apart() -> str:
        if not separated:
            raise OSError(host.namespaces_detail or "refused after all")
        _furnish(place.folder, limits.disk, *_identity(host))
        return "network, processes, IPC, mounts"

    def own_user() -> str:
        if host.user is None:
            raise OSError(host.user_detail)
        linux.become(host.user)
        return host.user_detail

    layers.put_on("namespaces", apart)
    layers.put_on("resource limits", lambda: _bound_resources(limits, tasks))
    enforce_rules = _file_rules(place, network=separated)
    doors = _open_doors(place)
    layers.put_on("own user", own_user)
    layers.put_on("no capabilities", linux.drop_capabilities)
    layers.put_on("death with parent", linux.die_with_parent)
    layers.put_on("no new privileges", linux.no_new_privileges)
    _move_in(place, doors)
    layers.put_on("Landlock", enforce_rules)
    families = LOOPBACK_FAMILIES if separated else ()
    layers.put_on("system call filter", lambda: seccomp.restrict(families))
    return layers.found


# Moving in: a user of its own may be shut out of the folders above Python's (a private home).
# What was opened before the change can still be reached, by its number.


def _open_doors(place: Place) -> dict[str, int]:
    """Open the folders that the worker will need, while we may."""
    doors = {}
    if sys.platform == "linux":
        for path in (*place.python(), *place.folders.values(), place.folder):
            with contextlib.suppress(OSError):
                doors[path] = os.open(path, os.O_PATH | os.O_DIRECTORY)
    return doors


def _through(doors: dict[str, int], path: str) -> str:
    """A path that leads to the same place by an open folder above it."""
    for base, door in doors.items():
        if path == base or path.startswith(base + os.sep):
            return f"/proc/self/fd/{door}{path[len(base) :]}"
    return path


def _move_in(place: Place, doors: dict[str, int]) -> None:
    """Work in the temporary directory; name no other folder than those that are needed."""
    for path in list(doors):
        if os.access(path, os.R_OK | os.X_OK):
            os.close(doors.pop(path))
    if doors:
        for module in list(sys.modules.values()):
            if isinstance(paths := getattr(module, "__path__", None), list):
                paths[:] = [_through(doors, path) for path in paths]
        sys.path[:] = [_through(doors, path) for path in sys.path]
        sys.path_importer_cache.clear()
    home = _through(doors, place.folder)
    os.chdir(home)
    os.environ.update(dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP", "MPLCONFIGDIR"), home))
    os.environ.update(USER="student", LOGNAME="student", MPLBACKEND="Agg")
    os.environ.update({name: _through(doors, path) for name, path in place.folders.items()})


def protect_grader() -> Layer:
    """Keep others of the same user from reading or tracing this process."""

    def private() -> str:
        linux.set_dumpable(False)
        return "its memory and environment are closed to its user"

    layers = Layers()
    layers.put_on("private grader", private)
    return layers.found[0]
