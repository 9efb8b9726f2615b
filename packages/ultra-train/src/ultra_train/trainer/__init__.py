"""The trainer: what ultra adds to every trainer of the Hugging Face family.

Read in this order:

* ``mixin``: ``UltraTrainerMixin``, what happens at each step of training.
* ``gate``: decides whether an update is applied, and takes a dropped one back; ``guards`` has its limits, and
  ``non_finite`` finds the module that numbers come from.
* ``update_callback``: bookkeeping around every update and after evaluations.
* ``recovery``: rolling back to the last intact checkpoint; ``rollbacks`` is the record of it.
* ``stream``: the micro-batches, and the position in the data.
* ``plugins``: optimizer and learning-rate schedule of a preset; ``optimizers`` and ``curvature``
  serve them during training.
* ``saving`` and ``loading``: what a checkpoint holds; ``checkpoints``: the folders on disk.
* ``log_lines``: the lines of the log.
* ``settings``, ``base``, ``host``: what a run configures, what the parts share, what transformers provides.
"""
