"""What the faces share: names that are looked up in `tinytorch.core` when they are first used."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

LESSONS = {
    "setup": "00",
    "tensor": "01",
    "activations": "02",
    "layers": "03",
    "losses": "04",
    "autograd": "05",
    "optimizers": "06",
    "training": "07",
    "dataloader": "08",
    "spatial": "09",
    "tokenization": "10",
    "embeddings": "11",
    "attention": "12",
    "transformers": "13",
}


def look_up(face: str, name: str, module: str, attribute: str) -> Any:
    """Fetch `attribute` of `tinytorch.core.<module>` on behalf of a face.

    Raises:
        ImportError: If the module is not exported yet, or lacks the name; it says which module
            of the course brings the name, and what to run.
    """
    lesson = LESSONS[module]
    try:
        return getattr(import_module(f"tinytorch.core.{module}"), attribute)
    except ModuleNotFoundError as error:
        if error.name != f"tinytorch.core.{module}":
            raise
        reason = "is not exported yet"
    except AttributeError:
        reason = f"has no {attribute}"
    raise ImportError(
        f"{face}.{name} comes with module {lesson} ({module}), which {reason}; "
        f"build modules/{lesson}_{module}/{module}.py, then run: tito export {lesson}",
        name=face,
    )


def lazy(
    face: str, names: Mapping[str, str], *, submodules: str = "", **renamed: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and `__dir__` of a face.

    Args:
        face: The import path of the face, for messages.
        names: By module of `tinytorch.core`, its names, separated by spaces.
        submodules: Names, separated by spaces, of modules below the face.
        renamed: By name in the face, `module.attribute` where that differs.
    """
    below = submodules.split()
    table = {name: (module, name) for module, listed in names.items() for name in listed.split()}
    for name, place in renamed.items():
        module, _, attribute = place.partition(".")
        table[name] = (module, attribute)

    def __getattr__(name: str) -> Any:
        if name in below:
            return import_module(f"{face}.{name}")
        if name not in table:
            raise AttributeError(f"module {face!r} has no attribute {name!r}")
        return look_up(face, name, *table[name])

    return __getattr__, lambda: sorted(table)
