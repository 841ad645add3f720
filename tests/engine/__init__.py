"""The engine against the independent references of ``tests/oracle``."""
