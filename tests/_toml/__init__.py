"""A fleet as TOML text, and back."""
