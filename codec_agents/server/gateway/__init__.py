"""A gateway that keeps conversations exact in token ids, whatever API its clients speak."""
