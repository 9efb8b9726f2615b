"""The optimizer ``plugin_name`` for ultra."""
