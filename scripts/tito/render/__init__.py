"""Turn a report into text: badges, a timeline, a summary. Pure: no clock, no files, same bytes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tito.report import Report


def render_all(report: "Report") -> dict[str, str]:
    """Every file that a report becomes: relative path to text."""
    # Loaded here because the checkpoints' helpers import this package for `failure` alone.
    from tito.render.outputs import outputs

    return outputs(report)
