"""Tokenising a corpus while a run already trains on its beginning.

* ``extent``: the sizes of sources; ``text_stream``: their texts, from any cursor on.
* ``windows``: the tokenised windows in their folder; ``maker`` and ``ahead`` make them.
* ``plan``: which documents form which batch; ``loader`` yields them from any position on.
* ``dataset``: all of it as an ``IterableDataset``.
"""
