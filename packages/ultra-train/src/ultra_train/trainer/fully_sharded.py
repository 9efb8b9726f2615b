"""How processes share the parameters of a model (FSDP2), through accelerate."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ultra_core.errors import UltraError


def fsdp_plugin(model: nn.Module) -> Any:
    """Return accelerate's settings to shard a model layer by layer.

    What ``accelerate launch`` has configured is left as it is. Otherwise parameters are gathered and
    gradients reduced in the dtype of the parameters, and mixed precision is that of one process: weights in
    fp32, operations under autocast.
    """
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import MixedPrecisionPolicy

    # its output is a loss or logits, which nothing changes in place
    warnings.filterwarnings("ignore", rf"FSDP2-wrapped module \(FSDP{type(model).__name__}\) returned a view")
    if is_configured():
        return FullyShardedDataParallelPlugin()
    names = layer_classes(model)
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=True,
        auto_wrap_policy="transformer_based_wrap" if names else "no_wrap",
        transformer_cls_names_to_wrap=names or None,
        mixed_precision_policy=MixedPrecisionPolicy(),
        state_dict_type="FULL_STATE_DICT",
        cpu_ram_efficient_loading=False,
    )


def is_configured() -> bool:
    """Whether ``accelerate launch`` was told to use FSDP; accelerate itself sets the first variable too."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true" and "FSDP_VERSION" in os.environ


def load_on_every_process() -> None:
    """Let every process load the weights of a base model, which the run tries before it shards them.

    By default ``accelerate launch`` asks transformers to load them on the first process only.
    """
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"


def layer_classes(model: nn.Module) -> list[str]:
    """Return the names of the classes whose modules are sharded one by one.

    They are those that a model of transformers declares in ``_no_split_modules``, except for modules that
    hold embeddings: the decoder may share their weights, and modules with a common parameter are sharded
    together.
    """
    declared = set(getattr(model, "_no_split_modules", None) or ())
    embeddings = {id(m) for m in model.modules() if isinstance(m, nn.Embedding)}
    found = {type(m).__name__ for m in model.modules()} & declared
    held = {
        type(m).__name__ for m in model.modules() if any(id(child) in embeddings for child in m.modules())
    }
    return sorted(found - held)


@contextmanager
def sharded_as_it_is(model: Any) -> Iterator[None]:
    """Let accelerate shard a model by layers, and leave the dtype of its weights.

    * Embeddings and decoder are sharded together with all that is in no layer. Accelerate would make a unit
      of their own of them, which fails where the decoder shares a bias with the module around it, as in BERT,
      and where a view of its output is changed in place.
    * With mixed precision it would convert weights in bf16 to fp32, which a single process trains as they
      are.

    Raises:
        UltraError: inside the block, when the configuration of ``accelerate launch`` does not fit the model.
    """
    from accelerate import accelerator as accelerate

    shard = accelerate.fsdp2_prepare_model

    def shard_without_conversion(accelerator: Any, whole: nn.Module) -> nn.Module:
        state = accelerator.state
        precision, state._mixed_precision = state._mixed_precision, "no"
        try:
            sharded: nn.Module = shard(accelerator, whole)
        except ValueError as error:
            if not is_configured():
                raise
            raise UltraError(
                f"the model cannot be sharded as accelerate launch was told: {error}. Set "
                "fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP in its configuration, for units of one layer"
            ) from error
        finally:
            state._mixed_precision = precision
        return sharded

    model.get_input_embeddings = model.get_output_embeddings = lambda: None
    accelerate.fsdp2_prepare_model = shard_without_conversion
    try:
        yield
    finally:
        accelerate.fsdp2_prepare_model = shard
        del model.get_input_embeddings, model.get_output_embeddings


def reshard(model: nn.Module) -> None:
    """Free the whole parameters that a forward pass without a backward pass leaves in a sharded model.

    Until then its modules hold these, which the next forward pass would use although an optimizer or a
    checkpoint has changed the parts.
    """
    for module in model.modules():
        if callable(free := getattr(module, "reshard", None)) and hasattr(module, "unshard"):
            free()


def shard_on_cpu(accelerator: Any, plugin: Any) -> None:
    """Let accelerate shard the model between CPUs, which it offers for accelerators only."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    if accelerator.state.distributed_type == DistributedType.MULTI_CPU:
        accelerator.state.distributed_type = DistributedType.FSDP
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        accelerator.state.fsdp_plugin = plugin
