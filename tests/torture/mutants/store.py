"""The store and its watches: a change for each protection, and the test that must fail then."""

from __future__ import annotations

from typing import Final

from tests.torture.mutants.mutant import Mutant

# How a watch subscribes, and how it then looks.
_ARM: Final = """                if (named is None or new) and notices.subscribe(watched):
                    named = None
                if named is None:
                    named = set(watched)
                    next_poll = runtime.monotonic() + self._backend.poll_seconds
                due = [watched[user_id] for user_id in (named | new) & watched.keys()]
                changed = list((map if at_once == 1 else readers.map)(self._refresh, due))
"""
_LOOK: Final = _ARM[_ARM.index("                if named is None:") :]

MUTANTS: Final = (
    Mutant(
        "save does not replace what it was not given",
        "_store.py",
        "        return stored is None\n",
        "        return True\n",
        "store/test_save.py::test_save_does_not_replace_a_fleet",
    ),
    Mutant(
        "the result of an update is checked",
        "_store.py",
        "            _check_result(after, user_id)\n",
        "",
        "store/test_update.py::test_an_update_must_return_a_fleet_of_the_user",
    ),
    Mutant(
        "a watch arms before it looks",
        "_watch.py",
        _ARM,
        f"{_LOOK}                notices.subscribe(watched)\n",
        "_backends/files/test_inotify.py::test_a_change_right_after_a_snapshot_is_told",
    ),
    Mutant(
        "a missed change makes it subscribe anew",
        "_watch.py",
        "if any(changed) and is_poll and notices.invalidate():",
        "if any(changed) and is_poll and False:",
        "_backends/files/test_inotify.py::test_a_missed_change_makes_it_subscribe_anew",
    ),
    Mutant(
        "watched users are looked at now and then",
        "_watch.py",
        "next_poll = runtime.monotonic() + self._backend.poll_seconds",
        "next_poll = runtime.monotonic() + 3600",
        "_backends/files/test_inotify.py::test_what_the_system_refuses_is_found_by_polling",
    ),
    Mutant(
        "the first fleet is not older than the call",
        "_watch.py",
        "watch._since = watched.joined = self._turn + 1",
        "watch._since = watched.joined = self._turn",
        "test_watching.py::test_the_first_fleet_is_not_older_than_the_first_call",
    ),
    Mutant(
        "who joins is woken though nothing changed",
        "_watch.py",
        "        if changed or first:\n",
        "        if changed:\n",
        "store/test_watch_lifetime.py::test_closing_a_watch_ends_who_waits_in_it",
    ),
    Mutant(
        "who joins while others are told of is looked at",
        "_watch.py",
        "new = {user_id for user_id, each in watched.items() if each.joined > each.last_read}",
        "new: set[str] = set()",
        "_backends/files/test_inotify.py::test_a_user_who_joins_while_another_one_changes_is_read",
    ),
    Mutant(
        "what is there already is not waited for",
        "_watch.py",
        "if self._new(watched) is None and not self._closed:",
        "if not self._closed:",
        "store/test_watch.py::test_a_file_that_is_broken_and_repaired",
    ),
    Mutant(
        "a closed loop keeps no watch alive",
        "_watch.py",
        "            if waiter.loop_is_closed():",
        "            if False:",
        "store/test_watch_lifetime.py::test_a_loop_that_is_closed_under_a_watch_leaves_nothing",
    ),
    Mutant(
        "the watching thread is started again",
        "_watch.py",
        "            if not self._users:\n                self._running = None\n",
        "",
        "store/test_watch_lifetime.py::test_breaking_out_leaves_nothing",
    ),
    Mutant(
        "the watching thread ends with the last watch",
        "_watch.py",
        "            self._forget_left()\n            if not",
        "            if not",
        "store/test_watch_lifetime.py::test_breaking_out_leaves_nothing",
    ),
    Mutant(
        "the watching thread ends with the interpreter",
        "_watch.py",
        "return self.stopped or not threading.main_thread().is_alive()",
        "return self.stopped",
        "test_watching.py::test_the_interpreter_ends",
    ),
    Mutant(
        "who waits hears that the interpreter ends",
        "_watch.py",
        "        if not threading.main_thread().is_alive():\n            raise",
        "        if False:\n            raise",
        "test_watching.py::test_the_main_thread_has_ended",
    ),
    Mutant(
        "a forked child watches by itself",
        "_watch.py",
        "        start_clean_in_child(self)\n",
        "        pass\n",
        "test_watching.py::test_a_forked_child_watches_by_itself",
    ),
    Mutant(
        "no task waits for a thread that failed",
        "_watch.py",
        "users, self._users, self._running = self._users, {}, None",
        "users, self._users, self._running = {}, {}, None",
        "test_watching.py::test_an_unforeseen_failure_is_told_and_the_watch_goes_on",
    ),
    Mutant(
        "a failure like the one before is told too",
        "_watch.py",
        "_Outcome(object(), ",
        "_Outcome(str(error), ",
        "test_watching.py::test_an_unforeseen_failure_is_told_and_the_watch_goes_on",
    ),
    Mutant(
        "a thread that was let go fails no one",
        "_watch.py",
        "            if self._running is not current:\n                return\n",
        "",
        "test_watching.py::test_a_thread_that_was_let_go_fails_no_one",
    ),
    Mutant(
        "fleets are told apart as save does",
        "_watch.py",
        "_Outcome(_key(fleet), fleet)",
        "_Outcome(fleet, fleet)",
        "store/test_watch.py::test_equal_contents_are_shown_once",
    ),
    Mutant(
        "each watch raises an error of its own",
        "_watch.py",
        "raise copy_error(outcome.found)",
        "raise outcome.found",
        "store/test_watch.py::test_a_file_that_is_broken_and_repaired",
    ),
    Mutant(
        "closing a watch wakes who waits in it",
        "_watch.py",
        "            watched.watches.discard(watch)\n            watched.wake()\n",
        "            watched.watches.discard(watch)\n",
        "store/test_watch_lifetime.py::test_closing_a_watch_ends_who_waits_in_it",
    ),
    Mutant(
        "closing the store calls the idle thread back",
        "_watch.py",
        "            current.stopped = True\n        await",
        "            pass\n        await",
        "store/test_watch_lifetime.py::test_closing_the_store_ends_an_idle_thread_at_once",
    ),
)
