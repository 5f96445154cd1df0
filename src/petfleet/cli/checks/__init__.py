"""What `petfleet check` finds and repairs, one file a kind."""
