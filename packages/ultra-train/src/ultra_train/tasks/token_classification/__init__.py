"""The task ``token_classification``: a tag for every word."""
