"""MuonClip under FSDP2: the largest logits of all processes clip queries and keys that others own."""

from __future__ import annotations

import torch
import torch.distributed as dist
from optim.sharded.test_optimizer import assert_same
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import ultra_optim
from support.ranks import on_ranks
from ultra_blocks.encoder import Encoder, UltraConfig
from ultra_optim.sharded import ShardedOptimizer

CONFIG = UltraConfig(
    vocab_size=13, hidden_size=8, num_layers=2, num_heads=2, ffn_hidden_size=9, use_moe=False, dropout=0.0
)
TOKENS = torch.randint(13, (2, 5), generator=torch.Generator().manual_seed(1))


def _train(sharded: bool) -> list[Tensor]:
    torch.manual_seed(0)
    model = Encoder(CONFIG).double()
    optimizer = ultra_optim.create("muonclip", model, 1e-2, qk_clip_threshold=1e-3)
    rows = TOKENS
    if sharded:
        optimizer = ShardedOptimizer(optimizer)
        names = {id(p): n for n, p in model.named_parameters()}
        named = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
        mesh = init_device_mesh("cpu", (2,))
        for module in (*model.layers, model):
            fully_shard(module, mesh=mesh)
        parts = dict(model.named_parameters())
        for group, own in zip(optimizer.param_groups, named, strict=True):
            group["params"] = [parts[name] for name in own]
        rows = TOKENS[dist.get_rank() :: 2]
    for _ in range(3):
        model(rows).hidden.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return [p.full_tensor() if sharded else p.detach() for p in model.parameters()]


def test_muonclip_over_two_processes() -> None:

    assert_same([t.detach() for t in on_ranks(2, _train, True)[1]], _train(False))
