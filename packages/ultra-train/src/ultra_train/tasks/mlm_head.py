"""The head of any masked language model, computed at the masked positions only.

With a large vocabulary the logits of all positions are most of the time and memory of a step, and only one
in seven is ever used. Models of this project leave the others out by themselves; for every other model the
hidden states are gathered on their way from the encoder to the head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ultra_blocks.heads import IGNORED, mlm_loss
from ultra_train.undisturbed import undisturbed

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference between both ways, relative to the largest logit; matrix products of other shapes round
differently, while a head that mixes positions is off by the size of the logits."""


class MaskedHead:
    """Gives the logits and the loss of a model at the positions that have labels.

    Where the hidden states can be gathered is tried out on a few tokens, not known by name: behind the
    encoder, or before the child of the model that holds the output embeddings, whichever gives the logits
    that the model gives at every position. If neither does, the head runs everywhere and ``reason`` says why.

    Args:
        model: a masked language model of transformers, or one of this project.

    Attributes:
        reason: why the head runs at every position; None where it need not.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.reason: str | None = None
        self._index: Tensor | None = None
        self._shape = torch.Size()
        self._gathers_itself = _gathers_itself(model)
        if not self._gathers_itself:
            self.reason = self._attach()

    def loss(
        self, run: Callable[..., Any], inputs: Mapping[str, Tensor], num_items: Tensor | int | None
    ) -> Tensor:
        """Return the cross entropy of the masked tokens of a micro-batch, divided by those of the update.

        Args:
            run: the model, or what wraps it for training.
            inputs: a batch with ``labels (B, T)``, -100 where nothing is predicted.
            num_items: masked tokens of all micro-batches of the update; None: those of this one.

        Returns:
            A scalar, at least fp32; 0 with a gradient of 0 where nothing is masked.
        """
        if self._gathers_itself:  # its forward adds the auxiliary losses of its modules
            loss: Tensor = run(**inputs, num_items_in_batch=num_items).loss
            return loss
        logits, labels = self.logits(run, inputs)
        return mlm_loss(logits, labels, num_items=num_items)

    def logits(self, run: Callable[..., Any], inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the logits ``(M, V)`` and the labels ``(M,)`` of the masked positions, in reading order."""
        labels = inputs["labels"]
        index = (labels.flatten() != IGNORED).nonzero().squeeze(1)
        targets = labels.flatten().index_select(0, index)
        if self._gathers_itself:
            logits: Tensor = run(**inputs).logits
        else:
            given = {name: value for name, value in inputs.items() if name != "labels"}
            self._index, self._shape = index if self.reason is None else None, labels.shape
            try:
                logits = _logits(run(**given))
            finally:
                self._index = None
        if logits.shape[:-1] == labels.shape:  # a head that ran everywhere
            return logits.flatten(0, 1).index_select(0, index), targets
        return logits.flatten(0, -2), targets

    def _attach(self) -> str | None:
        """Gather where it is exact; return why that is nowhere, or None."""
        reasons = []
        with undisturbed(self.model):
            inputs = _sample(self.model)
            everywhere = _logits(self.model.eval()(input_ids=inputs["input_ids"]))
            expected = everywhere[inputs["labels"] != IGNORED]
            for hook in self._places():
                try:
                    found = self.logits(self.model, inputs)[0]
                except (RuntimeError, ValueError, IndexError, TypeError) as error:
                    reasons.append(f"{type(error).__name__}: {str(error).splitlines()[0]}")
                else:
                    if self._gathered and _close(found, expected):
                        return None
                    reasons.append("its head does not take the encoder's states one by one")
                hook.remove()
        return reasons[0] if reasons else "neither its encoder nor its head is a module of its own"

    def _places(self) -> Iterator[Any]:
        """Put a hook at one place after the other."""
        base = getattr(self.model, "base_model", self.model)
        if base is not self.model:
            self._gathered = False
            yield base.register_forward_hook(self._behind)
        embeddings = self.model.get_output_embeddings()  # type: ignore[operator]
        for child in self.model.children():
            if child is not base and embeddings is not None and embeddings in set(child.modules()):
                self._gathered = False
                yield child.register_forward_pre_hook(self._before)

    def _behind(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Gather the first output of the encoder."""
        if self._index is None or not self._fits(output[0]):
            return None
        chosen = self._chosen(output[0])
        if isinstance(output, tuple):
            return (chosen, *output[1:])
        output[next(iter(output))] = chosen
        return output

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> Any:
        """Gather the first input of the head."""
        if self._index is None or not args or not self._fits(args[0]):
            return None
        return (self._chosen(args[0]), *args[1:])

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


def _logits(output: Any) -> Tensor:
    logits: Tensor = output[0] if isinstance(output, tuple) else output.logits
    return logits


def _sample(model: Any) -> dict[str, Tensor]:
    """Return two rows of eight tokens without padding; two and one of them are predicted."""
    size, pad = model.config.vocab_size, getattr(model.config, "pad_token_id", None)
    ids = (torch.arange(16) * 7919 + 11) % size
    ids[ids == pad] = (ids[ids == pad] + 1) % size
    ids = ids.view(2, 8).to(next(model.parameters()).device)
    labels = torch.full_like(ids, IGNORED)
    labels[0, [1, 6]], labels[1, 3] = 0, 0
    return {"input_ids": ids, "labels": labels}


def _close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    bound = _TOLERANCE.get(expected.dtype, 5e-2) * float(expected.abs().max())
    return bool((found - expected).abs().max() <= bound)
