"""Where fleets live: the seam (`protocol`, `state`), and a room for each kind of place."""
