"""The mesh command, in this process."""

import pytest

from mesh.cli import run


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    code = run(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err
