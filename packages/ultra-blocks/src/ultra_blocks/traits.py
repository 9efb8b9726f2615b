"""What plugins declare about themselves: Traits of blocks, NormTraits, and NumericTraits of all of them."""

from __future__ import annotations

from typing import Literal

import attrs

Precision = Literal["fp32", "bf16"]


@attrs.frozen(kw_only=True)
class NumericTraits:
    """How a block, FFN or norm computes, if not exactly in the dtype of its input.

    It is the class attribute ``traits`` of an FFN or a norm. The conformance kit compares with the tolerance
    that these traits allow.

    Attributes:
        precision: the module rounds to this dtype inside, whatever the dtype of its input.
        straight_through: the output has jumps (rounding, signs) and gradients are those of another, smooth
            function; they are nonzero, and the output rises along them.
        speed_only: options that change speed and memory but no output, as the length of chunks.
        frozen: names of the parameters that are not trained, ``requires_grad=False``, as the base of LoRA.
    """

    precision: Precision | None = None
    straight_through: bool = False
    speed_only: frozenset[str] = frozenset()
    frozen: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class Traits(NumericTraits):
    """Capabilities of a block; the conformance kit checks them, and that anything else raises.

    Attributes:
        bidirectional: works with ``causal=False``.
        causal: works with ``causal=True``.
        full_context: every token depends on every other one of its document, in one layer with default
            options.
        recurrent_step: a causal block has ``init_state(batch)`` and ``step(x_t, state)``.
        positions: kinds of position codes that it applies: "rotate", "bias", "scores". Empty: none.
        relative: the output is invariant to adding a constant to all positions.
        symmetric: without a position code (or with "nope"), reversing the input reverses the bidirectional
            output.
        linear_time: the number of multiply-adds is linear in the length.
        own_norm: normalises its input itself, so that the layer applies no norm before it.
        packing: keeps the documents of a row apart. If not, the encoder refuses rows of several documents.
        longest: the number of columns of the longest batch that it accepts, padding included; the encoder
            refuses longer ones. None: no limit.
        largest_input: magnitude of the input up to which outputs and gradients are finite in fp32 and bf16.
            Behind a norm, inputs are about 1; fused attention kernels fail where scores exceed about 1e6.
        averages: the output is made of weighted means of values, whose weights sum to 1 and whose values do
            not depend on positions: with the same vector at every token, the length has no effect.
        scaled_scores: these weights are the softmax of scores that have unit variance where queries and keys
            have, at every width of the heads; that is, the scores are divided by sqrt(d).
        precision: see :class:`NumericTraits`.
        straight_through: see :class:`NumericTraits`.
        speed_only: see :class:`NumericTraits`.
        frozen: see :class:`NumericTraits`.
    """

    bidirectional: bool = True
    causal: bool = True
    full_context: bool = True
    recurrent_step: bool = False
    positions: frozenset[str] = frozenset()
    relative: bool = True
    symmetric: bool = False
    linear_time: bool = False
    own_norm: bool = False
    packing: bool = True
    longest: int | None = None
    largest_input: float = 1e4
    averages: bool = False
    scaled_scores: bool = False


@attrs.frozen(kw_only=True)
class NormTraits(NumericTraits):
    """Properties of a norm with its initial parameters, up to ``eps``; the conformance kit checks them.

    Attributes:
        scale_invariant: multiplying a token by a positive number does not change its output.
        shift_invariant: adding the same number to all channels of a token does not change its output.
        zero_mean: the mean over the channels of the output is 0.
        unit_rms: the mean over the channels of the squared output is 1.
        precision: see :class:`NumericTraits`.
        straight_through: see :class:`NumericTraits`.
        speed_only: see :class:`NumericTraits`.
        frozen: see :class:`NumericTraits`.
    """

    scale_invariant: bool = False
    shift_invariant: bool = False
    zero_mean: bool = False
    unit_rms: bool = False
