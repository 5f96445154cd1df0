"""Tests of the utilities that all rooms may use."""
