"""Fleets as files."""
