"""What every room may use: a cache, forks, logging, and the runtime (threads, locks, timers, the clock)."""
