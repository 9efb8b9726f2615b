"""What classification and token classification share.

* ``options``: the keys of the data and their labels.
* ``task``: the declaration that both inherit from.
* ``run``: one run, from the parts below.
* ``weights``: class weights, and the loss with them.
* ``trainer``: training, and evaluation over all rows.
* ``model``: the base model with a fresh head.
* ``words``: words of texts as pieces.
* ``dry_step``: the step without data, for ``ultra-train estimate``.
* ``predicting`` and ``command``: the command ``ultra-train predict``.
"""
