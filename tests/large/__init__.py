"""What takes many users and no coverage: run once, beside the proofs, by `nox -s tests`."""
