"""Helpers for every room: a cache, random rests, hooks for forks and the exit, logging, and the runtime."""
