"""The task ``sentence_order``."""
