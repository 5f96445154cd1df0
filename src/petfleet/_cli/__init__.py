"""The command line `petfleet`.

Imports run one way: main -> app -> commands -> checks, output, roots -> settings.
"""
