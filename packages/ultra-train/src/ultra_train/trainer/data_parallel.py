"""How processes exchange gradients, and divide updates, when each holds the whole model (DDP)."""

from __future__ import annotations

import warnings

import torch.distributed as dist
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.optim import Optimizer

from ultra_blocks.hf.models import UltraPreTrainedModel
from ultra_optim.sharded import ShardedOptimizer
from ultra_optim.sharded.placement import is_worth_an_owner
from ultra_train.system.processes import Processes


def configure(handler: DistributedDataParallelKwargs, model: nn.Module) -> None:
    """Set how ``DistributedDataParallel`` exchanges the gradients of a model.

    * Gradients are exchanged in the last backward pass of an update only, in buckets that stay the same;
      ``p.grad`` is a part of its bucket, which saves a copy of all gradients.
    * Buffers are not exchanged: a module whose buffers change reduces what it counts over the processes, in
      ``after_step``, as a mixture of experts does.
    * The search for parameters without a gradient costs a pass over the graph of every update. Encoders of
      this project do without: every parameter takes part in every forward pass, an expert without tokens and
      an embedding that no token uses with a gradient of zeros. Other models are searched, unless they compute
      their activations again, which the search does not allow.

    Args:
        handler: the settings, which transformers has filled in.
        model: the model.
    """
    handler.gradient_as_bucket_view = True
    handler.broadcast_buffers = False
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    if isinstance(model, UltraPreTrainedModel):
        handler.find_unused_parameters = False


LEAST = 1 << 17
"""Elements of all matrices from which on dividing them takes less time than it saves, by measurement."""


def divided_parameters(optimizer: Optimizer) -> list[Tensor]:
    """Return the matrices that the processes of a host divide: those of a matrix method, unless small."""
    matrices = [
        p for group in optimizer.param_groups if is_worth_an_owner(optimizer, group) for p in group["params"]
    ]
    return matrices if sum(p.numel() for p in matrices) >= LEAST else []


def divided_on_host(optimizer: Optimizer, here: Processes) -> Optimizer:
    """Let the processes of each host divide :func:`divided_parameters`; without any, return what was given.

    New weights then never travel between hosts, whose network may take longer for them than each host takes
    to compute them. All processes call this together.

    Args:
        optimizer: of parameters that every process holds.
        here: this process among those of the run.
    """
    if not divided_parameters(optimizer):
        return optimizer
    hosts = here.gather(here.rank - here.local_rank)
    own = None
    for host in sorted(set(hosts)):
        ranks = [rank for rank, first in enumerate(hosts) if first == host]
        if len(ranks) == 1:
            continue
        group = dist.group.WORLD if len(ranks) == here.count else dist.new_group(ranks)
        if host == here.rank - here.local_rank:
            own = group
    return optimizer if own is None else ShardedOptimizer(optimizer, replicas=own)
