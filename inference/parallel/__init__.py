"""One model on several ranks: processes that hold a share of it each, one to a GPU."""
