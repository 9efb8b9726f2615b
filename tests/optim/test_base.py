"""The base class: when updates run, batches, autocast, and the former name of a method."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ultra_optim import build
from ultra_optim.base import Optimizer, batches
from ultra_optim.engine import sizes


def parameter(*shape: int, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    p = nn.Parameter(torch.randn(shape).to(dtype))
    p.grad = torch.randn(shape).to(dtype)
    return p


class Recorded(Optimizer):
    """Notes when its update function is called."""

    state_names = frozenset()

    def __init__(
        self, params: Any, *, lr: float = 1.0, compile: bool | None = None, old: bool = False
    ) -> None:
        self.old, self.events = old, []
        super().__init__(params, {"lr": lr}, compile=compile)

    def update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        def move(params: list[Tensor], grads: list[Tensor], *, lr: float) -> None:
            self.events.append(f"moved {group['lr']}")
            torch._foreach_add_(params, grads, alpha=-lr)

        (self.later if self.old else self.enqueue)(move, params, lr=group["lr"])
        self.events.append(f"updated {group['lr']}")


def recorded(**options: Any) -> Recorded:
    ones = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = Recorded([{"params": [p], "lr": float(i)} for i, p in enumerate(ones)], **options)
    for p in ones:
        p.grad = torch.ones(3)
    optimizer.step()
    assert [p.tolist() for p in ones] == [[1.0] * 3, [0.0] * 3]
    return optimizer


def test_plain_updates_run_at_once_and_others_after_all_groups() -> None:
    assert recorded(compile=False).events == ["moved 0.0", "updated 0.0", "moved 1.0", "updated 1.0"]
    events = recorded().events
    assert events[:2] == ["updated 0.0", "updated 1.0"]
    assert sorted(events[2:]) == ["moved 0.0", "moved 1.0"]


def test_the_former_name_of_enqueue_warns() -> None:
    with pytest.warns(DeprecationWarning, match=r"later\(\) is called enqueue\(\) now"):
        assert recorded(old=True).events[:2] == ["updated 0.0", "updated 1.0"]


def test_batches_are_bounded_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "SCRATCH", 10)
    params = [parameter(n) for n in (4, 5, 3, 30, 2)]
    assert [[p.numel() for p in batch] for batch in batches(params)] == [[4, 5], [3], [30], [2]]


@pytest.mark.parametrize("name", ["came", "galore_adamw", "muon"])
def test_a_step_under_autocast_is_the_same(name: str) -> None:
    """Else matrix products of a step would be in bfloat16, and only where no other thread takes them."""
    ends = []
    for enabled in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 20))
        optimizer = build(name, model)
        for _ in range(3):
            for p in model.parameters():
                p.grad = torch.randn(p.shape)
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                optimizer.step()
        ends.append([p.detach() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
