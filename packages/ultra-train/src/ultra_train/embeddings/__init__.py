"""Encoders of sentence-transformers, dense and sparse: what a folder holds, loading, building, checks."""
