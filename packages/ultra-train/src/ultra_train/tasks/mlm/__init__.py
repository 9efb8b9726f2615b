"""Masked language modelling: the task ``mlm``.

* ``task`` and ``options``: its declaration and its keys, which import no torch.
* ``training``: one run, of a new encoder or of a ``base_model``.
* ``head`` and ``evaluation``: the loss at masked positions only, and metrics over tokens.
* ``fill_mask``, ``command``, ``guesses``: predictions for blanks, also on the command line and after a run.
* ``base_model``: loading and checking the model that a run continues.
"""
