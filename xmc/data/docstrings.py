"""Docstrings and parameter names of everything public in the standard library and in named packages, as JSON lines.

`pydoc.py` runs this file as a script in an interpreter of its own (`python -P docstrings.py [package ...] > lines`), so
it imports the standard library alone. Whatever the imports print, patch or register ends with that interpreter, and
the result does not depend on what the caller has loaded.
"""

import importlib
import inspect
import itertools
import json
import os
import pkgutil
import re
import sys
import traceback
import warnings
from collections.abc import Collection, Iterator
from types import ModuleType

# They open windows or browsers, print, read the terminal, or are no library code.
EXCLUDED = frozenset(
    {"antigravity", "distutils", "ensurepip", "idlelib", "lib2to3", "pip", "readline", "rlcompleter", "test", "this"}
    | {"tkinter", "turtle", "turtledemo"}
)
_TESTS = frozenset({"conftest", "testing", "tests"})


def modules(root: str) -> Iterator[tuple[str, ModuleType]]:
    """The public module `root` and its public submodules in order of name, without those that fail to import."""
    try:
        module = importlib.import_module(root)
    except (Exception, SystemExit):
        return
    yield root, module
    for child in sorted(info.name for info in pkgutil.iter_modules(getattr(module, "__path__", ()))):
        if not child.startswith("_") and child not in EXCLUDED | _TESTS:
            yield from modules(f"{root}.{child}")


def members(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Qualified name and object of each public class, function and method that the module offers as its own."""
    exported = getattr(module, "__all__", None)
    for name, value in sorted(vars(module).items()):
        if exported is None:
            own = not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
        else:
            own = name in exported
        if not own or not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        yield name, value
        if inspect.isclass(value):
            for method_name, method in sorted(vars(value).items(), key=lambda item: str(item[0])):
                function = getattr(method, "__func__", method)
                if not str(method_name).startswith("_") and inspect.isroutine(function):
                    yield f"{name}.{method_name}", function


# A call of {name}; parentheses may nest three deep.
_CALL = r"(?:\b[\w.]+\.)?\b{name}\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
_NUMPY_HEADER = re.compile(r"\s*(other )?(parameters|arguments|args|keyword arguments)\s*$", re.IGNORECASE)
_UNDERLINE = re.compile(r"\s*[-=~]{3,}\s*$")
_BLOCK = re.compile(
    r"\s*([\w ,'-]{0,40}\s)?(args|arguments?|kwargs|kwds|keywords|params|parameters?)(\s\w+){0,3}\s*:(\s|$)",
    re.IGNORECASE,
)
_FIELD = re.compile(r"\s*[:@](param|parameter|arg|argument|key|keyword|kwarg|type|kwtype)\b", re.IGNORECASE)
_SIGNATURE_NAME = re.compile(r"(?<![\w.='\"])([A-Za-z]\w*)(?=\s*[\[\],=:)])")
_RETURNING_CALL = re.compile(r"^[ \t]*" + _CALL.format(name=r"\w+") + r"[ \t]*->", re.MULTILINE)
_ITEM = re.compile(  # a name, or several with commas, as a list item or in the first column of a table
    r"\s*(?:[-+*\u2022]\s+)?[*`'\"]*(\w+)[*`'\"]*(?:\s*,\s*[*`'\"]*\w+[*`'\"]*)*"
    r"\s*(?:\([^()]*\)|<[^<>]*>)?\s*(?::|--|[\u2013\u2014]|-\s|=\s|\s\s|\t|$)"
)


def parameters(value: object, name: str, text: str) -> list[str]:
    """Names of the parameters of `value` in their order.

    Some built-ins have no signature; theirs is the call that their docstring `text` begins with, or none.
    """
    try:
        names = list(inspect.signature(value).parameters)  # type: ignore[arg-type]
    except Exception:  # a foreign __signature__ or annotation may raise anything
        call = re.match(_CALL.format(name=re.escape(name)), text)
        names = _SIGNATURE_NAME.findall(re.sub(r"=\s*[\w.]+", "=", call.group().partition("(")[2])) if call else []
    return list(dict.fromkeys(name for name in names if name not in {"self", "cls"} and not name.startswith("_")))


def without_parameters(text: str, name: str, names: Collection[str]) -> str:
    """The docstring `text` of `name` without what lists its parameters `names`.

    Cut are: calls of `name` with their arguments (`f(a, b) -> c`), numpy's underlined "Parameters" sections, Google's
    "Args:" blocks, reST fields (`:param a:`), and items or table rows that begin with a parameter. Prose that mentions
    a parameter stays.
    """
    text = _RETURNING_CALL.sub("", text)
    if f"{name}(" in text:
        call = _CALL.format(name=re.escape(name))
        text = re.sub(rf"^[ \t]*{call}", "", text, flags=re.MULTILINE)
        text = re.sub(call, f"{name}()", text)
    kept: list[str] = []
    cut_from: int | None = None  # indentation of the line whose continuation lines are being cut
    for line in _without_numpy_sections(text.splitlines()):
        if cut_from is not None and (not line.strip() or _indent(line) > cut_from):
            continue
        item = _ITEM.match(line)
        cut = _BLOCK.match(line) or _FIELD.match(line) or (item and item[1] in names)
        cut_from = _indent(line) if cut else None
        if not cut:
            kept.append(line.rstrip())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()


def _without_numpy_sections(lines: list[str]) -> Iterator[str]:
    inside = False
    for line, below in itertools.pairwise([*lines, ""]):
        if line.strip() and _UNDERLINE.match(below):
            inside = bool(_NUMPY_HEADER.match(line))
        if not inside:
            yield line


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def documents(roots: Collection[str]) -> Iterator[dict[str, str | list[str]]]:
    """One document for each distinct docstring below `roots`: id, module, parameters and text."""
    seen: set[str] = set()
    for root in roots:
        for module_name, module in modules(root):
            for qualified, value in members(module):
                docstring = getattr(value, "__doc__", None)
                if not isinstance(docstring, str):
                    continue
                text, name = inspect.cleandoc(docstring), qualified.rpartition(".")[2]
                names = parameters(value, name, text)
                text = without_parameters(text, name, names)
                if len(text.split()) < 3 or text in seen:
                    continue
                seen.add(text)
                yield {"id": f"{module_name}.{qualified}", "module": module_name, "parameters": names, "text": text}


def main() -> None:
    """Write the documents to standard output and an error of our own to standard error; imports reach neither."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    errors = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    warnings.simplefilter("ignore")
    standard = sorted(name for name in sys.stdlib_module_names - EXCLUDED if not name.startswith("_"))
    status = 0
    try:
        with output:
            output.writelines(json.dumps(document) + "\n" for document in documents([*standard, *sys.argv[1:]]))
    except BaseException:
        status = 1
        errors.write(traceback.format_exc())
        errors.flush()
    os._exit(status)  # without the exit handlers of whatever was imported


if __name__ == "__main__":
    main()
