"""Pipelines: several runs, each on the model of one before it, and an evaluation of what they give.

* ``sections``: the keys of a pipeline; ``form`` reads and checks such a preset.
* ``merging``, ``steps``: the preset of every step, and the model that it takes from another.
* ``folder``: where a pipeline writes, and which of its steps are finished.
* ``execution``: the steps in their order, resumed where they were.
* ``evaluation``, ``closing``, ``page``: how good the models are, and how that is shown.
"""
