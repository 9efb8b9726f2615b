"""The task of the template of ``plugin new``, which the mutants of tasks change in one place."""

import sys
from importlib.resources import files

FOLDER = files("ultra_train") / "plugin_templates" / "task" / "src"
sys.path.append(str(FOLDER))

from plugin_name.task import PluginName, PluginNameOptions  # noqa: E402
from plugin_name.training import ClassifierTrainer, ShuffledRun  # noqa: E402

__all__ = ["ClassifierTrainer", "PluginName", "PluginNameOptions", "ShuffledRun"]
