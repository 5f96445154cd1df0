"""Fleets as objects in a bucket."""
