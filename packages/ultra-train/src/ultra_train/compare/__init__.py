"""Comparisons: several runs on equal terms, and what their results say.

* ``values``, ``budget``: lists and numbers of the command line.
* ``carry_over``, ``learning_rates``, ``arms``, ``plan``: from presets and varied keys to the trials, each a
  complete preset, checked before anything runs.
* ``faults``, ``requirements``: what is refused, once for all arms, before the first run.
* ``folder``, ``trial``, ``trials``: one trial in a process of its own; all of them, resumed where they were.
* ``statistics``, ``results``, ``summary``: what was measured, and intervals over the seeds.
* ``table``, ``csv_files``, ``page``: how it is shown.
* ``execution``: all of these in their order.
"""
