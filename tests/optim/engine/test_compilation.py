"""Which updates may be compiled, and which of their numbers are part of the code."""

import torch

from ultra_optim.engine.compilation import compilable, is_compilable, split_numbers


def test_only_marked_updates_are_compiled() -> None:
    @compilable
    def update() -> None: ...

    def other() -> None: ...

    assert is_compilable(update)
    assert not is_compilable(other)


def test_flags_are_part_of_the_code() -> None:
    numbers = {"a": 1, "b": torch.tensor(0.5), "c": True, "d": None}
    assert split_numbers(numbers) == ({"a": 1.0, "b": 0.5}, (("c", True), ("d", None)))
