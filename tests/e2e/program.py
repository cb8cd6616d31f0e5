"""Runs the program under test, as a user would."""

import json
import os
import subprocess
from pathlib import Path

# Optional libraries round and decline in ways of their own; their checks report on that.
PEERS = ("torch_", "ggml_")
PROGRAM = os.environ.get("PARETO_PROGRAM", "build/pareto")


def pareto(*words, cwd=None, env=None, timeout=300):
    """The finished process; its exit code is the caller's to check."""
    return subprocess.run(
        [PROGRAM, *map(str, words)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def pareto_json(*words, **options):
    """Output of a verb that must succeed, with --json."""
    result = pareto(*words, "--json", **options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def write(path, text):
    Path(path).write_text(text)
    return path
