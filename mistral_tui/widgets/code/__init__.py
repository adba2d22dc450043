"""The code panel: the editor, and what stands around it."""
