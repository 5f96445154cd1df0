"""What the store does, wherever its fleets live: each test runs on every kind of backend."""
