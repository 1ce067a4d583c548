"""schemathesis sends what the server's own OpenAPI schema allows, and what it forbids."""

import subprocess
import sys

import httpx
import pytest

pytestmark = pytest.mark.slow

# Not `positive_data_acceptance`: a schema cannot say which texts a chat template takes, or which bytes are an image.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)


def test_requests_within_and_outside_the_schema_are_answered_as_the_schema_says(served, tmp_path):
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{served.root}/openapi.json"]
    flags = ["--checks", ",".join(CHECKS), "--max-examples", "40", "--seed", "1", "--workers", "2", "--no-color"]
    phases = ["--phases", "examples,coverage,fuzzing"]
    out = subprocess.run([*command, *flags, *phases], capture_output=True, text=True, cwd=tmp_path)
    assert out.returncode == 0, out.stdout[-6000:] + out.stderr[-2000:]
    assert httpx.get(f"{served.root}/health").json()["status"] == "ok"


def test_every_address_is_in_the_schema(served):
    paths = httpx.get(f"{served.root}/openapi.json").json()["paths"]
    assert sorted(paths) == ["/health", "/metrics", "/v1/chat/completions", "/v1/models"]
