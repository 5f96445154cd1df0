"""Tests of the commands, one file for each."""
