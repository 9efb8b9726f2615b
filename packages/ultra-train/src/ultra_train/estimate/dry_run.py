"""Runs an update of a preset on tensors without memory, and returns what they would take."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ultra_train.estimate.attention import fused_attention
from ultra_train.estimate.meter import Meter
from ultra_train.estimate.shapes import ShapeMode
from ultra_train.tasks.base import DryStep
from ultra_train.trainer.data_parallel import divided_parameters


@attrs.frozen(kw_only=True)
class StepMemory:
    """The memory of a step on one device, in bytes, and its operations.

    Attributes:
        weights: parameters and buffers, each tied tensor once.
        gradients: of all trained parameters.
        state: of the optimizer.
        activations: what the forward pass keeps for the backward pass, logits not included.
        logits: logits and their probabilities at the end of the forward pass.
        working: the most that a micro-batch takes beside weights, gradients and state.
        scratch: the most that the step of the optimizer takes beside them.
        forward_flops: operations of the forward pass of a micro-batch, a multiply-add counted as two.
        backward_flops: of its backward pass.
        step_flops: of the optimizer, in an update.
        divided: weights that the processes of a host divide when they update them, with ddp.
        divided_state: their part of the state.
    """

    weights: int
    gradients: int
    state: int
    activations: int
    logits: int
    working: int
    scratch: int
    forward_flops: int
    backward_flops: int
    step_flops: int
    divided: int = 0
    divided_state: int = 0

    @property
    def peak(self) -> int:
        """The most that is alive at once in an update."""
        return self.weights + self.gradients + self.state + max(self.working, self.scratch)


@attrs.frozen(kw_only=True)
class DryRun:
    """A dry run: its memory, and the model, whose parameters have shapes only."""

    memory: StepMemory
    model: nn.Module


def dry_run(
    step: DryStep,
    *,
    build_optimizer: Callable[[Sequence[nn.Module]], Optimizer],
    accumulation: int,
    autocast: torch.dtype | None,
    on_cpu: bool,
    activation_checkpointing: bool = False,
) -> DryRun:
    """Run the last micro-batch and the optimizer step of an update that is not the first one.

    Args:
        step: the model, the batch and the loss.
        build_optimizer: builds the optimizer over modules.
        accumulation: micro-batches in an update.
        autocast: the type of mixed precision, or None.
        on_cpu: whether it trains on a CPU; if not, attention is that of a GPU, and the optimizer updates
            lists of whole tensors.
        activation_checkpointing: whether activations are computed again in the backward pass.
    """
    meter = Meter(granularity=64 if on_cpu else 512)
    kernels = nullcontext() if on_cpu else fused_attention(meter)
    precision = nullcontext() if autocast is None else torch.autocast("cpu", autocast)
    given = step.batch()
    with ShapeMode(meter) as mode, torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Accessing the data pointer")  # its alignment is asked for
        model: Any = step.build_model().train()
        if activation_checkpointing:
            recompute_activations(model)
        weights = meter.held
        batch = {name: mode.fake(tensor) for name, tensor in given.items()}
        optimizer = build_optimizer([model])
        if not on_cpu and hasattr(optimizer, "compiled"):
            optimizer.compiled = False
        update = _Update(step, model, batch, optimizer, meter, kernels, precision)
        update.fill_gradients()
        meter.start_peak()
        update.apply()
        first = meter.peak  # some optimizers do more every n-th step, beginning with the first one
        state = meter.held - weights - update.batch
        if accumulation > 1:  # the last micro-batch finds the gradients of the others
            update.fill_gradients()
        meter.start_peak()
        update.accumulate()
        gradients = update.gradients
        resident = weights + gradients + state
        working = meter.peak - resident
        meter.start_peak()
        update.apply()
        divided = divided_parameters(optimizer)
    memory = StepMemory(
        weights=weights,
        gradients=gradients,
        state=state,
        activations=update.activations,
        logits=update.logits,
        working=working,
        scratch=max(0, first - resident, meter.peak - resident),
        forward_flops=update.flops[0],
        backward_flops=update.flops[1],
        step_flops=update.flops[2],
        divided=sum(p.nbytes for p in divided),
        divided_state=sum(
            t.nbytes for p in divided for t in optimizer.state[p].values() if torch.is_tensor(t)
        ),
    )
    return DryRun(memory=memory, model=model)


def recompute_activations(model: Any) -> None:
    """Switch activation checkpointing on, under the name that this version of transformers has for it."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


class _Update:
    """The parts of an update, which note what a micro-batch and an optimizer step take."""

    def __init__(
        self,
        step: DryStep,
        model: Any,
        batch: Mapping[str, Tensor],
        optimizer: Any,
        meter: Meter,
        kernels: AbstractContextManager[Any],
        precision: AbstractContextManager[Any],
    ) -> None:
        self.step, self.model, self.batches, self.optimizer = step, model, batch, optimizer
        self.meter, self.kernels, self.precision = meter, kernels, precision
        self.batch = sum(tensor.nbytes for tensor in batch.values())
        head = model.get_output_embeddings()  # None: a head over labels
        self.outputs = model.config.num_labels if head is None else head.weight.shape[0]
        self.activations = self.logits = 0
        self.flops = [0, 0, 0]

    @property
    def gradients(self) -> int:
        """The bytes of the gradients of all trained parameters."""
        groups = self.optimizer.param_groups
        return sum(p.grad.nbytes for group in groups for p in group["params"] if p.grad is not None)

    def fill_gradients(self) -> None:
        """Give every trained parameter a gradient, as a micro-batch does."""
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.empty_like(parameter)

    def _estimate_curvature(self) -> None:
        """Give an optimizer that asks for an estimate of the curvature the gradients of a pass for it."""
        if getattr(self.optimizer, "curvature_due", False):

            def sampled() -> float:
                self.fill_gradients()
                return 1.0

            self.optimizer.curvature_step(sampled)
            self.fill_gradients()

    def apply(self) -> None:
        """Clip the gradients, take the step of the optimizer, and free the gradients."""
        self._estimate_curvature()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        trained = [p for p in parameters if p.grad is not None]
        gradients = [p.grad for p in trained if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        torch.nn.utils.clip_grads_with_norm_(trained, 1.0, norm)
        before = self.meter.flops
        self.optimizer.step()
        self.flops[2] = self.meter.flops - before
        del gradients
        self.model.zero_grad()

    def accumulate(self) -> None:
        """Run the forward and the backward pass of a micro-batch."""
        meter, before, live = self.meter, self.meter.flops, self.meter.live
        with self.kernels:
            with self.precision:
                loss = self.step.loss(self.model, self.batches)
            forward = meter.flops
            self.logits = meter.held_since(live, self.outputs)
            self.activations = meter.held_since(live) - self.logits
            loss.backward()  # in the same kernels, if activations are computed again
        self.flops[:2] = [forward - before, meter.flops - forward]
