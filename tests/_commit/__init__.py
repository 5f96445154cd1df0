"""Group commit, mostly over a backend that does as it is told."""
