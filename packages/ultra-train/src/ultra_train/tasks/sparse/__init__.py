"""Sparse encoders (SPLADE, inference-free SPLADE, CSR): their presets, from which no run trains yet.

* ``declaration``: the tasks; ``form``: their kind of preset file, with the stages of loading.
* ``preset`` and ``sections``: the keys; ``synonyms``: names that other tools have for them.
* ``rules`` and ``notices``: contradictions, and keys without effect.
"""
