"""Fleets as files below a root directory."""
