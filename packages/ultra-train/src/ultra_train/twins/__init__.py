"""Twins: tiny presets with the architecture and the optimizer of large ones, which run without the hub.

* ``twin``: the twin of a preset.
* ``base_model``: a tiny model of the same family as a base model, with random weights.
* ``tokenizer``: a small tokenizer with the algorithm and the special tokens of the family.
* ``encoder``: the sizes of a tiny encoder with the same parts.
* ``optimizer``: the same optimizer, whose periods fit into a few updates.
"""
