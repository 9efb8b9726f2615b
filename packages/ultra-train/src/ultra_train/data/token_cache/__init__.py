"""Tokenised documents on disk, in memory-mapped shards.

* ``build``: opens the documents of an earlier run, or builds them with ``text_encoder`` and ``writer``.
* ``shards``: reads documents; ``manifest``: the description of a build with its checksums.
* ``duplicates``: counts repeated texts; ``cache_folders``: creates and removes folders safely.
"""
