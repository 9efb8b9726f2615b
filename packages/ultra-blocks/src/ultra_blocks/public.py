"""The public names of ``ultra_blocks``: every registered class, the bases of plugins, and the encoder."""

from ultra_blocks.config import ModelConfigError, UltraConfig
from ultra_blocks.encoder import Encoder, after_step
from ultra_blocks.factory import build
from ultra_blocks.ffn.base import FeedForward
from ultra_blocks.ffn.glu import GLU
from ultra_blocks.ffn.mlp import MLP
from ultra_blocks.ffn.moe import MoE
from ultra_blocks.layout import Layout
from ultra_blocks.mixers.base import Mixer, Traits
from ultra_blocks.mixers.bigbird_attn import BigBirdAttention
from ultra_blocks.mixers.contiguous import ContiguousMixer
from ultra_blocks.mixers.deltanet import DeltaNet
from ultra_blocks.mixers.fox_attn import FoxAttention
from ultra_blocks.mixers.gated_deltanet import GatedDeltaNet
from ultra_blocks.mixers.gated_softmax_attn import GatedSoftmaxAttention
from ultra_blocks.mixers.gla import GLA
from ultra_blocks.mixers.gqa_attn import GQAAttention
from ultra_blocks.mixers.hgrn2 import HGRN2
from ultra_blocks.mixers.kda import KDA
from ultra_blocks.mixers.latent_attn import LatentAttention
from ultra_blocks.mixers.longformer_attn import LongformerAttention
from ultra_blocks.mixers.mamba import Mamba
from ultra_blocks.mixers.nsa_attn import NativeSparseAttention
from ultra_blocks.mixers.ode import ODE
from ultra_blocks.mixers.retnet import RetNet
from ultra_blocks.mixers.sigmoid_attn import SigmoidAttention
from ultra_blocks.mixers.standard_attn import StandardAttention
from ultra_blocks.mixers.titan_attn import TitanAttention
from ultra_blocks.norms.base import Norm
from ultra_blocks.norms.derf import Derf
from ultra_blocks.norms.dynamic_tanh import DynamicTanh
from ultra_blocks.norms.layer_norm import LayerNorm
from ultra_blocks.norms.rms_norm import RMSNorm
from ultra_blocks.positions import PositionCode
from ultra_blocks.positions.alibi import ALiBi
from ultra_blocks.positions.hope import HoPE
from ultra_blocks.positions.learned import Learned
from ultra_blocks.positions.nope import NoPE
from ultra_blocks.positions.rope import RoPE
from ultra_blocks.positions.sinusoidal import Sinusoidal

__all__ = [
    "GLA",
    "GLU",
    "HGRN2",
    "KDA",
    "MLP",
    "ODE",
    "ALiBi",
    "BigBirdAttention",
    "ContiguousMixer",
    "DeltaNet",
    "Derf",
    "DynamicTanh",
    "Encoder",
    "FeedForward",
    "FoxAttention",
    "GQAAttention",
    "GatedDeltaNet",
    "GatedSoftmaxAttention",
    "HoPE",
    "LatentAttention",
    "LayerNorm",
    "Layout",
    "Learned",
    "LongformerAttention",
    "Mamba",
    "Mixer",
    "MoE",
    "ModelConfigError",
    "NativeSparseAttention",
    "NoPE",
    "Norm",
    "PositionCode",
    "RMSNorm",
    "RetNet",
    "RoPE",
    "SigmoidAttention",
    "Sinusoidal",
    "StandardAttention",
    "TitanAttention",
    "Traits",
    "UltraConfig",
    "after_step",
    "build",
]
