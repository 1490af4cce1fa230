"""What a message advises is taken by the command that prints it: its keys exist, its choices too, its values parse."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import TypeAdapter, ValidationError

from xmc.commands import COMMANDS, load
from xmc.config import TrainConfig
from xmc.config.choices import options_of
from xmc.config.keys import fields_of, takes_data

PACKAGE = Path(__file__).parent.parent / "xmc"
ANY = "\N{HORIZONTAL ELLIPSIS}"  # what a message fills in
KEY = r"[a-z_]+(?:[./][a-z_]+)*"
SECTIONS = tuple(f"{name}." for name in TrainConfig.model_fields)

Node = tuple[str, str]


@cache
def trees() -> dict[str, ast.Module]:
    """Every module of the package."""
    named = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): ast.parse(path.read_text()) for name, path in named.items()}


@cache
def imports(module: str) -> dict[str, Node]:
    """What a module calls by which name: of which module, and its name there; "" is the module itself."""
    found: dict[str, Node] = {}
    for node in ast.walk(trees()[module]):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "xmc":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found[alias.asname or alias.name] = (whole, "") if whole in trees() else (node.module, alias.name)
    return found


@cache
def definitions(module: str) -> dict[str, ast.AST]:
    found: dict[str, ast.AST] = {}
    for node in trees()[module].body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


def resolved(module: str, name: str) -> Node | None:
    """Where a name is defined, through modules that hand it on."""
    while name and name not in definitions(module):
        if name not in imports(module):
            return None
        module, name = imports(module)[name]
    return module, name


@cache
def used(module: str, name: str) -> set[Node]:
    """What a definition names."""
    found, tree = set(), definitions(module)[name]
    own = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    own |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in own and (place := resolved(module, node.id)) and place[1]:
            found.add(place)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            place = resolved(module, node.value.id)
            if place and not place[1] and (inner := resolved(place[0], node.attr)) and inner[1]:
                found.add(inner)
    return found


TRAINING = {command for command in COMMANDS if issubclass(load(command).schema, TrainConfig)}


def reached(command: str) -> set[Node]:
    """What a command may run: whatever it names, and what that names.

    What is wrong with the configuration of a run was told when that started.
    """
    own = f"xmc.commands.{command.replace('-', '_')}"
    waiting, seen = [("xmc.launch", "launch"), (own, "COMMAND")], set()
    while waiting:
        node = waiting.pop()
        module, name = node
        of_a_run = module.startswith("xmc.parts.") or name in ("TrainConfig", "FinetuneConfig")
        if node not in seen and (command in TRAINING or not of_a_run):
            seen.add(node)
            waiting += used(*node)
    return seen


@cache
def advice(module: str, name: str) -> set[tuple[str | None, str, str]]:
    """All remedies in the texts of a definition."""
    tree = definitions(module)[name]
    return {remedy for text in texts(tree) for remedy in remedies(text)} | {*commands_told(tree)}


def texts(tree: ast.AST) -> Iterator[str]:
    """The texts in a definition, with a mark for what is filled in; docstrings are none."""
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inner.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            inner |= {id(part) for part in ast.walk(node) if part is not node and isinstance(part, ast.Constant)}
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else ANY for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield re.sub(r"%[sdr]|%\.?\d*f", ANY, node.value)


def commands_told(tree: ast.AST) -> Iterator[tuple[str | None, str, str]]:
    """The remedies in what a definition gives to `shell_command`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "shell_command":
            command = ast.literal_eval(node.args[0])
            for given in node.keywords:
                value = given.value.value if isinstance(given.value, ast.Constant) else ANY
                yield command, str(given.arg), str(value).lower()


