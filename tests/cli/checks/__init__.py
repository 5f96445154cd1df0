"""Tests of what `petfleet check` finds and repairs, one file for each kind of finding."""
