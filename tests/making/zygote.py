"""A process that has imported every command, and forks one for each ``spectrafm`` that is called.

A storm starts hundreds of commands, each of which would import torch for seconds. `Zygote.bin`
holds a ``spectrafm`` that hands its arguments, folder, environment and open files to the zygote,
and dies with what is forked: when it is killed, so is that, by SIGKILL.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
from importlib import import_module
from pathlib import Path

SHIM = """#!{python} -IS
import json, os, socket, sys
zygote = socket.socket(socket.AF_UNIX)
zygote.connect({address!r})
call = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode() + b"\\n"
socket.send_fds(zygote, [call[:1]], [0, 1, 2])
zygote.sendall(call[1:])
sys.exit(int(zygote.recv(8) or b"1"))
"""


class Zygote:
    """A zygote in a folder; a context manager.

    Attributes
    ----------
    bin : pathlib.Path
        Folder with ``spectrafm`` and ``python``.
    environment : dict of str to str
        For Python to import what this process can import.
    """

    def __init__(self, folder: Path):
        self.bin = folder / "bin"
        self._address = folder / "zygote"

    def __enter__(self) -> Zygote:
        self.bin.mkdir()
        python = Path(sys.executable).resolve()
        (self.bin / "python").symlink_to(python)
        shim = self.bin / "spectrafm"
        shim.write_text(SHIM.format(python=python, address=str(self._address)))
        shim.chmod(0o755)
        packages = sysconfig.get_paths()["purelib"]
        path = ":".join([str(Path(__file__).parents[2]), str(Path(__file__).parents[1]), packages])
        self.environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "making.zygote", self._address],
            env=self.environment, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.wait()


def main(address: str) -> None:
    """Import every command, then fork one for each call."""
    from spectrafm import cli

    for where in cli.COMMANDS.values():
        import_module(where.partition(":")[0])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    print("ready", flush=True)
    while True:
        call, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            os._exit(_answer(call))
        call.close()


def _answer(call: socket.socket) -> int:
    """Run the command that is called for, in a forked process."""
    from spectrafm import cli

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    text, handed, _, _ = socket.recv_fds(call, 1, 3)
    while not text.endswith(b"\n"):
        text += call.recv(1 << 16)
    arguments, folder, environment = json.loads(text)
    for number, descriptor in enumerate(handed):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # What is known of the zygote's own streams does not hold for these.
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    threading.Thread(target=_die_with, args=(call,), daemon=True).start()
    code = cli.main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    call.sendall(str(code).encode())
    return code


def _die_with(call: socket.socket) -> None:
    """Die by SIGKILL when the caller does."""
    if not call.recv(1):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
