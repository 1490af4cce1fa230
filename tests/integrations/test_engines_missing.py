import importlib
import sys

import pytest


@pytest.mark.parametrize(("module", "lacks"), [("ray", "ray.data"), ("spark", "pyspark")])
def test_without_the_engine(monkeypatch: pytest.MonkeyPatch, module: str, lacks: str) -> None:
    monkeypatch.setitem(sys.modules, lacks, None)
    monkeypatch.delitem(sys.modules, f"xmc.integrations.{module}", raising=False)
    with pytest.raises(ModuleNotFoundError, match=rf'needs .*: pip install "xmc\[{module}\]"'):
        importlib.import_module(f"xmc.integrations.{module}")
