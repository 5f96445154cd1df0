"""Fleets as files under a root directory."""
