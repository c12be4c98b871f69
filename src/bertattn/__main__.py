"""`python -m bertattn`, the same as the command `bertattn`."""

from __future__ import annotations

from bertattn.cli import main

if __name__ == "__main__":
    main()
