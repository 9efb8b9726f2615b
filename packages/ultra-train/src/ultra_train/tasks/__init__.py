"""Tasks: what can be trained. Each has a folder, and nothing outside this package names one.

* ``base``: ``Task``, the declaration of a task, and ``TaskRun``, one run of it.
* ``mlm``: masked language modelling.
* ``sbert``, ``sparse``: the presets of sentence embeddings and sparse encoders, which no run trains yet.
* ``texts``, ``tokenizer_cache``, ``sentence_modules``: helpers for tasks on plain text.
* ``saved_precision``: the precision of a finished model.
"""
