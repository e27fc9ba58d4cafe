"""Answers to calls are masked like everything else that is shown."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.product import Product


def test_an_outline_shows_no_value_of_a_secret_argument(product: Product, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nARG NPM_TOKEN\nARG MODE\nRUN echo $NPM_TOKEN $MODE\n")
    arguments = ("--build-arg", "NPM_TOKEN=seeded-argument", "--build-arg", "MODE=production")
    for form in ("outline", "outline,format=json"):
        done = product.build("--call", form, *arguments, str(context))
        assert done.code == 0, done.stderr
        shown = done.stdout.decode() + done.stderr
        assert "NPM_TOKEN" in shown
        assert "production" in shown, shown
        assert "seeded" not in shown
