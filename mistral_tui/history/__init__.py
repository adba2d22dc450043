"""Conversations on disk: one SQLite file, its search, files to and from it."""
