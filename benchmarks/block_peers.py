"""The peers of ``blocks.py``: a bare SDPA layer, layers of transformers and flash-linear-attention."""

from __future__ import annotations

import importlib.util

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import Mamba2Config, Qwen3NextConfig
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet
from work import Call, Setting

from ultra_blocks.layout import Layout
from ultra_blocks.positions.rope import RoPE


class BareSDPA(nn.Module):
    """Projections, RoPE and ``scaled_dot_product_attention``, the reference of the speed of standard_attn."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.rope = RoPE(width // heads)

    def forward(self, x: Tensor, mask: Tensor, *, masked: bool = True) -> Tensor:
        """Return the branch; unless ``masked``, padding is attended to, as by kernels without masks."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.rope.rotate(q, k, Layout.from_mask(mask))
        keys = mask[:, None, None] if masked else None
        y = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, attn_mask=keys)
        return self.out(y.transpose(1, 2).flatten(2))


def sdpa_layers(setting: Setting) -> dict[str, tuple[nn.Module, Call]]:
    """Return a bare SDPA layer with a mask, and one over full rows, for which GPUs have a flash kernel."""
    if setting.device == "cpu":
        return {}
    layer = BareSDPA(setting.width, setting.heads)

    def full(x: Tensor, mask: Tensor) -> Tensor:
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION], set_priority=True):
            return layer(x, mask, masked=False)

    return {"bare SDPA, masked": (layer, layer), "bare SDPA, full rows": (layer, full)}


def mamba2(setting: Setting, ours: nn.Module) -> Mamba2Mixer:
    """Return the causal Mamba-2 mixer of transformers with the sizes of a ``mamba`` block."""
    config = Mamba2Config(
        hidden_size=setting.width, num_heads=ours.num_heads, head_dim=ours.head_size,
        state_size=ours.state_size, n_groups=ours.num_groups, conv_kernel=4, num_hidden_layers=1,
        expand=ours.num_heads * ours.head_size // setting.width,
    )  # fmt: skip
    return Mamba2Mixer(config, layer_idx=0)


def gated_delta_net(setting: Setting, ours: nn.Module) -> Qwen3NextGatedDeltaNet:
    """Return the causal layer of transformers with the sizes of a ``gated_deltanet`` block."""
    config = Qwen3NextConfig(
        hidden_size=setting.width, linear_num_value_heads=ours.num_heads, linear_conv_kernel_dim=4,
        linear_num_key_heads=ours.num_heads, linear_key_head_dim=ours.key_dim,
        linear_value_head_dim=ours.value_dim, num_hidden_layers=1, layer_types=["linear_attention"],
    )  # fmt: skip
    return Qwen3NextGatedDeltaNet(config, layer_idx=0)


PEERS = {"mamba": mamba2, "gated_deltanet": gated_delta_net}
"""The layer of transformers that corresponds to a block."""


def of_transformers(layer: nn.Module) -> Call:
    """Call a layer of transformers with a mask in its own format."""
    return lambda x, mask: layer(x, attention_mask=mask.long())


KERNELS = ("retnet", "mamba", "gla", "hgrn2", "deltanet", "gated_deltanet", "kda")
"""Blocks that use kernels of flash-linear-attention."""


def has_fla(setting: Setting) -> bool:
    """Whether the package and a GPU are available."""
    return setting.device != "cpu" and importlib.util.find_spec("fla") is not None


def fla_layers(setting: Setting) -> dict[str, nn.Module]:
    """Return the layers of the package by block name; none without a GPU, or with only kernels installed."""
    if not has_fla(setting) or importlib.util.find_spec("fla.layers") is None:
        return {}
    from fla import layers

    sizes = {"hidden_size": setting.width, "num_heads": setting.heads}
    wide = {**sizes, "head_dim": setting.width // setting.heads}
    return {
        "retnet": layers.MultiScaleRetention(**sizes),
        "gla": layers.GatedLinearAttention(**sizes),
        "hgrn2": layers.HGRN2Attention(**sizes, expand_ratio=wide["head_dim"]),
        "deltanet": layers.DeltaNet(**sizes),
        "gated_deltanet": layers.GatedDeltaNet(**wide),
        "kda": layers.KimiDeltaAttention(**wide),
    }


def of_fla(layer: nn.Module) -> Call:
    """Call a layer of flash-linear-attention, which computes one direction."""
    return lambda x, mask: layer(x, attention_mask=mask.long())[0]
