"""What the rooms of petfleet stand on."""
