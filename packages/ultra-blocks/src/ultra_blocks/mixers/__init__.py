"""Blocks that mix tokens, one module for each registered name.

* ``base``: ``Mixer`` and ``Traits``, the base of all blocks.
* ``softmax``, ``sparse``: bases of dense and of sparse attention.
* ``contiguous``, ``linear_recurrence``, ``delta_rule``: bases of recurrences that are computed in chunks.
* ``max_logits``: recording of attention logits; ``compression``, ``titan``: parts of single blocks.
"""
