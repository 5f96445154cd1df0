"""Fleets as TOML text: `decode` reads it, `encode` writes it, `limits` bounds it."""
