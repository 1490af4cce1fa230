"""`xmc finetune`: a run that goes on from a trained model, on other data, with other labels."""

from collections.abc import Sequence
from contextlib import suppress

from xmc.commands.command import Command
from xmc.commands.train import OFTEN, run
from xmc.config import FinetuneConfig, load_config_if_run
from xmc.endings import undisturbed
from xmc.errors import XMCError


def inherited(arguments: Sequence[str]) -> list[str]:
    """Overrides for all that the model a run starts from decides, and for the fields of the text, but for those given.

    Raises:
        XMCError: an override contradicts them, or is mistyped.
    """
    with undisturbed():
        from xmc.config.arguments import as_override, parse_overrides
        from xmc.config.compose import check_names

    given = {override.key_or_group: override for override in parse_overrides(arguments)}
    if "from" not in given or ("resume" in given and given["resume"].value() is True):
        return []
    check_names(arguments, FinetuneConfig)
    with undisturbed():
        from xmc import factory

    settings = factory.inherited_settings(str(given["from"].value()))
    values = {key: override.value() for key, override in given.items() if key in settings}
    if wrong := [key for key, value in values.items() if value != settings[key]]:
        lines = [f"  {key}: the model has {settings[key]!r}, now given {values[key]!r}" for key in wrong]
        raise XMCError(
            f"{given['from'].value()} decides these settings:\n"
            + "\n".join(lines)
            + "\nfine-tune without these overrides, or train anew with: xmc train"
        )
    as_trained = _fields(str(given["from"].value()), given["data"].value() if "data" in given else None)
    return [as_override(key, value) for key, value in (settings | as_trained).items() if key not in given]


def _fields(folder: str, data: object) -> dict[str, object]:
    """Where documents of the same format have their text: as those did that the model was trained on."""
    trained = None
    with suppress(XMCError):  # a model goes on without its run
        trained = load_config_if_run(folder)
    if trained is None or trained.data.kind != data:
        return {}
    values = {key: getattr(trained.data, key, None) for key in ("text_fields", "text_separator")}
    return {f"data.{key}": value for key, value in values.items() if value is not None}


COMMAND = Command(FinetuneConfig, run, begins_run=True, inherited=inherited, often=OFTEN)
