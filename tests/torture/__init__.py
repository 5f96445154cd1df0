"""Proof of reliability: every fault, crash point and interleaving that a machine can try.

Each kind of proof has a module with a :class:`~tests.torture.parts.Part`: rounds that a seed decides. A few rounds,
always the same ones, run in the suite; ``python -m tests.torture`` (`nox -s torture`) runs others for as long as it is
given.

======================  ==============================================================================================
part                    its other modules
======================  ==============================================================================================
faults                  failing (the system that fails), operations, trial, ledger (what is synced), traced, full_disk
kill                    kennel, kill_tasks, kill_verdict, next_writer, kill_traced*, stopped_holder
states                  trace (what was done), crash (what may be left), disk_state, states_*, syncs
cuts                    images, cut_script, cut_child, cut_crew, cut_ledger, cut_checks
histories               players, records, linear (the checker), specification, sabotage; with walks: model, performing
walks (named model)     machine, machine_files, machine_objects, strategies, layouts
objects                 network (what becomes of requests); with histories and walks
hostile                 hostile_*
interference            interferences, held_commits, verdicts, storm, storm_client
======================  ==============================================================================================
"""
