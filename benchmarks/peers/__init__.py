"""One file for each way to store fleets, all with the interface of :mod:`benchmarks.work`."""
