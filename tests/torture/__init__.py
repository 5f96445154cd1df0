"""Programs that try to break what petfleet promises, for as long as they are given: see README.md."""
