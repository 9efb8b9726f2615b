"""The task ``sbert``: sentence embeddings."""
