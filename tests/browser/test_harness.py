"""What a view must not do is seen where a page does it."""

from __future__ import annotations

from pathlib import Path

import pytest

POLICY = "default-src 'none'; script-src 'unsafe-inline'"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<img src="https://example.org/x.png">', "asks for https://example.org/x.png"),
        ('<script src="beside.js"></script>', "beside.js"),
        ("<script>alert(1)</script>", "opens a dialog: 1"),
        ("<script>console.warn('careful')</script>", "warning: careful"),
        ("<script>throw new Error('broken')</script>", "raises broken"),
        ("<script>open('about:blank')</script>", "opens a window"),
        (f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><img src="data:,">', "violates"),
    ],
)
def test_faults_are_seen(body: str, said: str, opened, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(f"<!doctype html><title>x</title>{body}", encoding="utf-8")
    page = opened(path, ready=False)
    page.wait_for_timeout(100)
    seen, opened.faults = opened.faults, []
    assert any(said in fault for fault in seen), seen


def test_a_quiet_page_has_no_fault(opened, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<!doctype html><html data-ready=true><title>x</title><p>text", encoding="utf-8")
    assert opened(path).title() == "x"
    assert opened.faults == []
