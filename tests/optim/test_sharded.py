"""Element-wise methods move DTensors, as FSDP2 makes them, as they move plain tensors."""

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

import ultra_optim

NAMES = [
    *(
        "ADOPT",
        "Adan",
        "AdEMAMix",
        "CautiousAdamW",
        "GPAAdamW",
        "LAMB",
        "Lion",
        "MARSAdamW",
        "Prodigy",
        "RAdam",
    ),
    *("SGDMomentum", "ScheduleFreeAdamW", "Sophia", "StableAdamW"),
]


@pytest.fixture(scope="module")
def mesh() -> Iterator[DeviceMesh]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize("compile", [None, False])
@pytest.mark.parametrize("name", NAMES)
def test_dtensors_move_as_tensors_do(name: str, compile: bool | None, mesh: DeviceMesh) -> None:
    """Beside a plain tensor, except for Prodigy, which adds up over all of them."""
    plain = set() if name == "Prodigy" else {2}
    ends = []
    for sharded in (True, False):
        generator = torch.Generator().manual_seed(0)
        weights = [torch.randn(shape, generator=generator) for shape in ((8, 6), (5,), (7, 3))]

        def placed(tensors: list[torch.Tensor], sharded: bool = sharded) -> list[torch.Tensor]:
            return [
                distribute_tensor(t, mesh, [Shard(0)]) if sharded and i not in plain else t.clone()
                for i, t in enumerate(tensors)
            ]

        params = [nn.Parameter(w) for w in placed(weights)]
        options = {"total_steps": 9} if name == "AdEMAMix" else {}
        optimizer = getattr(ultra_optim, name)(params, compile=compile, **options)

        def backward(
            params: list[nn.Parameter] = params,
            generator: torch.Generator = generator,
            placed: Callable[[list[torch.Tensor]], list[torch.Tensor]] = placed,
        ) -> float:
            grads = placed([torch.randn(p.shape, generator=generator) for p in params])
            for p, grad in zip(params, grads, strict=True):
                p.grad = grad
            return 1.0

        for _ in range(7):
            backward()
            optimizer.step()
            if getattr(optimizer, "curvature_due", False):
                optimizer.curvature_step(backward)
        ends.append([p.full_tensor() if isinstance(p, DTensor) else p for p in params])
    for a, b in zip(*ends, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
