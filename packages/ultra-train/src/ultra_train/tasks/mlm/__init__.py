"""Masked language modelling: the task ``mlm``.

* ``task`` and ``options``: its declaration and its keys, which import no torch.
* ``training``: one run, of a new encoder or of a ``base_model``, from the parts below.
* ``documents`` and ``streamed_texts``: the tokenised texts, all of them on disk or in windows of a stream.
* ``batching`` and ``batches``: from documents to the batches of training and evaluation.
* ``models``: the model, new, or a base model that a run continues.
* ``head`` and ``evaluation``: the loss at masked positions only, and metrics over tokens.
* ``closing``: what a run prints at its end.
* ``fill_mask``, ``command``, ``guesses``: predictions for blanks, also on the command line and after a run.
"""
