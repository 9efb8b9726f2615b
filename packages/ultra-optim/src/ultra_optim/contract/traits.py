"""Traits: what the trainer and the conformance kit need to know about an optimizer class."""

from __future__ import annotations

from typing import Any, Literal, get_args

import attrs

from ultra_core.errors import PluginError, listed

MATRIX_KINDS = frozenset({"matrix", "expert"})
"""Kinds of parameters that matrix optimizers treat; their AdamW part updates all others."""

Decay = Literal["decoupled", "proximal", "coupled", "inside", "none"]
GradientScale = Literal["invariant", "linear", "other"]
StateDtype = Literal["wide", "parameter", "any"]
OtherKinds = Literal["adamw", "own"]
ShapeFactor = Literal["rms", "spectral", "original", "none", "other"]


def _one_of(choices: Any) -> Any:
    def check(_: Any, attribute: Any, value: Any) -> None:
        if value not in get_args(choices):
            raise ValueError(f"{attribute.name} is {value!r}; one of {listed(get_args(choices))}")

    return check


@attrs.frozen(kw_only=True)
class OptimizerTraits:
    """Facts about an optimizer class, in its attribute ``traits``; the defaults promise nothing.

    Attributes:
        decay: ``decoupled``: p <- (1 - lr wd) p, apart from the gradient; ``proximal``: p / (1 + lr wd)
            after the step; ``coupled``: wd p is added to the gradient; ``inside``: it passes through the
            method's own normalisation; ``none``.
        gradient_scale: how the update changes when all gradients are multiplied by c: ``invariant`` (up to
            eps), ``linear``, or ``other``.
        linear_in_lr: one step without decay is proportional to the learning rate.
        state_per_element: size of the state for each element of parameters that the method itself treats;
            None if it depends on the shape.
        matrix: the method treats kinds ``matrix`` and ``expert`` and updates all others by AdamW; it needs
            groups that have a ``kind``.
        max_update_rms: bound on rms(update) / lr after ten steps without decay, or None.
        max_condition: bound on the ratio of the largest to the smallest singular value of the update of a
            matrix, for a gradient with a ratio of at most 100, or None.
        needs_total_steps: the constructor takes ``total_steps``.
        eval_weights: ``eval()`` and ``train()`` swap two sets of weights.
        own_schedule: it replaces a learning-rate schedule; the learning rate must stay constant.
        needs_curvature: the trainer must run an extra backward pass every few steps.
        needs_logits: attention blocks record their largest logits for it; the constructor takes ``model``.
        initial_lr: the learning rate is the size of the first step, and later ones do not read it, so that a
            schedule has no effect; needs ``own_schedule``.
        one_lr: it finds its step size itself; learning rates of roles multiply its one learning rate.
        idle_first_step: the first step moves nothing.
        changes_gradients: ``step()`` writes to ``p.grad``.
        whole_tensors: the update of an element of a vector depends on the others, by a norm or a mean.
        elementwise: the update of an element depends only on its own gradients and on numbers that a group
            shares, so that a part of a tensor moves as it does in the whole one, and training with sharded
            parameters updates the shards; without it, one process updates the whole tensor. A matrix
            optimizer need not say it: AdamW updates what it does not treat.
        dimensions: numbers of dimensions of the parameters that it takes, as in ``(2,)``; it refuses others
            with an error. None takes all, parameters without dimensions included.
        empty_parameters: it takes parameters without elements; if not, it raises an error.
        sparse_gradients: it takes sparse gradients. Without it, they are refused before anything is changed.
        state_at_construction: a parameter has state before its first gradient.
        state_dtype: ``parameter``: state is at least as wide as the parameter, or quantised in whole numbers
            with scales; ``wide``: it is at least float32 also for narrower ones; ``any``: it may be narrower.
        exact_resume: a resumed run equals an uninterrupted one bit for bit; False: up to rounding, as where
            ``load_state_dict`` changes the dtype of a state.
        lr_in_momentum: the momentum is an average of steps, learning rate included, so that a new rate acts
            gradually.
        imitates: the optimizer, a registered name or one such as ``torch.optim.SGD``, whose path this one
            follows up to rounding, at the same options.
        speed_only: options that change speed and memory but no update, as ``compile``.
        other_kinds: what updates the parameters that a matrix optimizer does not treat: ``adamw``, or
            ``own``, a rule of the method itself.
        shape_factor: how the size of an orthogonalised update depends on the shape of the matrix, (rows,
            columns): ``rms``, equal root mean squares; ``spectral``, norms of sqrt(rows / columns);
            ``original``, sqrt(max(1, rows / columns)); ``none``, equal norms; ``other``; None: any of the
            first four.
        common_steps: parameters share a count of steps, a distance or a pass of curvature, so that the update
            of one that starts late, or has no gradient in some steps, depends on the others.
        common_norm: a norm or mean over all parameters scales the update of each, as clipping by the global
            norm does.
        eps: what is added to denominators, where that is a constant and no option ``eps``.
        reference_error: the largest difference from the attribute ``reference``, relative to the
            displacement, in float64; larger where an iteration runs in another dtype.
    """

    decay: Decay = attrs.field(default="decoupled", validator=_one_of(Decay))
    gradient_scale: GradientScale = attrs.field(default="other", validator=_one_of(GradientScale))
    linear_in_lr: bool = True
    state_per_element: int | None = None
    matrix: bool = False
    max_update_rms: float | None = None
    max_condition: float | None = None
    needs_total_steps: bool = False
    eval_weights: bool = False
    own_schedule: bool = False
    needs_curvature: bool = False
    needs_logits: bool = False
    initial_lr: bool = False
    one_lr: bool = False
    idle_first_step: bool = False
    changes_gradients: bool = False
    whole_tensors: bool = False
    elementwise: bool = False
    dimensions: tuple[int, ...] | None = None
    empty_parameters: bool = True
    sparse_gradients: bool = False
    state_at_construction: bool = False
    state_dtype: StateDtype = attrs.field(default="parameter", validator=_one_of(StateDtype))
    exact_resume: bool = True
    lr_in_momentum: bool = False
    imitates: str | None = None
    speed_only: frozenset[str] = frozenset()
    other_kinds: OtherKinds = attrs.field(default="adamw", validator=_one_of(OtherKinds))
    shape_factor: ShapeFactor | None = attrs.field(
        default=None, validator=attrs.validators.optional(_one_of(ShapeFactor))
    )
    common_steps: bool = False
    common_norm: bool = False
    eps: float = 0.0
    reference_error: float = 1e-8


def traits_of(optimizer: Any) -> OptimizerTraits:
    """Return the traits of an optimizer or its class; a third party's without traits has the defaults.

    Raises:
        PluginError: its attribute ``traits`` is something else.
    """
    traits = getattr(optimizer, "traits", None) or OptimizerTraits()
    if not isinstance(traits, OptimizerTraits):
        name = getattr(optimizer, "__qualname__", type(optimizer).__qualname__)
        raise PluginError(
            f"{name}.traits is a {type(traits).__name__}; write traits = OptimizerTraits(...), "
            "which ultra_optim.contract.traits defines"
        )
    return traits
