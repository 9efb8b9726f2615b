"""Rows of several texts, for sentence embeddings and retrieval.

* ``kinds``: the kinds of rows and their columns; ``columns`` finds these in a data set.
* ``rows``: the rows of files, hub data sets and embedded data; ``checking``: checks and counts them.
* ``split_names``, ``splitting``: which split a file or a row belongs to.
* ``store``: the checked rows on disk; ``reading``: reads any source as ``datasets.Dataset``.
"""
