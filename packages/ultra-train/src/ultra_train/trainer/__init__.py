"""The trainer: what ultra adds to every trainer of the Hugging Face family.

Read in this order:

* ``mixin``: ``UltraTrainerMixin``, what happens at each step of training.
* ``gate``: decides whether an update is applied, and takes a dropped one back.
* ``guards``: the limits that the gate applies, and the errors that end or rewind a run.
* ``recovery``: resuming, rolling back to the last intact checkpoint, giving up.
* ``stream``: the micro-batches, and the position in the data.
* ``plugins``: optimizer and learning-rate schedule from the keys of a preset.
* ``checkpoints``: folders on disk, what is in them, which ones are kept; ``saving`` and ``loading`` fill and
  read them.
* ``update_callback``: bookkeeping at the end of every update; ``log_window``: the lines of the log.
* ``host``: the part of ``transformers.Trainer`` that all of this relies on.
"""
