"""Element-wise methods move DTensors, as FSDP2 makes them, as they move plain tensors."""

from collections.abc import Iterator

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


@pytest.mark.parametrize("name", NAMES)
def test_dtensors_move_as_tensors_do(name: str, mesh: DeviceMesh) -> None:
    ends = []
    for sharded in (True, False):
        generator = torch.Generator().manual_seed(0)
        weights = [torch.randn(8, 6, generator=generator), torch.randn(5, generator=generator)]
        params = [
            nn.Parameter(distribute_tensor(w, mesh, [Shard(0)]) if sharded else w.clone()) for w in weights
        ]
        options = {"total_steps": 9} if name == "AdEMAMix" else {}
        optimizer = getattr(ultra_optim, name)(params, **options)

        def backward(
            params: list[nn.Parameter] = params,
            generator: torch.Generator = generator,
            sharded: bool = sharded,
        ) -> float:
            for p in params:
                grad = torch.randn(p.shape, generator=generator)
                p.grad = distribute_tensor(grad, mesh, [Shard(0)]) if sharded else grad
            return 1.0

        for _ in range(7):
            backward()
            optimizer.step()
            if getattr(optimizer, "curvature_due", False):
                optimizer.curvature_step(backward)
        ends.append([p.full_tensor() if isinstance(p, DTensor) else p for p in params])
    for a, b in zip(*ends, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
