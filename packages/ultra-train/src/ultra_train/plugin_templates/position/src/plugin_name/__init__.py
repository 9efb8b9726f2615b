"""The position code ``plugin_name`` for ultra."""
