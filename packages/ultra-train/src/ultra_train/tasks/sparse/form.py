"""The form of presets for sparse encoders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import attrs

from ultra_core.config import KeyPath, Source
from ultra_train.config.dialect import drop_overridden, translate
from ultra_train.config.form import Draft, PresetForm, Written
from ultra_train.config.integrations import reporters
from ultra_train.config.suggestions import elsewhere
from ultra_train.config.synonyms import flattened
from ultra_train.tasks.sparse import rules
from ultra_train.tasks.sparse.notices import notices
from ultra_train.tasks.sparse.optimizer import section_of
from ultra_train.tasks.sparse.preset import SparseFile, SparsePreset
from ultra_train.tasks.sparse.synonyms import SYNONYMS


class SparseForm(PresetForm[SparseFile]):
    """Presets with ``model.architecture``."""

    condition: ClassVar[Mapping[str, Any]] = {
        "properties": {"model": {"type": "object", "required": ["architecture"]}},
        "required": ["model"],
    }

    def accepts(self, source: Source) -> bool:
        """Whether the file names the architecture of a sparse encoder."""
        model = source.get(("model",))
        return isinstance(model, dict) and "architecture" in model

    @property
    def file_class(self) -> type[SparseFile]:
        """The sections of a sparse preset."""
        return SparseFile

    def translate(self, source: Source) -> tuple[Source, list[str]]:
        """Return the file with canonical keys and choices, and a line about each that was rewritten."""
        made, said = translate(source, SparseFile)
        drop_overridden(made, ("training", "optimizer"))
        return made, said

    def suggest(self, source: Source, path: KeyPath) -> str:
        """Return the key that an unknown one probably means, and its place."""
        target = SYNONYMS.get(flattened(str(path[-1]))) or elsewhere(SparseFile, path)
        return f"did you mean {target}?" if target else ""

    def base_keys(self, source: Source) -> tuple[KeyPath, ...]:
        """Return ``model.base_model``."""
        return (("model", "base_model"),)

    def draft(self, preset: SparseFile, written: Written) -> SparseDraft:
        """Return the draft."""
        return SparseDraft(preset, written)


@attrs.frozen
class SparseDraft(Draft):
    """The sections of a sparse preset while it is loaded."""

    preset: SparseFile
    written: Written

    def faults(self, *, check_files: bool) -> Iterator[tuple[KeyPath, str]]:
        """Yield the faults of rules, and what is missing."""
        yield from rules.faults(self.preset, self.written.given)
        if check_files:
            yield from self.missing()

    def missing(self) -> Iterator[tuple[KeyPath, str]]:
        """Yield the base model and the data that are not on this machine."""
        yield from rules.missing(self.preset)

    def complete(self, name: str, absent: Iterable[str]) -> SparsePreset:
        """Return the preset in canonical form, with its notices."""
        preset, training = self.preset, self.preset.training
        router = preset.model.architecture == "inference-free-splade"
        filled: dict[str, Any] = {"report_to": reporters(training.report_to)}
        if training.optimizer is not None:
            filled["optimizer"] = section_of(preset).canonical
        fields = {field.name: getattr(preset, field.name) for field in attrs.fields(SparseFile)}
        fields["model"] = attrs.evolve(preset.model, use_router=router)
        fields["training"] = attrs.evolve(training, **filled)
        return SparsePreset(**fields, name=name, notices=(*notices(preset, self.written), *absent))
