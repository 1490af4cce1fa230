"""What a shell offers where a command is typed half: `xmc completion bash` prints what tells it to ask here."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, get_args, get_origin

from xmc.commands import COMMANDS, load
from xmc.config import TrainConfig
from xmc.config.choices import groups, options_of, registries
from xmc.config.keys import fields_of, keys_of
from xmc.config.typed import ARGUMENT, FLAGS
from xmc.errors import XMCError
from xmc.section import Section
from xmc.spelling import near_miss

ASK = "ask"
"""What a shell's script says to be told what fits, one candidate a line: `xmc completion ask -- <words so far>`."""

SHELLS = {
    "bash": """\
# xmc's completion: add this line to ~/.bashrc:  eval "$(xmc completion bash)"
_xmc() {
    local typed="${COMP_LINE:0:$COMP_POINT}" words
    read -ra words <<< "$typed"
    [[ "$typed" == *" " ]] && words+=("")
    local last="${words[-1]}"
    mapfile -t COMPREPLY < <(xmc completion ask -- "${words[@]:1}" 2>/dev/null)
    [[ "$last" == *=* && "$COMP_WORDBREAKS" == *=* ]] && COMPREPLY=("${COMPREPLY[@]#*=}")
    [[ "${COMPREPLY[*]}" == *[=./] || "$last" == *=* ]] && compopt -o nospace
}
complete -o default -F _xmc xmc
""",
    "zsh": """\
# xmc's completion: add this line to ~/.zshrc, behind compinit:  eval "$(xmc completion zsh)"
_xmc() {
    local -a found
    found=("${(@f)$(xmc completion ask -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    found=(${found:#})
    if (( $#found )); then
        compadd -S '' -- $found
    else
        compset -P '*='
        _files
    fi
}
compdef _xmc xmc
""",
    "fish": """\
# xmc's completion: add this line to ~/.config/fish/config.fish:  xmc completion fish | source
function __xmc_found
    set -l words (commandline -opc)
    set -l found (xmc completion ask -- $words[2..-1] (commandline -ct) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else if string match -q '*=*' -- (commandline -ct)
        set -l parts (string split -m 1 = -- (commandline -ct))
        for path in $parts[2]*
            echo "$parts[1]=$path"
        end
    end
end
complete -c xmc -f -a '(__xmc_found)'
""",
}


def completion(arguments: Sequence[str]) -> str:
    """The script of a shell, or the candidates that one asks for.

    Raises:
        XMCError: it is no shell that is known.
    """
    if arguments[:2] == [ASK, "--"]:
        return "".join(f"{one}\n" for one in candidates(arguments[2:]))
    shell = arguments[0] if arguments else ""
    if shell not in SHELLS:
        raise XMCError(f"got {shell!r}{near_miss(shell, list(SHELLS))}")
    return SHELLS[shell]


def candidates(words: Sequence[str]) -> list[str]:
    """What the last of the words behind `xmc` may become; none where it may be anything, such as a file."""
    *before, last = words or [""]
    if not before:
        return sorted(name for name in COMMANDS if name.startswith(last))
    if before[0] not in COMMANDS:
        return []
    schema = load(before[0]).schema
    if last.startswith("-"):
        return [flag for flag in FLAGS if flag.startswith(last)]
    key, equals, _ = last.partition("=")
    found = (f"{key}={value}" for value in _values(schema, key)) if equals else _keys(schema, before[1:], last)
    return sorted({one for one in found if one.startswith(last)})


def _keys(schema: type[Section], before: Iterable[str], last: str) -> Iterator[str]:
    """Keys, as far as their next dot: `run=`, `trainer.`; those of the parts that are chosen, or of the defaults."""
    matches = (match for word in before if (match := ARGUMENT.fullmatch(word)))
    given = {str(match["key"]): str(match["value"]) for match in matches}
    parts = {registry.group: registry.names() for registry in registries()}
    chosen = {group: name for group, name in given.items() if group in groups()}
    plain = all(name in parts.get(group, ()) for group, name in chosen.items())  # presets choose parts by themselves
    keys = keys_of(schema, chosen if plain else None) | (groups() if issubclass(schema, TrainConfig) else set())
    for key in keys:
        if key.startswith(last):
            head, dot, _ = key[len(last) :].partition(".")
            yield last + head + ("." if dot else "=")


def _values(schema: type[Section], key: str) -> Iterator[str]:
    if issubclass(schema, TrainConfig) and key in groups():
        yield from options_of(key)
        return
    for field in fields_of(schema, key):
        if get_origin(field.annotation) is Literal:
            yield from map(str, get_args(field.annotation))
        elif field.annotation is bool:
            yield from ("true", "false")
