"""Streams on disk: the format, what answers a request, a player, and how a recording reads and is made."""
