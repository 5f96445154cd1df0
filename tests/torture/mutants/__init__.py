"""What happens to the tests when a protection is taken out: one must turn red (`nox -s mutants`)."""
