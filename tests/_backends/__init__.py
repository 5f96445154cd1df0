"""Where fleets live, one room a kind of place."""
