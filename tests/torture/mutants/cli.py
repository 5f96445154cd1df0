"""The command line: a change for each protection, and the test that must fail then."""

from __future__ import annotations

from typing import Final

from tests.torture.mutants.mutant import Mutant

MUTANTS: Final = (
    Mutant(
        "an export is synced before it replaces an older one",
        "_cli/commands/export.py",
        "            disk.sync_file(temporary)\n",
        "",
        "cli/commands/test_export.py::test_an_export_is_durable_before_it_is_done",
    ),
    Mutant(
        "an export's name is durable",
        "_cli/commands/export.py",
        "            disk.sync_directory(os.path.dirname(file))\n",
        "",
        "cli/commands/test_export.py::test_an_export_is_durable_before_it_is_done",
    ),
    Mutant(
        "an interrupted export leaves nothing behind",
        "_cli/commands/export.py",
        "            disk.remove(temporary)\n",
        "            pass\n",
        "cli/commands/test_export.py::test_an_interrupted_export_leaves_the_older_one",
    ),
    Mutant(
        "an export is private",
        "_cli/transfer.py",
        "os.open(name, flags, 0o600)",
        "os.open(name, flags, 0o644)",
        "cli/commands/test_import.py::test_an_import_restores_an_export",
    ),
    Mutant(
        "an import overwrites nothing unasked",
        "_cli/commands/import_.py",
        "if not self._overwrite:",
        "if False:",
        "cli/commands/test_import.py::test_an_import_overwrites_only_when_told",
    ),
    Mutant(
        "two lines of one user are saved in their order",
        "_cli/commands/import_.py",
        "fleet.user_id in waiting or ",
        "",
        "cli/commands/test_import.py::test_of_two_lines_of_one_user_the_last_counts",
    ),
    Mutant(
        "an edit replaces only what it was made of",
        "_cli/commands/edit.py",
        "replacing=before",
        "overwrite=True",
        "cli/commands/test_edit.py::test_a_conflict_keeps_the_copy",
    ),
    Mutant(
        "the copy to edit is private",
        "_cli/commands/edit.py",
        "os.open(name, flags, 0o600)",
        "os.open(name, flags, 0o644)",
        "cli/commands/test_edit.py::test_the_copy_is_private",
    ),
    Mutant(
        "an editor's Ctrl-C is its own",
        "_cli/commands/edit.py",
        "signal.signal(signal.SIGINT, lambda *_: None)",
        "signal.getsignal(signal.SIGINT)",
        "cli/commands/test_edit.py::test_ctrl_c_in_the_editor_is_the_editors",
    ),
    Mutant(
        "a deletion asks",
        "_cli/confirm.py",
        "    typer.confirm(question, abort=True, err=True)\n",
        "",
        "cli/commands/test_delete.py::test_a_delete_asks",
    ),
    Mutant(
        "no name does anything to a terminal",
        "_cli/output.py",
        "    if text.isprintable():\n",
        "    if text:\n",
        "cli/commands/test_show.py::test_show_of_odd_fleets",
    ),
    Mutant(
        "a file is set aside only if it is still no fleet",
        "_cli/checks/repair.py",
        "            if state.error is None:\n                return None\n",
        "",
        "cli/checks/test_repair.py::test_a_file_mended_before_the_lock_is_left_alone",
    ),
    Mutant(
        "another user's file is not set aside",
        "_cli/checks/repair.py",
        "if not state.overwritable:",
        "if False:",
        "cli/checks/test_content.py::test_a_file_of_another_user_is_never_set_aside",
    ),
    Mutant(
        "a set-aside file's name is durable",
        "_cli/checks/repair.py",
        "                    disk.sync_directory(paths.directory)\n",
        "                    pass\n",
        "cli/checks/test_repair.py::test_setting_aside_is_one_rename_that_is_synced",
    ),
    Mutant(
        "what a living writer uses is no finding",
        "_cli/checks/leftovers.py",
        "if lock.try_acquire() and lock.is_at_path():\n                    return",
        "if lock.is_at_path():\n                    return",
        "cli/checks/test_leftovers.py::test_a_writer_at_work_is_no_finding",
    ),
)
