"""What the tasks that train embeddings share, dense ones (``sbert``) and sparse ones.

* ``data``: the data sets of a run; ``text_ids``, ``distinct``, ``plan``: which rows form which batch.
* ``batches``: a planned batch as tensors, for training and evaluation.
* ``trainers``: the trainers of sentence-transformers behind ultra's mixin.
* ``losses``, ``evaluators``: by name and by kind of data.
* ``training``: the run that tasks inherit from.
"""
