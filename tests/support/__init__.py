"""What tests of several folders share; import it as ``support.<module>``."""
