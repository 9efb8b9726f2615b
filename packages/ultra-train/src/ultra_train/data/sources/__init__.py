"""Where texts come from: ``data_source`` describes a source, ``texts`` reads it."""
