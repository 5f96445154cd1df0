"""Proof of reliability: every fault, crash point and interleaving that a machine can try.

Each kind of proof is a module with a :class:`~tests.proof.parts.Part`: rounds that a seed decides. A few rounds, always
the same ones, run in the suite; ``python -m tests.proof`` (`nox -s torture`) runs others for as long as it is given.
"""
