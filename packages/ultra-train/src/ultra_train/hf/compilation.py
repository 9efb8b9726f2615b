"""Compiling the encoder of a model with ``torch.compile``, into a bounded number of graphs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, MutableMapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

from ultra_blocks.encoder import Encoder
from ultra_core.errors import UltraError

if TYPE_CHECKING:
    from torch.fx import GraphModule

MOST_GRAPHS = 12
"""Graphs that are compiled at most; what would need more runs uncompiled."""
METRIC = "compiled_graphs"


class Graphs:
    """The graphs that ``torch.compile`` makes of a model: compiles and counts them.

    Args:
        backend: name of the backend of ``torch.compile``.
        most: greatest number of compiled graphs; later ones are executed as they are.

    Attributes:
        count: number of compiled graphs.
        uncompiled: number of graphs beyond the most.
        metrics: receives the count for the next line of the log.
    """

    def __init__(self, backend: str = "inductor", most: int = MOST_GRAPHS) -> None:
        self.backend = backend
        self.most = most
        self.count = 0
        self.uncompiled = 0
        self.metrics: MutableMapping[str, float] = {}

    def __call__(self, graph: GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        """Compile a graph; the backend that ``torch.compile`` calls."""
        if self.count >= self.most:
            self.uncompiled += 1
            return graph.forward
        from torch._dynamo import lookup_backend

        self.count += 1
        self.metrics[METRIC] = self.count
        compiled: Callable[..., Any] = lookup_backend(self.backend)(graph, inputs)
        return compiled

    @property
    def line(self) -> str:
        """What a run prints about them at its end."""
        more = f"; {self.uncompiled} more ran uncompiled" if self.uncompiled else ""
        return f"{self.count} graphs were compiled (at most {self.most}){more}"


def compile_encoder(model: nn.Module, *, backend: str = "inductor", most: int = MOST_GRAPHS) -> Graphs:
    """Compile the encoder of a model for training, in place; names and files of weights stay as they are.

    The length of rows is part of a graph, their number is not (but one row is a case of its own). Evaluation,
    and everything else without gradients, runs uncompiled: it would need graphs of its own. Random numbers
    are those of the uncompiled model.

    Args:
        model: a model of transformers, or one of this project.
        backend: name of the backend of ``torch.compile``.
        most: greatest number of graphs.

    Returns:
        the graphs, which are made when the encoder sees a new shape.
    """
    import torch._dynamo.config
    import torch._inductor.config

    graphs, encoder = Graphs(backend, most), _encoder(model)
    encoder.compile(backend=graphs)
    compiled = encoder._compiled_call_impl
    assert compiled is not None

    def call(*args: Any, **kwargs: Any) -> Any:
        if not (encoder.training and torch.is_grad_enabled()):
            return encoder._call_impl(*args, **kwargs)
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor) and tensor.dim():
                torch._dynamo.maybe_mark_dynamic(tensor, 0)
        with (
            torch._dynamo.config.patch(automatic_dynamic_shapes=False, recompile_limit=4 * most),
            torch._inductor.config.patch(fallback_random=True),
        ):
            return compiled(*args, **kwargs)

    encoder._compiled_call_impl = call
    return graphs


def check_compiler(device: torch.device) -> None:
    """Refuse to compile where the backend has no compiler of its own to call.

    Raises:
        UltraError: there is no C++ compiler for the CPU, or no Triton for a GPU.
    """
    if device.type == "cuda" and find_spec("triton") is None:
        raise UltraError(
            "training.compile needs the package triton on a GPU; install it, or leave compile out"
        )
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise UltraError(
            "training.compile needs a C++ compiler on a CPU, and there is neither g++ nor clang++; install "
            "one, or leave compile out"
        )


def _encoder(model: nn.Module) -> nn.Module:
    """Return the part of a model without its head: what reads values of tensors stays outside."""
    for module in model.modules():
        if isinstance(module, Encoder):
            return module
    inner = next((module for module in model.modules() if isinstance(module, PreTrainedModel)), None)
    return model if inner is None else inner.base_model
