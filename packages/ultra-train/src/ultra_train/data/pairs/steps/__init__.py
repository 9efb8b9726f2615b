"""Steps that add to a data set what a model finds in it; each is done once, and its result is kept on disk.

* ``hard_negatives``: texts that look like answers and are none.
* ``teacher``: scores of a better model, for distillation.
* ``stored``: the result on disk; ``model_identity``: what tells models apart.
"""
