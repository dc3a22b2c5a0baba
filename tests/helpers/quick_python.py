"""Python programs that start fast, because they are forked from a process that has imported large libraries.

That process has not imported anything that reads HF_ variables, so each program can have its own environment. Tests of
streams, shell limits or threads use a new interpreter instead.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import socket
import sys
from typing import Any

# Gradio imports the modules of the last line.
_HEAVY = """
    numpy scipy.linalg scipy.optimize scipy.special scipy.stats pandas sklearn.metrics torch torch._dynamo torchvision
    torch.distributed.checkpoint torch.distributed.elastic.agent.server.api torch.distributed._composable.fsdp
    torch.nn.attention.flex_attention torch.utils.data pyarrow.compute pyarrow.dataset pyarrow.json pyarrow.parquet
    aiohttp fsspec.implementations.http httpcore httpcore2 httpx httpx2 requests truststore safetensors.torch tokenizers
    accelerate click cloup jinja2.sandbox markdown_it msgspec rich.progress rich.table yaml PIL.Image
    tokenizers.trainers dill filelock multiprocess.pool regex tqdm.contrib.concurrent xxhash
    fastapi jsonschema mcp pydantic starlette.testclient tomlkit uvicorn
""".split()  # noqa: SIM905


# The environment variable with the server's address, for all processes of a test run.
_ADDRESS = "TESTS_QUICK_PYTHON"


def python() -> list[str]:
    """Return the command line of the interpreter, to which callers add ``-c CODE``, ``-m MODULE`` or a file."""
    return [sys.executable, "-IS", __file__, os.environ.get(_ADDRESS) or start()]


def start() -> str:
    """Start the server for this process and its future children, and return the server's address."""
    import subprocess

    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")  # Linux picks an address in no folder
    listener.listen(64)
    os.environ[_ADDRESS] = address = listener.getsockname()[1:].decode()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    number = listener.fileno()
    words = [sys.executable, "-P", __file__, "serve", str(number)]
    _started.append(subprocess.Popen(words, env=environment | threads, stdin=subprocess.PIPE, pass_fds=[number]))
    listener.close()
    return address


def close() -> None:
    """End the server if this process has started it."""
    while _started:
        _started.pop().communicate()


_started: list[Any] = []


def _launch(address: str, words: list[str]) -> int:
    """Run a program by the server on this process's streams. Forward signals, and return its exit code."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"\0{address}")
    asked = marshal.dumps((words, dict(os.environ), os.getcwd()))  # noqa: PTH109 (importing pathlib would take longer)
    socket.send_fds(connection, [len(asked).to_bytes(4, "big")], [0, 1, 2])
    connection.sendall(asked)
    pid = int.from_bytes(_read(connection, 4), "big")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    code = int.from_bytes(_read(connection, 4), "big", signed=True)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _read(connection: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        piece = connection.recv(length - len(content))
        if not piece:
            raise EOFError("the other side has gone")
        content += piece
    return content


def _serve(listener: socket.socket) -> tuple[list[str], dict[str, str], str, list[int]] | None:
    """Fork a process per program. Return the program in the child, and None in the server when the tests are over."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    signal.set_wakeup_fd(wake)
    running: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([0, woken, listener, *running.values()], [], [])
        if woken in ready:
            os.read(woken, 1000)
            for pid in [*running]:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    _answer(running.pop(pid), os.waitstatus_to_exitcode(status))
        for pid, connection in running.items():
            if connection in ready:  # who started it was killed
                os.kill(pid, signal.SIGKILL)
        if 0 in ready:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                _answer(running[pid], -signal.SIGKILL)
            return None
        if listener in ready:
            connection, _ = listener.accept()
            try:
                length, streams, _, _ = socket.recv_fds(connection, 4, 3)
                words, environment, folder = marshal.loads(_read(connection, int.from_bytes(length, "big")))
            except (EOFError, ConnectionError):  # who asked was killed
                continue
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                for other in (*running.values(), connection, listener):
                    other.close()
                os.close(woken)
                os.close(wake)
                return words, environment, folder, streams
            for stream in streams:
                os.close(stream)
            running[pid] = connection
            _answer(connection, pid)


def _answer(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(number.to_bytes(4, "big", signed=True))


def _run(words: list[str], environment: dict[str, str], folder: str, streams: list[int]) -> None:
    """Do in this process what a new interpreter does with these arguments."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", 1 if os.isatty(1) else -1, closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    here = [] if environment.get("PYTHONSAFEPATH") else [""]
    sys.path[:0] = [*here, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    if words[0] == "-c":
        sys.argv[:] = ["-c", *words[2:]]
        sys.modules["__main__"] = program = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), program.__dict__)
    elif words[0] == "-m":
        sys.argv[:] = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = words
        sys.path[0] = words[0].rpartition("/")[0]
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__" and sys.argv[1] == "serve":
    import gc
    import importlib
    import runpy
    import select
    import types

    for _name in _HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(_name)
    gc.freeze()
    if _asked := _serve(socket.socket(fileno=int(sys.argv[2]))):
        _run(*_asked)
elif __name__ == "__main__":
    sys.exit(_launch(sys.argv[1], sys.argv[2:]))
