"""The trust boundary: the grader in one process, the student's code in another.

    server = Server({"tinytorch.core.tensor": Source(text, "modules/01_tensor/tensor.py"), …})
    server.start()                     # returns at once; NumPy is imported meanwhile
    install(server)                    # from here on, `import tinytorch…` gives proxies
    server.fresh(checkpoint_seconds)   # before each checkpoint: a new worker
    server.begin_test(seconds)         # around each test
    server.fatal                       # None, or the WorkerDied, WorkerTimeout, ProtocolError
    server.end_test()                  # the same, and a WorkerTimeout if the test took too long
    server.take_output()               # what the student's code printed, made safe to show
    server.isolation                   # which layers of protection are in force, and why not
    server.peak_memory()               # bytes, over the checkpoint's workers
    uninstall(); server.close()

What the student's code raises arrives as a `StudentError` that is also of the nearest builtin
exception. `MissingModule` and `MissingName` are StudentErrors of no builtin kind: no test can
take them for an error it asked for. `WorkerDied`, `WorkerTimeout` and `ProtocolError` end the
worker; `fatal` and `end_test` give them even when the test swallowed them.
"""

from tito.isolation.errors import (
    Frame,
    IsolationError,
    MissingModule,
    MissingName,
    ProtocolError,
    StaleHandle,
    StudentError,
    UseOutsideTest,
    WorkerDied,
    WorkerTimeout,
)
from tito.isolation.limits import Limits
from tito.isolation.proxy import Probe, current, fetch, install, uninstall
from tito.isolation.server import Server, Source

__all__ = [
    "Frame",
    "IsolationError",
    "Limits",
    "MissingModule",
    "MissingName",
    "ProtocolError",
    "Server",
    "Source",
    "StaleHandle",
    "StudentError",
    "UseOutsideTest",
    "WorkerDied",
    "WorkerTimeout",
    "current",
    "fetch",
    "install",
    "probe",
    "uninstall",
]


probe = Probe
