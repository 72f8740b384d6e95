"""Which failures to show first, the same in the summary and in the annotations."""

from tito.report import CheckpointResult, CustomResult, Failure, Outcome, Report


def begun(report: Report) -> list[CheckpointResult | CustomResult]:
    """The checkpoints that were begun and have not passed: blocked ones last, and after them
    those beyond the ladder."""
    every = (*report.checkpoints, *report.custom)
    found = [c for c in every if c.status not in ("passed", "not_started")]
    return sorted(found, key=lambda c: (isinstance(c, CustomResult), c.status == "blocked"))


def failing(checkpoint: CheckpointResult | CustomResult) -> list[tuple[Outcome, Failure]]:
    """The tests that failed, each with its failure; those not started come last."""
    found = [(test, test.failure) for test in checkpoint.tests if test.failure is not None]
    return sorted(found, key=lambda pair: pair[0].status == "not_started")