def remedies(text: str) -> Iterator[tuple[str | None, str, str]]:
    """Each piece of advice: the command that it names, if it does, a key and a value, ANY where that is open."""
    for found in re.finditer(rf"(?:^|[`:] ?)xmc ([a-z-]+)((?: (?:{KEY})=\S+)*)", text):
        yield found[1], "", ""
        for given in re.finditer(rf"({KEY})=([^\s`;,]+)", found[2]):
            yield found[1], given[1], given[2]
    rest = re.sub(rf"xmc [a-z-]+(?: (?:{KEY})=\S+)*", "", text)
    if " " in rest.strip():
        for found in re.finditer(rf"(?<![\w./{ANY}\"'-])({KEY})=(\[[^\]]*\]|[^\s,;:)\]`\"']*)", rest):
            yield None, found[1], found[2]
        for found in re.finditer(rf"\b[Ss]et ({KEY})\b(?!=)", rest):
            if "." in found[1] or "_" in found[1]:
                yield None, found[1], ANY
        for found in re.finditer(rf"(?<![\w.]){KEY}(?![\w=./])", rest):
            if found[0].startswith(SECTIONS):
                yield None, found[0], ANY


@cache
def refused(command: str, key: str, value: str) -> str | None:
    """Why a command does not take `key=value`, None where it does."""
    if command not in COMMANDS:
        return f"there is no command {command}"
    if not key:
        return None
    schema = load(command).schema
    if (command in TRAINING or (key == "data" and takes_data(schema))) and (options := options_of(key)):
        value = value.strip("[].").partition(",")[0]
        return None if not value or ANY in value or value in options else f"no choice {key}={value}"
    fields = fields_of(schema, key)
    if not fields:
        return f"xmc {command} has no key {key}"
    if ANY in value or value.rstrip(".") == "" or "<" in value:
        return None
    for field in fields:
        try:
            TypeAdapter(
                Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
            ).validate_python("-" if value == "-" else yaml.safe_load(value.rstrip(".")))
            return None
        except ValidationError as error:
            told = str(error).splitlines()[2].strip()
    return f"{key}={value}: {told}"


def collected() -> dict[tuple[str, str, str, str], str]:
    """Every piece of advice that a command which can print it refuses: module, command, key and value, and why."""
    found: dict[tuple[str, str, str, str], str] = {}
    for command in COMMANDS:
        for module, name in reached(command):
            for named, key, value in advice(module, name):
                if why := refused(named or command, key, value):
                    found[module, named or command, key, value] = why
    return found


EXCEPTIONS = {
    ("xmc.config.arguments", "key"): "stands for any key",
    ("xmc.config.typed", "key"): "likewise",
    ("xmc.launch", "key"): "likewise",
    ("xmc.config.help", "data"): "of a command that trains",
    ("xmc.config.help", "encoder"): "likewise",
    (
        "xmc.endings",
        "trainer.micro_batch_size",
    ): "or batch_size, which stands beside it",
    ("xmc.launch.composed", "resume"): "of a command that begins runs",
    ("xmc.config.saved", "run"): "of a comparison, runs",
    ("xmc.config.saved", "replay"): "of a run that fine-tunes, as all that is said of replay",
    ("xmc.workflow.forgetting", "replay"): "likewise",
    ("xmc.workflow.forgetting", "replay_fraction"): "likewise",
    ("xmc.data.corpus", "replay_fraction"): "likewise",
    ("xmc.model.encoder", "encoder.layers"): "of a new encoder; a saved one has what it was trained with",
    ("xmc.model.encoder", "encoder.max_length"): "likewise",
    ("xmc.model.encoder", "encoder.name"): "likewise",
    ("xmc.model.encoder", "encoder.pooling"): "likewise",
    ("xmc.model.sparse_ift", "sparse_ift"): "of a layer that is made; a saved one has been",
    ("xmc.model.sparse_ift", "sparse_ift.layers"): "likewise",
    ("xmc.model.sparse_ift", "sparse_ift.sparsity"): "likewise",
    ("xmc.model.hub", "k"): "Python, on the page of a model",
    ("xmc.config.meant", "key"): "stands for any key",
}
"""Module and key of what is no remedy for a command that can reach it, and why."""


def test_every_remedy_is_taken() -> None:
    wrong = collected()
    excused = {(module, key) for module, _, key, _ in wrong} & EXCEPTIONS.keys()
    assert excused == EXCEPTIONS.keys(), "an exception that nothing needs any more"
    told = [f"{module}: {why}" for (module, _, key, _), why in wrong.items() if (module, key) not in EXCEPTIONS]
    assert not told, "\n".join(sorted(set(told)))
