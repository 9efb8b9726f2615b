from __future__ import annotations

import pytest

from ultra_train.run.memory_explained import out_of_memory_explained
from ultra_train.trainer.out_of_memory import OutOfMemory


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), r"^memory ran out \(MemoryError\)"),
        (
            RuntimeError("[enforce fail] can't allocate memory\nat f"),
            r"^memory ran out \(\[enforce .* memory\)",
        ),
        (RuntimeError("can't start new thread"), r"gave no other thread.* memory ran out, or .*ulimit -u"),
    ],
)
def test_an_error_about_memory_says_what_to_do(tmp_path, error, said):
    wanted = pytest.raises(OutOfMemory, match=rf"{said}.*batch_size.*--resume")
    with wanted as caught, out_of_memory_explained(tmp_path):
        raise error
    assert caught.value.__cause__ is error


def test_other_errors_stay_as_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="a bug"), out_of_memory_explained(tmp_path):
        raise RuntimeError("a bug")
