"""Sentence embeddings: the keys of the task ``sbert``, which nothing trains yet."""
