"""Decoding under a grammar: tool calls that validate against their schemas."""
