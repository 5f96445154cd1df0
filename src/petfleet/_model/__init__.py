"""The values that users see, their names and their errors. No I/O."""
