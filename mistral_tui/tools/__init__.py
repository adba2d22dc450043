"""Tools: what a model may call, who runs it, and who said that it may."""
