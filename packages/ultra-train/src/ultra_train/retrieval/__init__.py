"""Finding documents for queries, exactly and in memory.

* ``collection``, ``beir``, ``archive``: documents, queries and judgements from files in the layout of BEIR.
* ``hub_collections``: the same from the hub: NanoBEIR, and the retrieval tasks of MTEB.
* ``scoring``: the best documents by dense and by sparse vectors.
* ``bm25``, ``languages``: the best documents by words.
* ``ranking``, ``fusion``: what a search returns, and several of them in one.
"""
