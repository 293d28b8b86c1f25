"""Thousands of requests made from the served description, bounded and seeded: no 5xx, no answer outside its schema."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.system import System

pytestmark = pytest.mark.slow
SEED, EXAMPLES = "20261125", "10"
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"),
    *("response_headers_conformance", "unsupported_method"),
)
#: It goes on until the reader leaves or the deployment is gone, and has no other form; tests/unit/api has it.
ENDLESS = "/watch$"
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def running(pyz: Path, tmp_path: Path) -> Iterator[System]:
    """A control plane with something to find; no engine is needed."""
    with System(pyz, tmp_path) as system:
        system.start_control_plane()
        for line in (
            "deployments create web --image nginx:1.27 --env A=b --dry-run",
            "configs create conf --var A=b",
            "nodes register edge-1 --label disk=ssd",
            "tokens create reader --role read_only",
        ):
            assert system.cli(*line.split()).returncode == 0, line
        yield system


def test_no_request_made_from_the_description_gets_a_5xx_or_an_answer_outside_its_schema(running: System) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{running.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {running.token}", "--seed", SEED, "--max-examples", EXAMPLES),
            *("--checks", ",".join(CHECKS), "--exclude-path-regex", ENDLESS, "--phases", "coverage,fuzzing"),
            *("--request-timeout", "120", "--suppress-health-check", "too_slow", "--no-color"),
        ],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
        cwd=running.folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.acceptance.bounded", "PYTHONPATH": str(PROJECT)},
    )

    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " generated, " in done.stdout
    assert "Traceback" not in running.control_plane.said()
    assert running.cli("audit", "verify").returncode == 0
