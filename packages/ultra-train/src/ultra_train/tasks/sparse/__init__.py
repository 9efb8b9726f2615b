"""Sparse encoders (SPLADE, inference-free SPLADE, CSR): their presets, from which nothing trains yet."""
