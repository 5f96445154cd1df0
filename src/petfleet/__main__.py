"""Run the command line: ``python -m petfleet``."""

from petfleet._cli.main import main

if __name__ == "__main__":  # pragma: no branch (only run, never imported)
    main()
