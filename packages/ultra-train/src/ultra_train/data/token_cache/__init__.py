"""Tokenised documents on disk: ``build`` makes or opens them, ``shards`` reads them."""
