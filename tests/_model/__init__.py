"""The values, their names and errors."""
