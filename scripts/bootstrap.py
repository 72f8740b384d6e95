#!/usr/bin/env python3
"""Run a command in the project's own environment; make or mend that environment first.

    python3 scripts/bootstrap.py tito grade     grade this tree
    python3 scripts/bootstrap.py pytest         run the tests
    python3 scripts/bootstrap.py                only make the environment

options, before the command:
    --dev           the development environment, whatever the command (tito needs only the base)
    --extra NAME    also an extra of pyproject.toml: plots, notebooks and others
    --help          this text

The environment is the directory `.venv`, made from the locked requirements under
scripts/requirements. It is made anew when it is missing, half-made, moved or of another Python,
and brought up to date when a lock or pyproject.toml changed; otherwise nothing is done or said.
Needs nothing but Python 3.11 or newer, and the network the first time. It asks no questions.

TITO_BOOTSTRAP_PYTHON=/path/to/python uses that interpreter's environment as it is, where the
project must be installed: for tests, and for images that bring their own packages.
"""

# Read by every Python back to 2.7, so that an old one can be told that it is too old: hence no
# f-strings and no annotations here. Imports are late because most runs only look at the stamp.
import os
import sys

OLDEST = (3, 11)
ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
WINDOWS = os.name == "nt"
BASE_COMMANDS = ("tito", "python")

# Lines of the stamp that are no facts about what is installed.
MAKING = "making"  # not finished: the process that makes it is at work, or was killed
THEIRS = "theirs"  # made by something else: brought up to date, never deleted

# Settings of other installations that would send packages elsewhere or refuse them.
UNWANTED = (
    "PIP_PREFIX",
    "PIP_REQUIRE_HASHES",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_TARGET",
    "PIP_USER",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "VIRTUAL_ENV",
    "__PYVENV_LAUNCHER__",
)

OFFLINE_SIGNS = (
    "ConnectTimeout",
    "Connection refused",
    "Failed to establish a new connection",
    "Name or service not known",
    "NameResolutionError",
    "Network is unreachable",
    "NewConnectionError",
    "ProxyError",
    "Temporary failure in name resolution",
    "dns error",
    "error sending request",
    "getaddrinfo failed",
    "nodename nor servname",
    "timed out",
)


class Problem(Exception):
    """Something the user has to mend; the text says what and how."""


def main(arguments):
    """Return the exit status of the command, or 2 when there is no environment to run it in."""
    try:
        check_version(arguments)
        dev, extras, command = parse(arguments)
        if dev is None:
            sys.stdout.write(__doc__ + "\n")
            return 0
        given = os.environ.get("TITO_BOOTSTRAP_PYTHON")
        if given:
            return run_with_given(given, command)
        venv = Environment(os.path.join(ROOT, ".venv"))
        wanted = wanted_lines(dev, extras)
        if not venv.has(wanted):
            prepare(venv, wanted, dev, extras)
        if not command:
            say("the environment is ready: {0}".format(venv.path))
            return 0
        return run(command, venv.scripts, dict(os.environ, VIRTUAL_ENV=venv.path))
    except Problem as problem:
        say(str(problem))
        return 2
    except KeyboardInterrupt:
        return 130


def say(text):
    """Tell the person at the terminal; stdout belongs to the command."""
    sys.stderr.write("bootstrap: {0}\n".format(text))
    sys.stderr.flush()


def check_version(arguments):
    """Refuse an old Python, and name a newer one if the machine has it."""
    if sys.version_info >= OLDEST:
        return
    names = ["python3.{0}".format(minor) for minor in range(20, OLDEST[1] - 1, -1)]
    folders = os.environ.get("PATH", "").split(os.pathsep)
    newer = [n for n in names if any(os.access(os.path.join(f, n), os.X_OK) for f in folders)]
    again = " ".join(["{0}", "scripts/bootstrap.py"] + arguments)
    raise Problem(
        "TinyTorch needs Python {0}.{1} or newer, and this is Python {2}.{3} ({4})\n  {5}".format(
            OLDEST[0],
            OLDEST[1],
            sys.version_info[0],
            sys.version_info[1],
            sys.executable,
            "try: " + again.format(newer[0])
            if newer
            else "install a newer Python, then run: "
            + again.format("py" if WINDOWS else "python3.11"),
        )
    )


