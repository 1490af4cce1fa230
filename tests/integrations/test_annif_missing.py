import importlib
import sys

import pytest


def test_without_annif(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "annif", None)
    monkeypatch.delitem(sys.modules, "xmc.integrations.annif", raising=False)
    with pytest.raises(ModuleNotFoundError, match="needs the package annif: pip install annif"):
        importlib.import_module("xmc.integrations.annif")
