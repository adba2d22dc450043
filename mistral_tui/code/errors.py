"""What can go wrong with a file of code; each message is a sentence for the user."""

from __future__ import annotations


class CodeError(Exception):
    """A file cannot be opened, saved or changed as wanted."""


class ChangedOnDisk(CodeError):
    """Somebody else wrote the file since it was read, or took it away."""
