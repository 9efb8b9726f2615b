"""The encoder: embeddings, a stack of mixers and FFNs that runs once or more, and a final norm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ultra_blocks.config import ModelConfigError, UltraConfig
from ultra_blocks.config.validation import contradictions, type_faults
from ultra_blocks.encoder.build import build_ffn, build_mixer, build_norm, embedded_positions, model_fields
from ultra_blocks.encoder.embeddings import Embeddings
from ultra_blocks.encoder.limits import Limits
from ultra_blocks.encoder.meta_build import check_config
from ultra_blocks.init import initialise
from ultra_blocks.layout import Layout, check_layout

Losses = dict[str, Tensor]


class EncoderOutput(NamedTuple):
    """The result of an encoder.

    Attributes:
        hidden: ``(B, T, D)``, zero at padding.
        losses: auxiliary losses by name, summed over layers.
        states: outputs of the embeddings and of every layer, ``(B, T, D)`` each, if requested.
    """

    hidden: Tensor
    losses: Losses
    states: tuple[Tensor, ...] = ()


class EncoderLayer(nn.Module):
    """``x += dropout(mixer(norm(x)))``, then ``x += dropout(ffn(norm(x)))``.

    Args:
        mixer_norm: norm before the mixer; the identity if the mixer has its own norm, or
            follows the norm of the embeddings directly.
        mixer: block that mixes tokens, called as ``mixer(x, layout)``.
        ffn_norm: norm before the FFN.
        ffn: feed-forward network applied to each token, called as ``ffn(x, layout)``.
        dropout: dropout probability of both branches in training.

    Attributes:
        gradient_checkpointing: in training mode, recompute the activations in the backward pass.

    Shapes:
        x ``(B, T, D)`` -> ``(B, T, D)``, and the auxiliary losses of mixer and FFN.
    """

    gradient_checkpointing: bool = False

    def __init__(
        self, mixer_norm: nn.Module, mixer: nn.Module, ffn_norm: nn.Module, ffn: nn.Module, dropout: float
    ) -> None:
        super().__init__()
        self.mixer_norm = mixer_norm
        self.mixer = mixer
        self.ffn_norm = ffn_norm
        self.ffn = ffn
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor, layout: Layout) -> tuple[Tensor, Losses]:
        """Return the residual stream after both branches, and their auxiliary losses."""
        if self.gradient_checkpointing and self.training:
            result: tuple[Tensor, Losses] = checkpoint(self.compute, x, layout, use_reentrant=False)
            return result
        return self.compute(x, layout)

    def compute(self, x: Tensor, layout: Layout) -> tuple[Tensor, Losses]:
        """Return what :meth:`forward` returns; the activations stay in memory."""
        mixed, losses = _branch(self.mixer(self.mixer_norm(x), layout))
        x = x + self.dropout(mixed)
        fed, more = _branch(self.ffn(self.ffn_norm(x), layout))
        return x + self.dropout(fed), _added(losses, more)


class PostNormLayer(EncoderLayer):
    """``x = norm(x + dropout(mixer(x)))``, then ``x = norm(x + dropout(ffn(x)))``, as in BERT.

    Args, parameters and shapes are those of :class:`EncoderLayer`, whose norms are after the residual sums.

    Paper: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, section 3.1; the placements are
    compared in Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture", arXiv:2002.04745.
    Differs from the paper: nothing.
    """

    def compute(self, x: Tensor, layout: Layout) -> tuple[Tensor, Losses]:
        """Return the residual stream after both branches, and their auxiliary losses."""
        mixed, losses = _branch(self.mixer(x, layout))
        x = self.mixer_norm(x + self.dropout(mixed))
        fed, more = _branch(self.ffn(x, layout))
        return self.ffn_norm(x + self.dropout(fed)), _added(losses, more)


class Encoder(nn.Module):
    """A stack of :class:`EncoderLayer` between embeddings and a final norm, described by an UltraConfig.

    With ``norm_placement: post`` the layers are :class:`PostNormLayer`, and there is no final norm. With
    ``num_loops`` the stack runs several times on its own output with the same weights. Projections that
    write to the residual stream start with the standard deviation
    ``initializer_range / sqrt(2 num_layers num_loops)``, with ``post`` with ``initializer_range``.

    Args:
        config: description of the model.

    Attributes:
        layer_classes: the classes of layers by ``norm_placement``, which subclasses may choose.

    Raises:
        ModelConfigError: the config has faults, all of which are listed, or a plugin refuses its arguments.
        PluginError: a plugin cannot be imported or built.
    """

    layer_classes: ClassVar[Mapping[str, type[EncoderLayer]]] = {"pre": EncoderLayer, "post": PostNormLayer}

    def __init__(self, config: UltraConfig) -> None:
        super().__init__()
        self.config = config
        if any(type_faults(config)) or any(contradictions(config)):
            check_config(config)
        try:
            self._build(config)
        except ModelConfigError as error:
            check_config(config)  # lists the other faults too
            raise error
        self.reset_parameters()

    def _build(self, config: UltraConfig) -> None:
        self.embeddings = Embeddings(
            config.vocab_size,
            config.hidden_size,
            factor=config.factorized_embedding_dim if config.use_factorized_embedding else None,
            conv_kernel=config.embedding_conv_kernel if config.use_embedding_conv else None,
            causal=config.causal,
            types=config.type_vocab_size,
            positions=embedded_positions(config, model_fields(config)),
            norm=build_norm(config, "embedding") if config.embedding_norm else None,
            dropout=config.dropout,
        )
        self.layers = nn.ModuleList(
            self._layer(config, name, options, model_fields(config, i / config.num_layers), first=not i)
            for i, (name, options) in enumerate(config.layers())
        )
        self.norm = nn.Identity() if config.norm_placement == "post" else build_norm(config, "final")
        self.limits = Limits.of(config)

    @classmethod
    def _layer(
        cls,
        config: UltraConfig,
        name: str,
        options: Mapping[str, Any],
        fields: Mapping[str, Any],
        *,
        first: bool,
    ) -> EncoderLayer:
        mixer = build_mixer(config, name, options, fields)
        own = getattr(getattr(mixer, "traits", None), "own_norm", False)
        without = config.norm_placement == "pre" and (own or (first and not config.first_norm))
        norm = nn.Identity() if without else build_norm(config, "mixer")
        ffn_norm, ffn = build_norm(config, "ffn"), build_ffn(config, fields)
        return cls.layer_classes[config.norm_placement](norm, mixer, ffn_norm, ffn, config.dropout)

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether some layer recomputes its activations in the backward pass; may be set for all of them."""
        return any(layer.gradient_checkpointing for layer in self.layers)

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, recompute: bool) -> None:
        layers: Iterable[Any] = self.layers
        for layer in layers:
            layer.gradient_checkpointing = recompute

    def reset_parameters(self) -> None:
        """Initialise all weights, with random numbers of torch's global generator."""
        std = self.config.initializer_range
        branches = 2 * self.config.num_layers * self.config.num_loops
        scale = 1.0 if self.config.norm_placement == "post" else 1 / math.sqrt(branches)
        for module in self._parts():
            initialise(module, std=std, residual_scale=scale)

    def _parts(self) -> Iterator[nn.Module | None]:
        yield from (self.embeddings, self.embeddings.positions, self.embeddings.norm, self.norm)
        for layer in self.layers:
            yield from layer.children()

    def forward(
        self,
        input_ids: Tensor | None = None,
        layout: Layout | None = None,
        inputs_embeds: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        collect: bool = False,
    ) -> EncoderOutput:
        """Encode a batch.

        Args:
            input_ids: ``(B, T)`` token ids; any values at padding.
            layout: real tokens and documents of the batch; None: no padding and one document per row.
            inputs_embeds: ``(B, T, D)`` instead of ids (``(B, T, R)`` if the embeddings are factorized).
            token_type_ids: ``(B, T)`` token types; None: all are 0.
            collect: also return the outputs of the embeddings and of every layer.

        Raises:
            ValueError: neither ids nor embeddings are given, types without embeddings of them, the layout
                belongs to another batch, or a block does not accept it: packed documents, or so many columns.
        """
        given = input_ids if input_ids is not None else inputs_embeds
        if given is None:
            raise ValueError("Encoder: input_ids or inputs_embeds is required; both are None")
        check_layout(given, layout)
        if layout is None:
            layout = Layout.full(given.shape[0], given.shape[1], given.device)
        self.limits.check(layout)
        x = self.embeddings(input_ids, layout, inputs_embeds, token_type_ids)
        losses: Losses = {}
        states = []
        for _ in range(self.config.num_loops):
            for layer in self.layers:
                if collect:
                    x = layout.zero_padding(x)  # the layers go on from it, so that it can retain a gradient
                    states.append(x)
                x, more = layer(x, layout)
                losses = _added(losses, more)
        x = layout.zero_padding(self.norm(x))
        return EncoderOutput(x, losses, (*states, x) if collect else ())


def _branch(output: Tensor | tuple[Tensor, Losses]) -> tuple[Tensor, Losses]:
    return output if isinstance(output, tuple) else (output, {})


def _added(losses: Losses, more: Losses) -> Losses:
    total = dict(losses) if more else losses
    for name, loss in more.items():
        total[name] = total[name] + loss if name in total else loss
    return total
