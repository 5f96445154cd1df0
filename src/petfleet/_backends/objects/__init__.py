"""Fleets as objects in an S3-compatible bucket."""
