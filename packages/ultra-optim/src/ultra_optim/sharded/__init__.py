"""Optimizers of parameters that are divided among processes (FSDP2), or of which each has a copy (DDP).

* ``layout``: which part of a tensor each process holds, or which copies one process keeps up to date.
* ``placement``: which process updates what.
* ``exchange``: whole tensors from parts and back; ``traffic`` counts the bytes by formula.
* ``state``: state dicts of whole tensors from and to those of one process.
* ``optimizer``: the wrapper around any ``torch.optim.Optimizer``.
"""

from ultra_optim.sharded.optimizer import ShardedOptimizer

__all__ = ["ShardedOptimizer"]