def parse(arguments):
    """Split off our own options, which stand before the command; `dev` is None for --help."""
    dev, extras, rest = False, [], list(arguments)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in ("-h", "--help"):
            return None, [], []
        if option == "--dev":
            dev = True
        elif option == "--extra" and rest:
            extras.append(rest.pop(0))
        else:
            raise Problem("unknown option {0}; see: scripts/bootstrap.py --help".format(option))
    # A student's tree has no development lock: its tests need only the base.
    if rest and rest[0] not in BASE_COMMANDS:
        dev = dev or os.path.isfile(lock_file("dev"))
    return dev, extras, rest


def lock_file(layer):
    """The path of the locked requirements of "base", "dev" or an extra that has its own."""
    return os.path.join(ROOT, "scripts", "requirements", layer + ".txt")


def wanted_lines(dev, extras):
    """What the stamp must say, one fact a line, for the environment to be used as it is."""
    project = digest(os.path.join(ROOT, "pyproject.toml"))
    tag = sys.implementation.cache_tag + getattr(sys, "abiflags", "")
    lines = ["python {0} {1}".format(tag, sys.platform), "root " + ROOT, "project " + project]
    lines += [layer + " " + digest(lock_file(layer)) for layer in ["base", "dev"][: 1 + dev]]
    return lines + ["extra-{0} {1}".format(extra, extra_digest(extra)) for extra in extras]


def extra_digest(extra):
    """The SHA-256 of the lock of an extra, or of the project file where it has none."""
    lock = lock_file(extra)
    return digest(lock if os.path.exists(lock) else os.path.join(ROOT, "pyproject.toml"))


def digest(path):
    """The SHA-256 of a file, or a Problem when the tree lacks it."""
    import hashlib

    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except OSError as error:
        name = os.path.relpath(path, ROOT)
        raise Problem(
            "cannot read {0} ({1}); restore it with: git checkout -- {0}".format(
                name, error.strerror
            )
        )


