"""From texts to batches.

* ``sources``: the texts of files, folders, hub data sets and the embedded ``es_commands``.
* ``token_cache``: the tokenised documents, in memory-mapped shards that later runs reuse.
* ``batches``: which documents form which batch, and the masking of tokens.
* ``hashing``, ``cache``, ``errors``: random numbers by counter, what caches share, the error of all of them.
"""
