"""Vectors of texts, and an index of documents that can be searched by them.

* ``documents``, ``survey``: read and check the documents of a file or folder before a model is loaded.
* ``manifest``, ``fingerprint``: what an index keeps about its models, so that no other one is used with it.
* ``milvus``, ``schema``, ``index``: the index in Milvus, embedded in a local file or on a server.
* ``encoders``, ``sparse_vectors``, ``inference_free``: the vectors of documents and of queries.
* ``building``, ``searcher``, ``snippets``: building an index and searching it.
* ``vector_files``: vectors in files, with quantisation.
"""
