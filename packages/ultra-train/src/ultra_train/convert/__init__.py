"""Converting models of transformers into encoders of ultra, and back, with the same logits.

* ``family``: what a family of models is: fields of the config, and names of tensors.
* ``bert``, ``roberta``, ``modernbert``: the families.
* ``tensors``: tensors by the names of one side as tensors by the names of the other.
* ``conversion``: a model as a model of the other side, compared on random tokens.
"""
