from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Server, make_model, running

from xmc.model import XMCModel
from xmc.model.calibration import Calibration


@pytest.fixture(scope="session")
def calibrated() -> XMCModel:
    model = make_model()
    model.calibration = Calibration(1.2, 0.1, k=7, threshold=0.6)
    return model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, calibrated: XMCModel) -> Path:
    folder = tmp_path_factory.mktemp("served") / "books"
    calibrated.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def server(model_folder: Path) -> Iterator[Server]:
    with running(model_folder) as one:
        yield one
