"""Run by `nox -s package` in an environment that holds the wheel and nothing of this checkout."""

from __future__ import annotations

from importlib import metadata, resources
from pathlib import Path


def main() -> None:
    import numpy as np

    import bertattn as ba

    home = Path(ba.__file__).resolve()
    if "site-packages" not in home.parts:
        raise SystemExit(f"bertattn was imported from {home}, not from the wheel")
    if metadata.version("bertattn") != ba.__version__:
        raise SystemExit("the version of the wheel is not that of the package")
    if not resources.files("bertattn").joinpath("py.typed").is_file():
        raise SystemExit("py.typed is missing: the wheel has no types")
    for name in ba.__all__:
        getattr(ba, name)
    a = ba.AttentionTensor(np.full((1, 2, 3, 3), 1 / 3), ["a", "b", "c"])
    summary = ba.summarize([a, a], ba.patterns.entropy)
    if not np.allclose(summary.mean("entropy"), np.log(3)):
        raise SystemExit(f"the entropy of uniform attention over 3 keys is {summary.mean('entropy')}, not ln 3")
    print(f"bertattn {ba.__version__} works from {home.parent}")


if __name__ == "__main__":
    main()
