"""The server's OpenAPI description is true: schemathesis sends what it allows and what it forbids."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from server.app import app
from tests.examples.serving import serving

# What else may come of a request that the description allows: it depends on the fleet. That an active pet is among the
# pets, and no name there twice, is more than a schema can say: 422 for a whole fleet.
CONFIGURATION: Final = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 304, 404, 409, 412, 428]

[[operations]]
include-name = "PUT /users/{user_id}/fleet"
checks.positive_data_acceptance.expected-statuses = ["2xx", 412, 422, 428]
"""


def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """Every check of its own, on every call but the stream, which has no end; the same requests each time."""
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    with serving(tmp_path / "fleets", workers=2) as server:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", configuration, "run", "--no-color"),
                *("--checks", "all", "--exclude-path-regex", "/events$", "--max-examples", "20", "--seed", "1"),
                f"{server.url}/openapi.json",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 6" in done.stdout


def test_the_description_has_every_answer() -> None:
    """Each call tells of its problems as what they are, problem+json; the stream is described, too."""
    paths = app.openapi()["paths"]
    calls = {
        f"{method.upper()} {path}": {int(status) for status in call["responses"]}
        for path, methods in paths.items()
        for method, call in methods.items()
    }
    always = {400, 422, 500, 503, 507}
    user = "/users/{user_id}"
    assert calls == {
        f"GET {user}/fleet": {200, 304} | always,
        f"PUT {user}/fleet": {200, 412, 428} | always,
        f"POST {user}/pets": {201, 409, 412} | always,
        f"PUT {user}/active": {200, 404, 412} | always,
        f"GET {user}/pets/{{pet_name}}": {200, 404} | always,
        f"DELETE {user}/pets/{{pet_name}}": {204, 404, 412} | always,
        f"GET {user}/events": {200} | always,
    }
    for methods in paths.values():
        for call in methods.values():
            problems = [call["responses"][status] for status in call["responses"] if status >= "400"]
            assert all(list(problem["content"]) == ["application/problem+json"] for problem in problems)
    assert "text/event-stream" in paths[f"{user}/events"]["get"]["responses"]["200"]["content"]


def test_the_description_says_that_nobody_is_asked() -> None:
    """No authentication, and 127.0.0.1 only."""
    assert "No authentication: for 127.0.0.1 only." in app.openapi()["info"]["description"]
