"""Outputs: atomic writing, flushing, what may be replaced, locks, signals, child processes."""

from mutants import Mutant

FILES = "spectrafm/files.py"
OUTPUTS = "spectrafm/outputs.py"
WORKSPACES = "spectrafm/workspaces.py"
LOCKS = "spectrafm/locks.py"
SIGNALS = "spectrafm/signals.py"

FLUSHED = (
    "tests/test_files.py::test_everything_is_on_the_disk_before_it_is_moved_and_the_move_after"
)
KEPT = "tests/test_files.py::test_the_old_folder_is_kept_until_the_new_one_is_in_place"
FAILED = "tests/test_files.py::test_a_failed_folder_leaves_the_old_folder"
LEFT = "tests/test_files.py::test_a_leftover_of_a_killed_run_is_deleted_and_one_in_use_is_not"
ASIDE = "tests/test_files.py::test_a_folder_that_a_killed_run_had_put_aside_comes_back"
NO_FOLDER = (
    "tests/test_files.py::test_a_file_replaces_no_folder_not_even_through_a_link_or_an_empty_one"
)
MANY = "tests/test_concurrency.py::test_of_many_writers_at_once_one_whole_result_stands"
LISTED = "tests/test_files.py::test_a_listed_folder_replaces_its_like_alone"
REFUSED = "tests/test_files.py::test_an_output_that_is_being_written_is_refused_and_then_not"

MUTANTS = [
    Mutant(FILES, "            _flush(space.new)\n", "", FLUSHED, "nothing is flushed to disk"),
    Mutant(
        FILES,
        "                os.fsync(handle.fileno())",
        "                pass",
        FLUSHED,
        "files are not flushed to disk",
    ),
    Mutant(
        FILES,
        "        _flush_folder(final.parent)\n",
        "",
        FLUSHED,
        "the move itself is not flushed to disk",
    ),
    Mutant(
        FILES,
        "                os.replace(final, space.old)",
        "                shutil.rmtree(final)",
        KEPT,
        "the old folder is deleted before the new one is in place",
    ),
    Mutant(
        FILES,
        "        os.replace(space.new, final)\n",
        "        shutil.copytree(space.new, final) if space.new.is_dir() else "
        "shutil.copy(space.new, final)\n",
        f"{MANY}[2-40-table]",
        "outputs are copied to their place, so that half of one can be seen",
    ),
    Mutant(
        FILES,
        'f"{path}: is a folder; it is not replaced by a file" if path.is_dir() else None',
        "None",
        NO_FOLDER,
        "a file may replace a folder",
    ),
    Mutant(
        FILES,
        "if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):",
        "if True:",
        "tests/test_files.py::test_a_folder_that_comes_in_between_is_replaced_too",
        "a folder that another process put in place in between ends the command",
    ),
    Mutant(
        WORKSPACES,
        "{uuid.uuid4().hex[:12]}",
        "shared",
        f"{LEFT} {MANY}[2-40-folder]",
        "two writers of one output share their temporary",
    ),
    Mutant(
        WORKSPACES,
        "        if self.old.exists() and not self.final.exists():",
        "        if False:",
        f"{KEPT} {ASIDE}",
        "an old folder that was put aside is not put back",
    ),
    Mutant(
        WORKSPACES,
        "        if lock is not None:\n            yield",
        "        if lock is None:\n            yield",
        LEFT,
        "the temporary of a living process is deleted, and those of dead ones stay",
    ),
    Mutant(
        LOCKS,
        "fcntl.LOCK_EX",
        "fcntl.LOCK_SH",
        f"{LEFT} {REFUSED}",
        "two processes may hold one lock",
    ),
    Mutant(
        OUTPUTS,
        "            locks.release(file, lock)",
        "            os.close(lock)",
        REFUSED,
        "a lock's file stays when the command ends",
    ),
    Mutant(
        OUTPUTS,
        "if foreign := [name for name in found if name not in listed]:",
        "if foreign := []:",
        LISTED,
        "a file that somebody put into our folder is deleted with it",
    ),
    Mutant(
        OUTPUTS,
        "if absent := [name for name in self.files if name not in found]:",
        "if absent := []:",
        LISTED,
        "a model may replace a store",
    ),
    Mutant(
        SIGNALS,
        "            if signal.getsignal(number) != signal.SIG_IGN:\n",
        "            if True:\n",
        "tests/test_signals.py::test_an_ignored_signal_stays_ignored",
        "a terminal that is closed stops what runs below nohup",
    ),
    Mutant(
        SIGNALS,
        "threading.Timer(_AGAIN, os.kill, (os.getpid(), number)).start()",
        "pass",
        "tests/test_signals.py::test_a_signal_in_a_finalizer_is_not_lost",
        "a signal that comes in a finalizer is lost",
    ),
    Mutant(
        SIGNALS,
        "            if received:\n",
        "            if False:\n",
        "tests/test_signals.py::test_an_error_after_a_signal_is_its_consequence",
        "a stopped command ends with a traceback of a library's import",
    ),
]
