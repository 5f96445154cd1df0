"""The command line `petfleet`, for operators: beside the library, so that `petfleet --help` need not load it."""
