"""Vectors of texts, and an index of documents that can be searched by them.

* ``documents``, ``survey``: read and check the documents of a file or folder before a model is loaded.
* ``manifest``, ``fingerprint``: what an index keeps about its models, so that no other one is used with it.
* ``milvus``, ``schema``, ``index``: the index in Milvus, embedded in a local file or on a server.
* ``encoders``, ``queries``, ``inference_free``, ``sparse_vectors``: the vectors of documents and of queries.
* ``indexing``, ``building``, ``searcher``, ``snippets``: building an index and searching it.
* ``encoding``, ``vector_files``: vectors of given texts, in files, with quantisation.
"""
