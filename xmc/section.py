"""A part of the configuration: its keys, their types, defaults and meaning, in one class."""

import ast
import functools
import inspect
import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, ValidationInfo, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails

SAVED = "saved"
"""Validation context of the configuration of a run, which lacks the keys that are newer than it."""


@dataclass(frozen=True)
class Before:
    """Stands in the type of a key that was added later: its value in runs from before there was such a key."""

    value: Any

    def get(self) -> Any:
        return self.value() if callable(self.value) else self.value


class Section(BaseModel):
    """Unknown keys are errors, values are not converted behind the user's back.

    What stands as a string behind a key is its explanation, which `--help` shows.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False, defer_build=True
    )

    @model_validator(mode="wrap")
    @classmethod
    def _all_of_a_saved_run(cls, values: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Of a run that was saved, a key that is missing has no default: it is older than the key, or damaged."""
        section = handler(values)
        if info.context != SAVED or not isinstance(values, Mapping):
            return section
        missing: list[InitErrorDetails] = []
        for name in cls.model_fields.keys() - section.model_fields_set:
            older = [mark for mark in cls.model_fields[name].metadata if isinstance(mark, Before)]
            if older:
                section.__dict__[name] = older[0].get()
            else:
                missing.append({"type": "missing", "loc": (cls.model_fields[name].alias or name,), "input": values})
        if missing:
            raise ValidationError.from_exception_data(cls.__name__, missing)
        return section


def named(section: type[Section]) -> dict[str, FieldInfo]:
    """The fields of a section by their keys."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def explanations(section: type[Section]) -> dict[str, str]:
    """What each key of a section means; keys that say it themselves have none. What a type means stands with it."""
    told = {name: field.description for name, field in section.model_fields.items() if field.description is not None}
    for of in reversed(section.__mro__):
        if issubclass(of, Section):
            told |= _strings_behind_fields(of)
    return {
        key: told[name]
        for (key, _), name in zip(named(section).items(), section.model_fields, strict=True)
        if name in told
    }


def _strings_behind_fields(section: type[Section]) -> dict[str, str]:
    return _strings_of(sys.modules[section.__module__]).get(section.__qualname__, {})


@functools.cache
def _strings_of(module: ModuleType) -> dict[str, dict[str, str]]:
    """Of each class in a module, by its qualified name, the string behind each field that has one."""
    return dict(_strings_in(ast.parse(inspect.getsource(module)), ""))


def _strings_in(tree: ast.AST, prefix: str) -> Iterator[tuple[str, dict[str, str]]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield f"{prefix}{node.name}", _strings(node)
            yield from _strings_in(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            yield from _strings_in(node, f"{prefix}{node.name}.<locals>.")


def _strings(section: ast.ClassDef) -> dict[str, str]:
    return {
        field.target.id: inspect.cleandoc(behind.value.value)
        for field, behind in itertools.pairwise(section.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(behind, ast.Expr)
        and isinstance(behind.value, ast.Constant)
        and isinstance(behind.value.value, str)
    }
