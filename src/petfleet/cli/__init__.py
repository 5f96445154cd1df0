"""The command line `petfleet`."""
