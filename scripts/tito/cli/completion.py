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
PATHS = "$paths"  # stands for whatever files there are
A_MODULE = ("NN", "MODULE", "integration NN")  # what the parser calls an argument that names one
TREE = "-C|--root"  # may come before a command, with its value
A_PATH = ("FILE", "FOLDER", "DIR", "URL|PATH")


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
    """What may follow each line so far; of the patterns that match a line, the first one counts.

    `module start *` is that action with whatever was typed behind it, `checkpoint run *--start `
    an option that wants its value. Taken from the parser itself, so that none can be forgotten.
    """
    lines: dict[str, list[str]] = {}
    values: dict[str, list[str]] = {}

    def visit(line: str, at: argparse.ArgumentParser) -> None:
        actions = at.actions  # type: ignore[attr-defined]
        start = f"{line} *" if line else ""
        words = list(actions)
        for argument in at._actions:
            known = [] if argument.nargs == 0 else _known(argument, line, ladder)
            if not argument.option_strings and not actions:
                words += known
            for option in argument.option_strings if argument.nargs != 0 else ():
                values[f"{start}{option} "] = known
        if line == "test":
            words.append("integration")
        lines[start or "*"] = [*dict.fromkeys(words), *at.options]  # type: ignore[attr-defined]
        for name, below in actions.items():
            visit(f"{line} {name}".strip(), below)

    visit("", parser)
    deepest_first = sorted(lines.items(), key=lambda item: -len(item[0].split()))
    return values | dict(deepest_first)


def _known(argument: argparse.Action, line: str, ladder: Ladder) -> list[str]:
    """What may be typed for an argument; nothing where that is free text or a number."""
    if argument.choices:
        return [str(choice) for choice in argument.choices]
    if argument.metavar in A_MODULE:
        milestone = line.startswith("milestone")
        return [m.id for m in ladder.milestones] if milestone else [MODULES]
    return [PATHS] if argument.metavar in A_PATH else []


def _case(words: dict[str, list[str]], fill: str, paths: str) -> str:
    """A `case` of bash and zsh; `fill` takes the words, and `paths` offers files."""
    rows = []
    for pattern, known in words.items():
        quoted = "*".join(f'"{part}"' if part else "" for part in pattern.split("*"))
        rows.append(f"        {quoted}) {paths if PATHS in known else fill % ' '.join(known)} ;;")
    return "\n".join(rows)


def bash(words: dict[str, list[str]], modules: str) -> str:
    """For bash 3.2 and later, which offers files where no word fits; it takes `=` for a word."""
    return f"""\
# Completion of tito for bash; see: tito completion --help
_tito() {{
    local modules="{modules}"
    local words word typed=() current="${{COMP_WORDS[COMP_CWORD]}}"
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        [ "$word" = "=" ] || typed+=("$word")
    done
    [ "$current" = "=" ] && current=""
    while [ "${{#typed[@]}}" -gt 1 ]; do
        case "${{typed[0]}}" in {TREE}) typed=("${{typed[@]:2}}") ;; *) break ;; esac
    done
    local line="${{typed[*]}} "
    case "$line" in
{_case(words, 'words="%s"', 'words=""')}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
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
    local known line
    local -a typed=("${{(@)words[2,CURRENT-1]}}")
    while true; do
        if [[ $typed[1] == --root=* ]]; then shift typed
        elif [[ $#typed -gt 1 && $typed[1] == ({TREE}) ]]; then shift 2 typed
        else break
        fi
    done
    line="${{(j: :)typed}} "
    if [[ $words[CURRENT] == --*=* ]]; then
        line="${{line# }}${{words[CURRENT]%%=*}} "
        compset -P 1 "*="
    fi
    case "$line" in
{_case(words, 'known="%s"', "_files; return")}
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
        "    set -e typed[1]",
        "    while set -q typed[1]",
        "        if string match -q -- '--root=*' $typed[1]",
        "            set -e typed[1]",
        f"        else if set -q typed[2]; and string match -qr '^({TREE})$' -- $typed[1]",
        "            set -e typed[1..2]",
        "        else",
        "            break",
        "        end",
        "    end",
        "    set -l line (string join ' ' -- $typed)' '",
        "    set -l part (commandline -ct)",
        "    set -l option (string match -r -- '^--[a-z-]+=' $part)",
        "    and set line (string trim -l -- \"$line\"(string trim -rc = -- $option)' ')",
        '    switch "$line"',
    ]
    for pattern, known in words.items():
        offer = f"string split -n ' ' -- \"{' '.join(known)}\""
        if PATHS in known:
            offer = "__fish_complete_path (string replace -- \"$option\" '' $part)"
        lines += [
            f"        case '{pattern}'",
            f"            {offer} | string replace -r -- '^' \"$option\"",
        ]
    lines += ["    end", "end", "complete -c tito -f -a '(__tito_words)'"]
    return "\n".join(lines) + "\n"