class Environment:
    """A virtual environment and its stamp: the facts it was made from, one a line."""

    def __init__(self, path):
        self.path = path
        self.scripts = os.path.join(path, "Scripts" if WINDOWS else "bin")
        self.python = os.path.join(self.scripts, "python.exe" if WINDOWS else "python")
        self.stamp = os.path.join(path, "bootstrap.stamp")

    def facts(self):
        """The lines of the stamp, or None for an environment that bootstrap did not make."""
        try:
            with open(self.stamp, "rb") as stream:
                return stream.read().decode("utf-8", "surrogateescape").splitlines()
        except OSError:
            return None

    def has(self, wanted):
        """Whether the environment was finished and is what is wanted."""
        return set(wanted) <= set(self.facts() or ()) and os.path.exists(self.python)

    def write(self, lines):
        """Replace the stamp in one step."""
        partial = self.stamp + ".new"
        with open(partial, "wb") as stream:
            stream.write(("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, self.stamp)


def prepare(venv, wanted, dev, extras):
    """Make or mend the environment, alone: a second bootstrap waits for the first."""
    import time

    state = os.path.join(ROOT, ".tito")
    began = time.time()
    try:
        os.makedirs(state, exist_ok=True)
        with open(os.path.join(state, "bootstrap.lock"), "ab") as lock:
            hold(lock)
            if venv.has(wanted):
                return
            with open(os.path.join(state, "bootstrap.log"), "wb") as log:
                build(venv, wanted, dev, extras, Shell(log, lock, state))
    except OSError as error:
        raise Problem("cannot make {0}: {1}".format(venv.path, error))
    say("the environment is ready ({0:.0f} s)".format(time.time() - began))


def hold(lock):
    """Take the lock; it goes when the file is closed, also when this process is killed."""
    try:
        import fcntl
    except ImportError:
        return hold_on_windows(lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("waiting for another bootstrap of this tree")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return None


def hold_on_windows(lock):
    """Take the lock by polling: msvcrt gives up after ten seconds by itself."""
    import msvcrt

    told = False
    while True:
        try:
            return msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)
        except OSError:
            if not told:
                say("waiting for another bootstrap of this tree")
            told = True


class Shell:
    """Runs the installers: output to a log, a clean environment, a working directory of ours."""

    def __init__(self, log, lock, folder):
        self.log = log
        # An installer that outlives a killed bootstrap keeps the lock until it is done.
        self.kept_open = () if WINDOWS else (lock.fileno(),)
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if k not in UNWANTED}

    def ok(self, command, folder=None):
        """Run a command and say whether it succeeded."""
        import subprocess

        self.log.write("$ {0}\n".format(" ".join(command)).encode("utf-8", "surrogateescape"))
        self.log.flush()
        try:
            status = subprocess.call(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                env=self.environment,
                cwd=folder or self.folder,
                pass_fds=self.kept_open,
            )
        except OSError as error:
            self.log.write("{0}\n".format(error).encode("utf-8", "surrogateescape"))
            return False
        return status == 0

    def story(self):
        """What the log says so far."""
        self.log.flush()
        with open(self.log.name, "rb") as stream:
            return stream.read().decode("utf-8", "replace")


def build(venv, wanted, dev, extras, shell):
    """Bring the environment from whatever it is to what is wanted."""
    discard_trash(shell.folder)
    owner = [THEIRS] if belongs_to_somebody(venv, shell) else []
    if not owner and not can_be_mended(venv, wanted):
        now = ".".join(str(part) for part in sys.version_info[:2])
        say("making .venv for Python {0}: once, in about a minute".format(now))
        put_aside(venv, shell.folder)
        os.mkdir(venv.path)
        venv.write([MAKING])
        create(venv, shell)
    known = [line for line in venv.facts() or () if line not in (MAKING, THEIRS)]
    venv.write([MAKING] + owner)
    try:
        install(venv, wanted, known, dev, extras, shell)
    except Problem:
        # Installers download everything before they change anything: what worked may still work.
        if known and healthy(venv, shell):
            venv.write(known + owner)
        raise
    subjects = [line.split(" ")[0] for line in wanted]
    kept = [line for line in known if line.split(" ")[0] not in subjects]
    venv.write(wanted + kept + owner)


def install(venv, wanted, known, dev, extras, shell):
    """Install what the stamp does not say is there: the lock, this project, the extras."""
    layer = "dev" if dev else "base"
    command = installer(venv, shell)
    locked = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "-r"]
    if not set(known).issuperset(line for line in wanted if line.startswith(layer)):
        say("installing what scripts/requirements/{0}.txt locks".format(layer))
        require(shell, command + locked + [lock_file(layer)])
    # The build backend is among the locked packages: nothing is fetched to install this tree.
    require(shell, command + ["--no-build-isolation", "--no-deps", "-e", "."])
    for extra in extras:
        say("installing the extra {0}".format(extra))
        if os.path.exists(lock_file(extra)):
            require(shell, command + locked + [lock_file(extra)])
            continue
        require(shell, command + ["--no-build-isolation", "-e", ".[{0}]".format(extra)])
    if not healthy(venv, shell):
        raise Problem(failure_text(shell, "the new environment does not work"))


def healthy(venv, shell):
    """Whether the environment can import what every command needs."""
    return shell.ok([venv.python, "-P", "-c", "import numpy, pytest, rich, tinytorch, tito"])


def can_be_mended(venv, wanted):
    """Whether our own environment is of this Python and place, and was finished once."""
    return set(wanted[:2]) <= set(venv.facts() or ()) and os.path.exists(venv.python)


def belongs_to_somebody(venv, shell):
    """Whether something else made the environment; a Problem if it cannot be used."""
    facts = venv.facts()
    nothing = os.path.isdir(venv.path) and not os.listdir(venv.path)
    if nothing or not os.path.lexists(venv.path) or (facts and THEIRS not in facts):
        return False
    same = "import sys; sys.exit(sys.version_info[:2] != {0!r})".format(tuple(sys.version_info[:2]))
    if shell.ok([venv.python, "-I", "-c", same]):
        say("using the .venv that is there")
        return True
    raise Problem(
        "{0} was made by something else and does not run Python {1}.{2}\n"
        "  move it away, then try again".format(venv.path, *sys.version_info[:2])
    )


