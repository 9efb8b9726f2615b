"""The norm ``plugin_name`` for ultra."""
