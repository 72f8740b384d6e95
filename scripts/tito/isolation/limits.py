"""What a worker may use."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one worker process.

    Attributes:
        memory: Address space, in bytes.
        processes: Processes and threads at once.
        file_size: The largest file it may write, in bytes.
        open_files: Open files at once.
        cpu_seconds: Processor time over its whole life, all threads together.
        disk: Space in its temporary directory, in bytes, where the kernel can bound it.
    """

    memory: int = 4 << 30
    processes: int = 64
    file_size: int = 64 << 20
    open_files: int = 256
    cpu_seconds: int = 900
    disk: int = 256 << 20
