"""Run the command line: ``python -m petfleet``."""

from petfleet.cli.main import main

if __name__ == "__main__":
    main()
