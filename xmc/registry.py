"""What can be chosen for a part of a run: by name, from this package or from another."""

import functools
import importlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin

from pydantic import Field, GetCoreSchemaHandler, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

from xmc.errors import XMCError
from xmc.section import Before, Section

P = TypeVar("P", bound=Section)


class Registry(Generic[P]):
    """The sections that can be chosen for one part, by their names, which are their `kind`.

    A name stands for `module:class`, as in an entry point, so that nothing is imported before it is looked up. Other
    packages add to it by entry points of the group `xmc.<group>`, `xmc.sparsity` for example. In a type annotation it
    says that the section is the one that `kind` names:

        sparsity: Annotated[SparsitySection, SPARSITY] = SPARSITY.default("set")

    group: the key of the part, with slashes, as it is chosen on the command line.
    """

    def __init__(self, group: str, base: type[P], parts: Mapping[str, str]) -> None:
        self.group = group
        self.base = base
        self._own = parts

    def names(self) -> list[str]:
        """What can be chosen."""
        return [*self._own, *(point.name for point in self._foreign() if point.name not in self._own)]

    def __getitem__(self, name: str) -> type[P]:
        """The section of that name.

        Raises:
            KeyError: there is none.
            XMCError: a package promises one, and it is none or cannot be imported.
        """
        if name in self._own:
            module, _, attribute = self._own[name].partition(":")
            own: type[P] = getattr(importlib.import_module(module), attribute)
            return own
        for point in self._foreign():
            if point.name == name:
                return self._loaded(point)
        raise KeyError(name)

    def sections(self) -> Iterator[type[P]]:
        """All that can be chosen; without those of packages that cannot be imported, which are told when chosen."""
        for name in self.names():
            with suppress(XMCError):
                yield self[name]

    def default(self, name: str, **changes: Any) -> Any:
        """As the default of a field: the section of that name, with some values of its own."""
        return Field(default_factory=lambda: self[name](**changes))

    def before(self, name: str) -> Before:
        """As `Before`: the section of that name."""
        return Before(lambda: self[name]())

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validated, serialization=core_schema.simple_ser_schema("any")
        )

    def _validated(self, value: Any, info: ValidationInfo) -> Section:
        if isinstance(value, self.base):
            return value
        if not isinstance(value, Mapping):
            raise PydanticCustomError("section", "expected keys, or one of: {names}", {"names": self._told()})
        if "kind" not in value:
            raise PydanticCustomError(
                "section", "its kind is missing; expected one of: {names}", {"names": self._told()}
            )
        kind = value["kind"]
        if kind not in self.names():
            told = {"discriminator": "kind", "tag": str(kind), "expected_tags": self._told()}
            raise PydanticKnownError("union_tag_invalid", told)
        return self[kind].model_validate(value, context=info.context)

    def _told(self) -> str:
        return ", ".join(self.names())

    def _foreign(self) -> list[EntryPoint]:
        return [*_installed().select(group=f"xmc.{self.group.replace('/', '.')}")]

    def _loaded(self, point: EntryPoint) -> type[P]:
        of = f"{self.group}={point.name} of the package {point.dist.name if point.dist else point.value}"
        try:
            section = point.load()
        except Exception as error:
            raise XMCError(f"{of} cannot be imported ({error}); mend or remove the package") from error
        if not (isinstance(section, type) and issubclass(section, self.base)):
            raise XMCError(f"{of} is {section!r}; expected a subclass of {self.base.__module__}.{self.base.__name__}")
        kind = section.model_fields.get("kind")
        if kind is None or kind.default != point.name:
            raise XMCError(f'{of} needs the field `kind: Literal["{point.name}"] = "{point.name}"`')
        return section


_installed = functools.cache(entry_points)


def registry_of(field: FieldInfo) -> Registry[Any] | None:
    """What can be chosen for the part that a field holds; None: it holds none."""
    return next((mark for mark in field.metadata if isinstance(mark, Registry)), None)


def sections(field: FieldInfo) -> list[type[Section]]:
    """The sections that a field may hold."""
    if (registry := registry_of(field)) is not None:
        return [*registry.sections()]
    return _sections_in(field.annotation)


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, Registry):
        return [*annotation.sections()]
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    if get_origin(annotation) is Annotated and any(isinstance(mark, Registry) for mark in annotation.__metadata__):
        return [found for mark in annotation.__metadata__ for found in _sections_in(mark)]
    return [found for argument in get_args(annotation) for found in _sections_in(argument)]
