"""Writing what the model makes of a few fixed inputs at every evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ultra_core.errors import PluginError

Write = Callable[[Mapping[str, Any]], None]


class SamplesCallback(TrainerCallback):
    """Writes the samples of the task as an event ``samples`` after every evaluation.

    All processes make the samples, since the model may be sharded; the first one writes them.

    Args:
        samples: returns the samples of the present model.
        write: receives the event.
    """

    def __init__(self, samples: Callable[[], Iterable[Any]], write: Write) -> None:
        self.samples = samples
        self.write = write

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make the samples, and write them if the task has any.

        Raises:
            PluginError: the task yields something else.
        """
        made = [_as_record(sample) for sample in self.samples()]
        if made and state.is_world_process_zero:
            self.write({"step": state.global_step, "event": "samples", "samples": made})


def _as_record(sample: Any) -> dict[str, Any]:
    if not attrs.has(type(sample)):
        raise PluginError(
            f"the method samples of the task must yield objects of the class Sample; {sample!r} is no Sample"
        )
    return attrs.asdict(sample)
