"""Group commit: a user's waiting calls are carried out together, in one turn."""

from petfleet._commit.change import Kind
from petfleet._commit.group_commit import GroupCommit
from petfleet._commit.nesting import outermost, run_change
from petfleet._commit.statistics import FleetStoreStatistics
from petfleet._commit.waiter import Waiter

__all__ = ["FleetStoreStatistics", "GroupCommit", "Kind", "Waiter", "outermost", "run_change"]
