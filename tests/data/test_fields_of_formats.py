import pytest

from xmc import config as c
from xmc.config.compose import compose
from xmc.data.formats import Fields


@pytest.mark.parametrize(
    ("overrides", "fields"),
    [
        (["data=pydoc"], Fields()),
        (["data=csv", "data.text_separator=' | '"], Fields(text_separator=" | ", label_separator=";")),
        (["data=jsonl", "data.id_field=null", "data.label_field=tags"], Fields(label="tags")),
        (
            ["data=eurlex57k"],
            Fields(("title", "header", "recitals", "main_body"), id="celex_id", label="eurovoc_concepts"),
        ),
        (["data=repository"], Fields(("title", "content"), id="uid")),
    ],
)
def test_fields_are_those_of_the_run(overrides: list[str], fields: Fields) -> None:
    values = compose([*overrides, *([] if overrides == ["data=pydoc"] else ["data.root=here"])])
    assert c.parse(c.TrainConfig, values).data.fields == fields
