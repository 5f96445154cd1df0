"""Group commit: the waiting calls of a user, carried out together, one turn at a time."""
