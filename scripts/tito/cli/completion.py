"""tito completion: a script that lets a shell complete commands, actions, options and modules."""

import argparse

from tito.ladder import Ladder, load_ladder

FILES = {
    "bash": "~/.local/share/bash-completion/completions/tito",
    "zsh": "~/.zfunc/_tito",
    "fish": "~/.config/fish/completions/tito.fish",
}
NOW = {
    "bash": 'eval "$(tito completion bash)"',
    "zsh": 'eval "$(tito completion zsh)"',
    "fish": "tito completion fish | source",
}
MODULES = "$modules"  # stands for every module's number and names, which a script holds once


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tito completion`."""
    parser.add_argument("shell", choices=tuple(NOW), help="the shell to complete in")
    now = "\n".join(f"  {shell:<6}{line}" for shell, line in NOW.items())
    files = "\n".join(
        f"  {shell:<6}tito completion {shell} > {file}" for shell, file in FILES.items()
    )
    parser.epilog = (
        f"for this session:\n{now}\n\n"
        f"for good (make the folder first; again after an update of tito):\n{files}\n\n"
        "zsh wants `fpath+=~/.zfunc` before `compinit` in ~/.zshrc. It holds the commands,\n"
        "options and modules, taken from the tool itself, and runs nothing while you type."
    )
    parser.set_defaults(run=run, anywhere=True)


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    from tito.cli.main import build_parser

    words = vocabulary(build_parser(None, everything=True), load_ladder(options.root))
    rungs = load_ladder(options.root).checkpoints
    modules = [name for rung in rungs for name in (rung.id, rung.folder, rung.module)]
    write = {"bash": bash, "zsh": zsh, "fish": fish}[options.shell]
    print(write(words, " ".join(modules)), end="")
    return 0


def vocabulary(parser: argparse.ArgumentParser, ladder: Ladder) -> dict[str, list[str]]:
    """What may follow each line so far: "" for tito alone, "module start" for that action.

    Taken from the parser itself, so that no command can be forgotten.
    """
    milestones = [m.id for m in ladder.milestones]
    found: dict[str, list[str]] = {}

    def visit(line: str, at: argparse.ArgumentParser) -> None:
        actions = at.actions  # type: ignore[attr-defined]
        words = list(actions)
        for argument in at._actions:
            positional = not argument.option_strings
            if positional and argument.choices and not actions:
                words += [str(choice) for choice in argument.choices]
            elif positional and argument.dest == "milestone":
                words += milestones
            elif positional and argument.dest in ("module", "modules", "checkpoints"):
                words.append(MODULES)
        if line == "test":
            words.append("integration")
        found[line] = [*words, *at.options]  # type: ignore[attr-defined]
        for name, below in actions.items():
            visit(f"{line} {name}".strip(), below)

    visit("", parser)
    return found


def _case(words: dict[str, list[str]], indent: str) -> str:
    """A shell `case` over the longest known beginning of the line."""
    lines = sorted(words.items(), key=lambda item: -len(item[0].split()))
    return "\n".join(
        f'{indent}"{line} "*) words="{" ".join(known)}" ;;' for line, known in lines if line
    )


def bash(words: dict[str, list[str]], modules: str) -> str:
    """For bash 3.2 and later."""
    return f"""\
# Completion of tito for bash; see: tito completion --help
_tito() {{
    local modules="{modules}"
    local words line="${{COMP_WORDS[*]:1:COMP_CWORD-1}} "
    case "$line" in
{_case(words, "        ")}
        *) words="{" ".join(words[""])}" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _tito tito
"""


def zsh(words: dict[str, list[str]], modules: str) -> str:
    """For zsh with compinit, read with eval or found on fpath."""
    return f"""\
#compdef tito
# Completion of tito for zsh; see: tito completion --help
_tito() {{
    local modules="{modules}"
    local known line="${{(j: :)${{(@)words[2,CURRENT-1]}}}} "
    case "$line" in
{_case(words, "        ").replace(' words="', ' known="')}
        *) known="{" ".join(words[""])}" ;;
    esac
    compadd -- ${{(s: :)known}}
}}
if [ "$funcstack[1]" = "_tito" ]; then _tito "$@"; else compdef _tito tito; fi
"""


def fish(words: dict[str, list[str]], modules: str) -> str:
    """For fish 3 and later."""
    lines = [
        "# Completion of tito for fish; see: tito completion --help",
        "function __tito_words",
        f"    set -l modules '{modules}'",
        "    set -l typed (commandline -opc)",
        "    set -l line (string join ' ' -- $typed[2..-1])' '",
        '    switch "$line"',
    ]
    for line, known in sorted(words.items(), key=lambda item: -len(item[0].split())):
        if line:
            lines += [
                f"        case '{line} *'",
                f"            string split ' ' -- \"{' '.join(known)}\"",
            ]
    lines += ["        case '*'", f"            string split ' ' -- \"{' '.join(words[''])}\""]
    lines += ["    end", "end", "complete -c tito -f -a '(__tito_words)'"]
    return "\n".join(lines) + "\n"
