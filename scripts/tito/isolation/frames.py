"""The lines that an exception passed through, down to where it was first raised.

Used beside the student's code: in the worker, and where unit tests run. Imports nothing of ours.
"""

from collections.abc import Callable, Iterator
from types import TracebackType

Place = tuple[str, int, str]  # file, line, function
CAUGHT = 8  # exceptions raised in place of one another that are followed


def frames_of(
    error: BaseException, ours: Callable[[str], bool], *, follow: int = CAUGHT
) -> list[Place]:
    """The places in files of ours that an exception passed through, the innermost last.

    A function that catches an exception and raises a clearer one in its place, as `apply` of
    module 01 does, hides where it went wrong. Where the caught one came from below that function,
    from lines of ours, the way goes on down to those.
    """
    steps = list(_steps(error.__traceback__))
    own = [_place(step) for step in steps if ours(step.tb_frame.f_code.co_filename)]
    caught = error.__cause__ or error.__context__
    if caught is None or not own or caught.__traceback__ is None or not follow:
        return own
    same = caught.__traceback__.tb_frame is steps[-1].tb_frame
    below = frames_of(caught, ours, follow=follow - 1) if same else []
    return [*own[:-1], *below] if len(below) > 1 else own


def _steps(step: TracebackType | None) -> Iterator[TracebackType]:
    """The steps of a traceback, the outermost first."""
    while step is not None:
        yield step
        step = step.tb_next


def _place(step: TracebackType) -> Place:
    code = step.tb_frame.f_code
    return code.co_filename, step.tb_lineno, code.co_qualname
