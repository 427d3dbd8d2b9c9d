"""`python -m fathomseg` is the command `fathom`: for where the script is not on the path."""

from fathomseg.cli import main

if __name__ == "__main__":
    main()
