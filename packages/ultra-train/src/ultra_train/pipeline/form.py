"""The form of presets that are pipelines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import attrs

from ultra_core.config import KeyPath, Source, unstructure
from ultra_core.config.key_names import canonical_names
from ultra_core.errors import did_you_mean, key_of, listed
from ultra_train.config.canonical import to_tree
from ultra_train.config.form import Draft, PresetForm, Written
from ultra_train.config.load import form_of
from ultra_train.pipeline.merging import removed
from ultra_train.pipeline.sections import PipelineFile
from ultra_train.pipeline.steps import (
    BASE,
    SECTION,
    Contradiction,
    Step,
    naming_faults,
    steps_of,
    united,
)
from ultra_train.retrieval.reading import is_collection


@attrs.frozen(kw_only=True, slots=False)
class PipelinePreset(PipelineFile):
    """A loaded pipeline; see ``ultra_train.config.LoadedPreset``.

    Attributes:
        steps: its steps in their order.
        name: its name.
        notices: lines to show before it runs.
    """

    steps: tuple[Step, ...] = attrs.field(default=(), eq=False)
    name: str = attrs.field(default="pipeline", eq=False)
    notices: tuple[str, ...] = attrs.field(default=(), eq=False)

    def to_tree(self) -> dict[str, Any]:
        """Return the keys as plain data, each step with all keys of its preset."""
        own = {field.name: unstructure(getattr(self, field.name)) for field in attrs.fields(PipelineFile)}
        return {**own, SECTION: {step.name: _tree(step) for step in self.steps}}


def _tree(step: Step) -> dict[str, Any]:
    tree = to_tree(step.load())
    for key in step.base_keys:
        tree = removed(tree, key)
    return tree if step.base is None else {BASE: step.base, **tree}


class PipelineForm(PresetForm[PipelineFile]):
    """Presets with a section ``pipeline``."""

    condition: ClassVar[Mapping[str, Any]] = {"required": [SECTION]}

    def accepts(self, source: Source) -> bool:
        """Whether the file has steps."""
        return SECTION in source.tree

    @property
    def file_class(self) -> type[PipelineFile]:
        """The sections of a pipeline."""
        return PipelineFile

    def translate(self, source: Source) -> tuple[Source, list[str]]:
        """Return the pipeline whose steps have the keys of the presets that they start from."""
        made, rewritten = canonical_names(united(source), PipelineFile)
        return made, [f"{key_of(path)} is {name}" for path, name in rewritten]

    def suggest(self, source: Source, path: KeyPath) -> str:
        """Say where the keys of steps are."""
        names = list(source.get((SECTION,)) or ())
        if len(path) != 1 or not names or did_you_mean(str(path[0]), ["meta", SECTION, "evaluation"]):
            return ""
        return f"the keys of a step follow its name: {names[0]}.training.seed; the steps are {listed(names)}"

    def draft(self, preset: PipelineFile, written: Written) -> PipelineDraft:
        """Return the draft."""
        return PipelineDraft(preset, written)

    def refusal(self) -> tuple[KeyPath, str]:
        """Say that a pipeline is several runs."""
        return (SECTION,), "this preset is a pipeline of several runs; name the preset of one of its steps"


@attrs.frozen
class PipelineDraft(Draft):
    """A pipeline while it is loaded."""

    preset: PipelineFile
    written: Written

    @property
    def _names(self) -> list[str]:
        return list(self.preset.pipeline)

    @property
    def _steps(self) -> list[Step]:
        return steps_of(self.written.source, self._names)

    def faults(self, *, check_files: bool) -> Iterator[Contradiction]:
        """Yield the faults of the steps, of what they say of each other, and of the evaluation."""
        yield from (naming := list(naming_faults(self.written.source, self._names)))
        yield from self._evaluation(check_files)
        if naming:
            return
        for step in self._steps:
            if isinstance(form_of(step.source), PipelineForm):
                yield (SECTION, step.name), "a pipeline cannot be a step of another one"
            else:
                yield from step.faults(check_files=check_files)

    def _evaluation(self, check_files: bool) -> Iterator[Contradiction]:
        section, names = self.preset.evaluation, self._names
        if section is None:
            return
        if check_files and not is_collection(section.data):
            yield (
                ("evaluation", "data"),
                f"{section.data} is no collection with documents and queries",
            )
        for number, name in enumerate(section.models):
            if name not in names:
                message = f"there is no step {name!r}.{did_you_mean(name, names)} Steps: {listed(names)}"
                yield ("evaluation", "models", number), message

    def missing(self) -> Iterable[tuple[KeyPath, str]]:
        """Return nothing: what is missing for a step is a fault or a notice of its own preset."""
        return ()

    def complete(self, name: str, absent: Iterable[str]) -> PipelinePreset:
        """Return the pipeline with the notices of its steps."""
        fields = {field.name: getattr(self.preset, field.name) for field in attrs.fields(PipelineFile)}
        notices = [f"{step.name}: {line}" for step in self._steps for line in step.load().notices]
        notices += [
            f"{step.name}: {key} has no effect in a pipeline, which keeps the model in the folder of the step"
            for step in self._steps
            for key in step.idle_keys
        ]
        return PipelinePreset(**fields, steps=tuple(self._steps), name=name, notices=tuple(notices))
