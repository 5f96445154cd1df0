"""The values that users see, the rules for their names, and the errors; no I/O."""
