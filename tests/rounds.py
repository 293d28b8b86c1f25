"""How far tests go that draw at random, and where they begin: `build.py test --soak --seed N` says so."""

from __future__ import annotations

import os
from collections.abc import Mapping


def worlds(environ: Mapping[str, str] = os.environ) -> int:
    """How many seeded worlds: 2,000, with --soak 100,000; FLEDX_WORLDS says it exactly."""
    return int(environ.get("FLEDX_WORLDS") or (100_000 if environ.get("FLEDX_TEST_SOAK") else 2_000))


def first_seed(environ: Mapping[str, str] = os.environ) -> int:
    """The first world's seed: that of --seed, which FLEDX_SEED overrules, else 0."""
    return int(environ.get("FLEDX_SEED") or environ.get("FLEDX_TEST_SEED") or 0)
