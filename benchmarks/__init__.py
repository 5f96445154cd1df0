"""How petfleet and what its users would pick instead behave when everybody writes at once: `nox -s bench`."""
