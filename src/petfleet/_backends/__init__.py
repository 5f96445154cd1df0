"""Where fleets live: what a backend is (`protocol`, `state`), and one folder for each kind of backend."""
