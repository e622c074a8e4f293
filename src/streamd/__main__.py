"""`python -m streamd` is the same as `streamd`."""

from streamd.cli import main

if __name__ == "__main__":
    main()
