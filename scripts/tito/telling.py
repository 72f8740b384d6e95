"""Which failure to tell first: that of a single step before a general one, the first step before
a later one, and what is wrong before what is unwritten."""

from collections.abc import Iterable, Sequence

from tito.progress import Stub
from tito.report import Failure, Outcome
from tito.unit_outcomes import NOT_WRITTEN, is_stub


def exact_first(tests: Iterable[Outcome]) -> list[Outcome]:
    """Tests in the order to tell them.

    A test that asks for names calls everything once: where something came and was wrong, a test
    of that very step says it better. A name that is not there comes first all the same.
    """
    return sorted(tests, key=lambda test: test.kind == "imports" and test.status == "failed")


def ordered(
    failures: Iterable[Failure], checkpoint: str, source: str, stubs: Sequence[Stub]
) -> list[Failure]:
    """Failures in the order to tell them; the first stub of the module before later ones.

    A test may meet a later stub before the first one left, which is the one to write.

    Args:
        failures: What tests said.
        checkpoint: The two digits of the module.
        source: Its file.
        stubs: Those that are left in it.
    """
    failures = list(failures)
    wrong = [failure for failure in failures if not is_stub(failure)]
    unwritten = [failure for failure in failures if is_stub(failure)]
    unwritten.sort(key=lambda failure: (failure.file or "", failure.line or 0))
    own = bool(unwritten) and unwritten[0].file in (None, source)
    if own and stubs and unwritten[0].line != stubs[0].line:
        unwritten.insert(0, to_write(checkpoint, source, stubs[0]))
    return [*wrong, *unwritten]


def to_write(checkpoint: str, source: str, stub: Stub) -> Failure:
    """What a test of a stub would say."""
    step = f"step {stub.step} of " if stub.step else ""
    hint = f"tito checkpoint hint {checkpoint} --step {stub.step}" if stub.step else ""
    return Failure(
        f"{stub.name}: {NOT_WRITTEN} ({step}module {checkpoint})",
        hint=f"its step says what is wanted; then: {hint}" if hint else "",
        file=source,
        line=stub.line,
        step=stub.step,
        command=f"tito test {checkpoint}",
    )
