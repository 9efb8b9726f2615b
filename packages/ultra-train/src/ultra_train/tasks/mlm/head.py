"""The head of any masked language model, computed at the masked positions only.

With a large vocabulary, logits take most of the time and memory of a step, and only one in seven positions is
masked. Models of this project compute no others; for every other model, the hidden states of masked positions
are gathered before they enter the head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ultra_blocks.encoder.mlm_head import IGNORED, mlm_loss
from ultra_train.hf.errors import describe_error
from ultra_train.hf.probe import logits_of, nearly_equal, preserve_state, probe_inputs
from ultra_train.hf.vocabulary import declared_embeddings


class MaskedHead:
    """Gives the logits and the loss of a model at the positions that have labels.

    Hidden states are gathered at the input of the child module that holds the output embeddings, or else at
    the output of the encoder. A test on a few tokens shows whether that is exact: logits and gradients
    of the head's parameters must equal those of the head at every position. Otherwise the head runs at every
    position, and ``reason`` says why.

    Args:
        model: a masked language model of transformers, or one of this project.

    Attributes:
        reason: why the head runs at every position; None if it runs at masked positions only.
        gathers_itself: whether the model is one of this project, whose ``forward`` gathers by itself.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.reason: str | None = None
        self._index: Tensor | None = None
        self._shape = torch.Size()
        self._gathered = False
        self.gathers_itself = _gathers_itself(model)
        if not self.gathers_itself:
            self.reason = self._attach()

    def loss(
        self, run: Callable[..., Any], inputs: Mapping[str, Tensor], num_items: Tensor | int | None
    ) -> Tensor:
        """Return the cross entropy of the masked tokens of a micro-batch, divided by those of the update.

        Args:
            run: the model, or its wrapper for training.
            inputs: a batch with ``labels (B, T)``, -100 where nothing is predicted.
            num_items: masked tokens of all micro-batches of the update; None: those of this one.

        Returns:
            A scalar, at least fp32; 0 with a gradient of 0 where nothing is masked.
        """
        if self.gathers_itself:  # its forward adds the auxiliary losses of its modules
            loss: Tensor = run(**inputs, masked_only=True, num_items_in_batch=num_items).loss
            return loss
        logits, labels = self.logits(run, inputs)
        return mlm_loss(logits, labels, num_items=num_items)

    def logits(self, run: Callable[..., Any], inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the logits ``(M, V)`` and the labels ``(M,)`` of the masked positions, in reading order."""
        labels = inputs["labels"]
        index = (labels.flatten() != IGNORED).nonzero().squeeze(1)
        targets = labels.flatten().index_select(0, index)
        if self.gathers_itself:
            return run(**inputs, masked_only=True).logits, targets
        given = {name: value for name, value in inputs.items() if name != "labels"}
        self._index, self._shape, self._gathered = index, labels.shape, False
        try:
            flat = logits_of(run(**given)).flatten(0, -2)
        finally:
            self._index = None
        return (flat if self._gathered else flat.index_select(0, index)), targets

    def _attach(self) -> str | None:
        """Install the gathering at the first place where it is exact; return why there is none, or None."""
        reason = "neither its head nor its encoder is a module of its own"
        with preserve_state(self.model), torch.enable_grad():
            inputs = labelled(self.model)
            self.model.eval()
            for head, attach in self._places():
                expected = self._measured(head, inputs)
                if not all(bool(value.isfinite().all()) for value in expected):
                    return "its logits are not finite"
                hook = attach()
                try:
                    found = self._measured(head, inputs)
                except Exception as error:  # whatever the code of a foreign model raises on another shape
                    reason = describe_error(error)
                else:
                    if self._gathered and all(map(nearly_equal, found, expected)):
                        return None
                    reason = "its head does not take the states of positions one by one"
                hook.remove()
        return reason

    def _measured(self, head: list[nn.Parameter], inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the logits, and the gradients of the parameters of the head."""
        logits, _ = self.logits(self.model, inputs)
        weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype, device=logits.device)
        trained = [p for p in head if p.requires_grad]
        if not trained:
            return [logits.detach()]
        gradients = torch.autograd.grad((logits.flatten() * weights).sum(), trained, allow_unused=True)
        zeros = (torch.zeros_like(p) if g is None else g for p, g in zip(trained, gradients, strict=True))
        return [logits.detach(), *zeros]

    def _places(self) -> Iterator[tuple[list[nn.Parameter], Callable[[], Any]]]:
        """Yield the possible places: the parameters of the head, and a function that gathers before it."""
        model: Any = self.model
        base, embeddings = (
            getattr(model, "base_model", model),
            declared_embeddings(model.get_output_embeddings),
        )
        known = (embeddings, declared_embeddings(model.get_input_embeddings))
        shared = {id(p) for module in known if module is not None for p in module.parameters()}
        for child in model.children():
            if child is not base and embeddings is not None and embeddings in set(child.modules()):
                head = [p for p in child.parameters() if id(p) not in shared]
                yield head, lambda child=child: child.register_forward_pre_hook(self._before)  # type: ignore[misc]
        if base is not model:
            shared |= {id(p) for p in base.parameters()}
            head = [p for p in model.parameters() if id(p) not in shared]
            yield head, lambda: base.register_forward_hook(self._behind)

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> Any:
        """Gather the first input of the head."""
        if self._index is None or not args or not self._fits(args[0]):
            return None
        return (self._chosen(args[0]), *args[1:])

    def _behind(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Gather the first output of the encoder."""
        if self._index is None or not self._fits(output[0]):
            return None
        chosen = self._chosen(output[0])
        if isinstance(output, tuple):
            return (chosen, *output[1:])
        output[next(iter(output))] = chosen
        return output

    def _fits(self, hidden: Any) -> bool:
        return isinstance(hidden, Tensor) and hidden.dim() == 3 and hidden.shape[:2] == self._shape

    def _chosen(self, hidden: Tensor) -> Tensor:
        """Return states ``(B, T, D)`` as one row ``(1, M, D)`` of those that are predicted."""
        assert self._index is not None
        self._gathered = True
        return hidden.flatten(0, 1).index_select(0, self._index).unsqueeze(0)


def _gathers_itself(model: nn.Module) -> bool:
    from ultra_blocks.hf import UltraForMaskedLM

    return isinstance(model, UltraForMaskedLM)


def labelled(model: Any) -> dict[str, Tensor]:
    """Return a batch of two rows, one of them with padding, with labels at three positions."""
    inputs = probe_inputs(model, 2, 5, padding=1)
    labels = torch.full_like(inputs["input_ids"], IGNORED)
    labels[0, [1, 3]], labels[1, 2] = 0, 0
    return {**inputs, "labels": labels}
