"""How processes exchange gradients when each holds the whole model (DDP)."""

from __future__ import annotations

import warnings

from accelerate.utils import DistributedDataParallelKwargs
from torch import nn

from ultra_blocks.hf.models import UltraPreTrainedModel


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
