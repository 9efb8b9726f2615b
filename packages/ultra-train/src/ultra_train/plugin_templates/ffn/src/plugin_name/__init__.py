"""The FFN ``plugin_name`` for ultra."""
