"""The processes of a run."""

import pytest

from support.ranks import on_ranks
from ultra_core.errors import UltraError
from ultra_train.system.processes import Processes, processes


def _conversation() -> tuple[Processes, list[int], str]:
    here = processes()
    here.wait()
    return here, here.gather(here.rank * 10), here.share(f"from {here.rank}")


def test_every_process_hears_the_others():
    for rank, answer in enumerate(on_ranks(2, _conversation)):
        assert answer == (Processes(rank, 2, rank, 2), [0, 10], "from 0")


def test_alone_a_process_talks_to_itself(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    here = processes()
    here.wait()
    assert (here, here.main, here.several) == (Processes(), True, False)
    assert (here.gather(3), here.share(4)) == ([3], 4)


@pytest.mark.parametrize(
    "variables", [{"RANK": "2"}, {"RANK": "-1"}, {"RANK": "x"}, {"LOCAL_WORLD_SIZE": "3"}]
)
def test_impossible_descriptions_are_refused(monkeypatch, variables):
    for name, value in {"WORLD_SIZE": "2", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UltraError, match=r"cannot be: .*WORLD_SIZE=2"):
        processes()
