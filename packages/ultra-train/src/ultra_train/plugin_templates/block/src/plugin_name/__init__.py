"""The block ``plugin_name`` for ultra."""
