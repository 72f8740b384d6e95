"""Turn a module with solutions into the student's stub."""

from tito.source import BEGIN, END, ModuleSource, Region


def body_size(module: ModuleSource, region: Region) -> int:
    """The lines of code in a solution, blank lines and comments left out."""
    body = module.lines[region.begin : region.end - 1]
    return sum(1 for line in body if line.strip() and not line.strip().startswith("#"))


def stub_text(rung_id: str, module: ModuleSource, region: Region) -> list[str]:
    """The lines that take a solution's place, markers included."""
    marker = module.lines[region.begin - 1]
    indent = marker[: len(marker) - len(marker.lstrip())]
    size = body_size(module, region)
    step = f", step {region.step}" if region.step is not None else ""
    return [
        f"{indent}{BEGIN}",
        f"{indent}# about {size} line{'s' if size != 1 else ''}",
        f'{indent}raise NotImplementedError("module {rung_id}{step}: {region.name}")',
        f"{indent}{END}",
    ]


def strip(rung_id: str, module: ModuleSource) -> str:
    """The student's text of a module: every solution body becomes a stub that raises.

    Nothing else changes: signatures, docstrings, given code, prose and unit tests stay.
    """
    lines: list[str] = []
    at = 0
    for region in module.regions:
        lines += module.lines[at : region.begin - 1]
        lines += stub_text(rung_id, module, region)
        at = region.end
    lines += module.lines[at:]
    return "\n".join(lines) + "\n"
