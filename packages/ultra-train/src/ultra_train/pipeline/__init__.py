"""Pipelines: several runs, each on the model of one before it.

* ``sections``: the keys of a pipeline; ``form`` reads and checks such a preset.
* ``merging``, ``steps``: the preset of every step, and the model that it takes from another.
* ``folder``: where a pipeline writes, and which of its steps are finished.
* ``execution``: the steps in their order, resumed where they were.
* ``closing``, ``page``: what it prints at its end, and its report.
"""
