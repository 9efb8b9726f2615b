"""Helpers for any model or tokenizer of transformers, whoever published it.

* ``precision``, ``vocabulary``, ``sequence_length``: dtype, number of tokens, longest sequence.
* ``known_models``: configs, also of the public models that presets name, without the hub.
* ``probe``: trial forward passes without side effects; ``stateless``: outputs independent of earlier batches.
* ``hub``: whether the hub has what a run needs.
* ``errors``, ``verbosity``: short error messages; fewer log messages.
"""
