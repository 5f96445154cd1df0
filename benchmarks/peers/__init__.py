"""One file for each way to keep fleets, all behind the interface of :mod:`benchmarks.work`."""
