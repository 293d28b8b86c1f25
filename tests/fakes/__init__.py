"""Fakes that stand at the seams, kept honest by tests/contracts."""
