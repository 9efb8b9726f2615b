"""Checkpoints on disk.

* ``folders``: finding them, and checking that they are intact; ``content`` checks what is in their files.
* ``writing``, ``removal``, ``retention``: writing one atomically, removing one, which ones are kept.
* ``resume``: what a run needs from a checkpoint to resume.
* ``state_files``: states of optimizers and random generators as files.
"""
