import pytest

from xmc.errors import XMCError
from xmc.job import Place, place

TWO = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Place()),
        ({"WORLD_SIZE": "1"}, Place()),
        ({"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RESTART_COUNT": "2"}, Place(restarts=2)),
        (TWO, Place(1, 2, 1)),
        ({**TWO, "LOCAL_RANK": "0", "TORCHELASTIC_RESTART_COUNT": "0"}, Place(1, 2, 0)),
    ],
)
def test_the_place_is_what_torchrun_says(environment: dict[str, str], expected: Place) -> None:
    assert place(environment) == expected
    assert expected.is_first == (expected.rank == 0)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"WORLD_SIZE": "2"}, "RANK=(unset), WORLD_SIZE=2: expected the number of this process"),
        ({"RANK": "0"}, "WORLD_SIZE=(unset)"),
        (TWO | {"RANK": "2"}, "RANK=2, WORLD_SIZE=2"),
        (TWO | {"RANK": "-1"}, "RANK='-1': expected a number"),
        (TWO | {"MASTER_ADDR": ""}, "find one another by MASTER_ADDR, which is unset"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "here"}, "MASTER_PORT"),
    ],
)
def test_half_an_environment_is_refused(environment: dict[str, str], told: str) -> None:
    with pytest.raises(XMCError) as error:
        place(environment)
    assert told in str(error.value) and "start the processes with torchrun, or unset RANK" in str(error.value)
