"""The schedule ``plugin_name`` for ultra."""
