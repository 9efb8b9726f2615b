"""Presets: their keys as attrs classes, the stages of loading, the canonical form, the JSON Schema.

``load.load_preset`` calls the stages in this order:

* ``reading``: the file as a tree with positions; ``dialect`` then replaces other names of keys and plugins.
* ``structuring``: typed sections; ``suggestions`` and ``synonyms`` explain unknown keys.
* ``checking``: one report of all faults, which ``rules``, ``local_files`` and ``optimizer_build`` find.
* ``canonical``: every default filled in. ``notices``, ``idle_model`` and ``other_names`` report what has no
  effect or another name.
* ``encoder_keys``, ``roles``: values that the stages derive from the keys; ``schema``: the JSON Schema.

``preset``, ``training``, ``data``, ``run``, ``guards``, ``optimizer``, ``sections``, ``integrations`` declare
the keys; ``task_declaration``, ``task_keys`` and ``declared_tasks`` add those of tasks. ``optimizer_*`` read
optimizer sections. ``form`` is the interface of a kind of preset file; ``encoder_form`` is the common kind.
"""

from ultra_train.config.canonical import to_tree, to_yaml
from ultra_train.config.load import from_source, load_any, load_common, load_preset
from ultra_train.config.preset import LoadedPreset, Preset
from ultra_train.config.sections import Meta, TokenizerConfig
from ultra_train.config.training import TrainingConfig

__all__ = [
    "LoadedPreset",
    "Meta",
    "Preset",
    "TokenizerConfig",
    "TrainingConfig",
    "from_source",
    "load_any",
    "load_common",
    "load_preset",
    "to_tree",
    "to_yaml",
]
