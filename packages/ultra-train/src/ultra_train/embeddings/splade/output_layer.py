"""The output layer of a masked language model: the linear map from states to logits."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ultra_train.hf.errors import describe_error
from ultra_train.hf.probe import logits_of, nearly_equal, preserve_state, probe_inputs
from ultra_train.hf.vocabulary import declared_embeddings, num_embeddings


def output_layer(model: Any) -> nn.Module | None:
    """Return the module that maps states to logits, or None where transformers does not know it.

    A model of remote code that declares none is searched for its last linear layer with an output for every
    token.
    """
    declared = declared_embeddings(model.get_output_embeddings)
    if declared is not None:
        return declared
    size = num_embeddings(model)
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == size]
    return layers[-1] if layers else None


class Recorded:
    """The last input and output of a module inside a ``with`` block."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.input: Tensor | None = None
        self.output: Tensor | None = None

    def __enter__(self) -> Recorded:
        self._handle = self.module.register_forward_hook(self._record)
        return self

    def __exit__(self, *raised: object) -> None:
        self._handle.remove()

    def _record(self, module: nn.Module, args: Any, output: Any) -> None:
        self.input, self.output = (args[0] if args else None), output


def why_not_exact(model: Any, layer: nn.Module | None) -> str | None:
    """Return why the logits of a model are not what its output layer returns, or None if they are.

    Runs a few tokens through the model.

    Args:
        model: a masked language model.
        layer: its output layer.
    """
    if layer is None:
        return "it has no output layer that transformers knows"
    with preserve_state(model), Recorded(layer) as seen:
        model.eval()
        inputs = probe_inputs(model, 2, 5, padding=1)
        try:
            logits = logits_of(model(**inputs))
        except Exception as error:  # whatever the code of a foreign model raises
            return describe_error(error)
    states, output = seen.input, seen.output
    if states is None or output is None or states.shape[:-1] != inputs["input_ids"].shape:
        return "its output layer does not run on the states of every position"
    if not nearly_equal(output, logits):
        return "its head changes the logits after the output layer"
    return None