def put_aside(venv, folder):
    """Move an unusable environment out of the way in one step, then delete it."""
    if os.path.lexists(venv.path):
        try:
            os.rename(venv.path, os.path.join(folder, "trash-{0}".format(os.getpid())))
        except OSError as error:
            raise Problem(
                "cannot replace {0} ({1})\n  close the programs that use it, then try again".format(
                    venv.path, error.strerror
                )
            )
    discard_trash(folder)


def discard_trash(folder):
    """Delete what this or an earlier, killed bootstrap put aside."""
    import shutil

    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if not name.startswith("trash-"):
            continue
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
        else:
            shutil.rmtree(path, ignore_errors=True)


def create(venv, shell):
    """Make an environment, with pip in it where this Python can."""
    import shutil

    # The interpreter behind the one that runs this, which may live in the .venv being replaced.
    python = getattr(sys, "_base_executable", None) or sys.executable
    uv = shutil.which("uv")
    ways = [
        [python, "-P", "-m", "venv", venv.path],
        [python, "-P", "-m", "venv", "--without-pip", venv.path],
    ]
    if uv:
        ways.append([uv, "venv", "--quiet", "--allow-existing", "--python", python, venv.path])
    if not any(shell.ok(way) for way in ways):
        raise Problem("this Python cannot make an environment" + MEND.format(shell.log.name))


def installer(venv, shell):
    """The command that installs into the environment: its own pip, this Python's, or uv."""
    import shutil

    python = getattr(sys, "_base_executable", None) or sys.executable
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    ways = [
        [venv.python, "-P", "-m", "pip"],
        [python, "-P", "-m", "pip", "--python", venv.python],
    ]
    for way in ways:
        if shell.ok(way + ["--version"]):
            return way + ["install"] + quiet
    uv = shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", venv.python]
    raise Problem("this Python has no pip and cannot make one" + MEND.format(shell.log.name))


MEND = """
  on Debian and Ubuntu:  sudo apt install python3-venv
  anywhere else:         install uv, or a Python that comes with ensurepip
  then run the same command again; details: {0}"""


def require(shell, command):
    """Run an installer from the root of the tree; a failure becomes a Problem that explains."""
    if shell.ok(command, ROOT):
        return
    story = shell.story()
    if any(sign in story for sign in OFFLINE_SIGNS):
        raise Problem(
            "cannot download the packages: the network or its proxy does not answer\n"
            "  the first run needs the network, later runs do not; connect, then run it again\n"
            "  details: {0}".format(shell.log.name)
        )
    raise Problem(failure_text(shell, "an installation failed"))


def failure_text(shell, what):
    """What went wrong, with the end of the log for those who can read it."""
    lines = shell.story().rstrip().splitlines()[-12:]
    shown = "".join("\n  | " + line for line in lines)
    return "{0}{1}\n  the whole log: {2}".format(what, shown, shell.log.name)


def run_with_given(python, command):
    """Run in the environment of the interpreter that TITO_BOOTSTRAP_PYTHON names."""
    if not os.path.exists(python):
        raise Problem("TITO_BOOTSTRAP_PYTHON names no file: {0}".format(python))
    if not command:
        return 0
    scripts = os.path.dirname(os.path.abspath(python))
    name = command[0] + (".exe" if WINDOWS else "")
    if command[0] in ("tito", "pytest") and not os.path.exists(os.path.join(scripts, name)):
        command = [python, "-P", "-m"] + command
    return run(command, scripts, dict(os.environ))


def run(command, scripts, environment):
    """Become the command, with the environment's programs first on the path."""
    environment.pop("PYTHONHOME", None)
    environment["PATH"] = scripts + os.pathsep + environment.get("PATH", os.defpath)
    try:
        if WINDOWS:
            return run_on_windows(command, environment)
        os.execvpe(command[0], command, environment)
    except OSError as error:
        raise Problem("cannot run {0}: {1}".format(command[0], error.strerror))


def run_on_windows(command, environment):
    """Run as a child: Windows cannot replace a process and keep its exit status."""
    import shutil
    import subprocess

    # Paths that the code page cannot write, and output in UTF-8, on every Python.
    environment.setdefault("PYTHONUTF8", "1")
    program = shutil.which(command[0], path=environment["PATH"]) or command[0]
    with subprocess.Popen([program] + command[1:], env=environment) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
