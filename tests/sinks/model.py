"""A model of the file system, and of the processes that use it, in which every interleaving can be tried.

`ModelSystem` stands in for `structllm._system.System`, so it is the sink's own code that runs. Each call that another
process could notice is one atomic step, before which the process waits for its turn. `Explorer` gives the turns: it
tries every order of steps (and, where asked, a SIGKILL at every step), and knows two orders apart only by what they
lead to: the state of the disk, and what each process has been told so far. A process is deterministic given what it was
told, so two orders that agree in both need to be continued only once.
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from greenlet import greenlet

from structllm._system import System

DIRECTORY = "/log"


@dataclass
class Inode:
    """A file: its content as a list of what was written to it."""

    number: int
    content: bytes = b""
    links: int = 0
    lock: "OpenFile | None" = None
    mtime: float = 0.0
    mode: int = 0o600


@dataclass(eq=False)
class OpenFile:
    """An open file description."""

    inode: Inode
    position: int = 0


class ModelStatus(NamedTuple):
    """What `os.stat` tells."""

    st_dev: int
    st_ino: int
    st_nlink: int
    st_mode: int
    st_size: int
    st_mtime: float


class Disk:
    """One directory of files, shared by all processes.

    Attributes:
        landed: For each line, how often it was written to a file that was in the log at that moment.
    """

    def __init__(self, log: str) -> None:
        self.log = log
        self.names: dict[str, Inode] = {}
        self.inodes: list[Inode] = []
        self.landed: dict[bytes, int] = {}
        self.now = 1000.0

    def in_log(self, inode: Inode) -> bool:
        """Return whether a file is the live file or a numbered one."""
        return any(
            found is inode and (name == self.log or name.removeprefix(self.log + ".")[:1].isdigit())
            for name, found in self.names.items()
        )

    def log_lines(self) -> list[bytes]:
        """Return every line of the log's files, oldest file first."""
        names = [name for name in self.names if name == self.log or name.removeprefix(self.log + ".").isdigit()]
        names.sort(key=lambda name: -int(name.removeprefix(self.log + ".")) if name != self.log else 0)
        return [line for name in names for line in self.names[name].content.split(b"\n") if line]

    def key(self) -> Any:
        """The state, comparable and hashable."""
        open_locks = tuple(
            (inode.number, inode.content, inode.links, inode.mode, inode.lock is not None) for inode in self.inodes
        )
        return tuple(sorted((name, inode.number) for name, inode in self.names.items())), open_locks


class Killed(BaseException):
    """Ends a process where it stands."""


class ModelSystem(System):
    """What one process sees of the disk."""

    def __init__(self, disk: Disk, number: int) -> None:
        self.disk = disk
        self.number = number
        self.told: list[Any] = []
        self.files: dict[int, OpenFile] = {}
        self._fds = iter(range(3, 10**6))
        self._tokens = iter(range(10**6))
        self.clock = 0.0
        self.step: Callable[[], None] = lambda: None
        self.writing: tuple[Inode, bytes] | None = None
        self.kept: list[object] = []  # what must not be collected while a step is due

    def _turn(self) -> None:
        self.step()
        self.told.append("turn")  # a step that changes nothing is a step all the same

    def _tell(self, value: Any) -> Any:
        self.told.append(value)
        return value

    def _fail(self, number: int) -> OSError:
        self.told.append(("error", number))
        return OSError(number, os.strerror(number))

    def _name(self, path: str) -> str:
        return path.removeprefix(DIRECTORY + "/")

    # What others can notice, or what can notice others: one step each.

    def write(self, fd: int, data: Any) -> int:  # type: ignore[override]  # a function there
        file = self.files[fd]
        self.writing = (file.inode, bytes(data))
        self._turn()
        self.writing = None
        if self.disk.in_log(file.inode):
            for line in bytes(data).split(b"\n"):
                if line:
                    self.disk.landed[line] = self.disk.landed.get(line, 0) + 1
        file.inode.content += bytes(data)
        file.inode.mtime = self.disk.now
        file.position = len(file.inode.content)
        return self._tell(len(data))

    def seek(self, fd: int, position: int, whence: int) -> int:  # type: ignore[override]
        if fd not in self.files:
            raise self._fail(errno.EBADF)
        if whence == os.SEEK_CUR:
            return self.files[fd].position
        self._turn()
        return self._tell(len(self.files[fd].inode.content))

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        self._turn()
        name = self._name(path)
        inode = self.disk.names.get(name)
        if inode is None:
            if not flags & os.O_CREAT:
                raise self._fail(errno.ENOENT)
            inode = Inode(len(self.disk.inodes), links=1, mtime=self.disk.now)
            self.disk.inodes.append(inode)
            self.disk.names[name] = inode
        elif flags & os.O_EXCL:
            raise self._fail(errno.EEXIST)
        fd = next(self._fds)
        self.files[fd] = OpenFile(inode)
        self._tell(inode.number)
        return fd

    def close(self, fd: int) -> None:
        if fd not in self.files:
            self.step()  # only a killed process has lost its files, and it does not come back from here
        file = self.files.pop(fd)
        if file.inode.lock is file and file not in self.files.values():
            file.inode.lock = None

    def status_of(self, fd: int) -> ModelStatus:
        self._turn()
        return self._status(self.files[fd].inode)

    def status_at(self, path: str) -> ModelStatus:
        self._turn()
        inode = self.disk.names.get(self._name(path))
        if inode is None:
            raise self._fail(errno.ENOENT)
        return self._status(inode)

    def _status(self, inode: Inode) -> ModelStatus:
        mode = stat.S_IFREG | inode.mode
        return self._tell(ModelStatus(1, inode.number, inode.links, mode, len(inode.content), inode.mtime))

    def read_at(self, fd: int, count: int, offset: int) -> bytes:
        self._turn()
        return self._tell(self.files[fd].inode.content[offset : offset + count])

    def permit(self, fd: int, mode: int) -> None:
        self._turn()
        self.files[fd].inode.mode = mode

    def rename(self, source: str, target: str) -> None:
        self._turn()
        inode = self.disk.names.pop(self._name(source), None)
        if inode is None:
            raise self._fail(errno.ENOENT)
        replaced = self.disk.names.get(self._name(target))
        if replaced is not None:
            replaced.links -= 1
        self.disk.names[self._name(target)] = inode

    def unlink(self, path: str) -> None:
        self._turn()
        inode = self.disk.names.pop(self._name(path), None)
        if inode is None:
            raise self._fail(errno.ENOENT)
        inode.links -= 1

    def names_in(self, directory: str) -> list[str]:
        self._turn()
        return self._tell(sorted(self.disk.names))

    def try_lock(self, fd: int) -> bool:
        self._turn()
        file = self.files[fd]
        if file.inode.lock not in (None, file):
            return self._tell(False)
        file.inode.lock = file
        return self._tell(True)

    def unlock(self, fd: int) -> None:
        self._turn()
        if self.files[fd].inode.lock is self.files[fd]:
            self.files[fd].inode.lock = None

    # What nobody else can notice.

    def now(self) -> float:
        return self.disk.now

    def monotonic(self) -> float:  # type: ignore[override]
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += 0.15  # so that few attempts fill the bound; the turns are the explorer's anyway
        self.told.append("slept")

    def token(self) -> str:
        return f"{self.number:06x}{next(self._tokens):06x}"

    def duplicate(self, fd: int) -> int:
        copy = next(self._fds)
        self.files[copy] = self.files[fd]
        return copy

    def date(self, fd: int, seconds: float) -> None:
        self.files[fd].inode.mtime = seconds

    def make_directories(self, path: str, mode: int) -> None:
        return

    def sync(self, fd: int) -> None:
        return

    def sync_directory(self, path: str) -> None:
        return

    def die(self) -> None:
        """Let go of everything, as the kernel does for a killed process."""
        for fd in list(self.files):
            self.close(fd)


Program = Callable[[ModelSystem], None]
"""What a process does."""

Choice = tuple[str, int]
"""`step`, `kill` or `tear`, and the number of the process."""


@dataclass
class Explorer:
    """Tries every interleaving of some processes.

    Args:
        prepare: Makes the disk as the processes find it.
        programs: What each process does.
        check: Called when all processes have ended, with the disk; raises AssertionError where something is wrong.
        kills: How many processes may be killed, each at any step.
        tears: Whether a kill may also end a write half done.
        preemptions: How often a process may lose its turn to another one without having ended; None means no bound.
            Most faults of a protocol need two; the orders to be tried grow with every one allowed.
    """

    prepare: Callable[[], Disk]
    programs: Sequence[Program]
    check: Callable[[Disk], None]
    kills: int = 0
    tears: bool = False
    preemptions: int | None = None
    seen: set[Any] = field(default_factory=set[Any])
    runs: int = 0
    ended: int = 0

    def explore(self) -> None:
        """Try everything. Raises AssertionError with the order of steps that leads to what is wrong."""
        pending: list[list[Choice]] = [[]]
        while pending:
            prefix = pending.pop()
            pending.extend(self._run(prefix))

    def _run(self, prefix: list[Choice]) -> list[list[Choice]]:
        """Follow an order to where it ends, then go on with the first process; return the orders left to be tried."""
        self.runs += 1
        disk = self.prepare()
        systems: list[ModelSystem] = [ModelSystem(disk, number) for number in range(len(self.programs))]
        processes = [self._process(system, program) for system, program in zip(systems, self.programs, strict=True)]
        try:
            return self._follow(prefix, disk, processes, systems)
        finally:
            for number, process in enumerate(processes):
                if not process.dead:
                    self._do(("kill", number), processes, systems)

    def _follow(
        self, prefix: list[Choice], disk: Disk, processes: Sequence[greenlet], systems: Sequence[ModelSystem]
    ) -> list[list[Choice]]:
        for process in processes:
            process.switch()  # up to its first step
        order, others = list(prefix), list[list[Choice]]()
        killed = preempted = 0
        running: int | None = None
        for kind, number in prefix:
            killed += kind != "step"
            if kind == "step":
                preempted += running not in (None, number) and not processes[running or 0].dead
                running = number
            self._do((kind, number), processes, systems)
        while alive := [number for number, process in enumerate(processes) if not process.dead]:
            told = [(process.dead, repr(system.told)) for process, system in zip(processes, systems, strict=True)]
            left = None if self.preemptions is None else (running, preempted)
            state = hash((disk.key(), killed, left, tuple(told)))
            if state in self.seen:
                return others
            self.seen.add(state)
            if running in alive:
                alive.sort(key=lambda number: number != running)
                if preempted == self.preemptions:
                    del alive[1:]
            choices: list[Choice] = [("step", number) for number in alive]
            if killed < self.kills:
                choices += [("kill", number) for number in alive]
                if self.tears:
                    choices += [("tear", number) for number in alive if systems[number].writing is not None]
            others += [[*order, choice] for choice in choices[1:]]
            running = alive[0]
            order.append(choices[0])
            self._do(choices[0], processes, systems)
        self.ended += 1
        self._judge(disk, order)
        return others

    def _process(self, system: ModelSystem, program: Program) -> greenlet:
        parent = greenlet.getcurrent()
        system.step = parent.switch

        def main() -> None:
            with suppress(Killed):
                program(system)
            system.die()
            system.step = lambda: None  # what is collected later is no step of a process

        return greenlet(main)

    def _do(self, choice: Choice, processes: Sequence[greenlet], systems: Sequence[ModelSystem]) -> None:
        kind, number = choice
        if kind == "step":
            processes[number].switch()
        else:
            writing = systems[number].writing
            if kind == "tear" and writing is not None:
                inode, data = writing
                inode.content += data[: len(data) // 2]
            # Its `finally` blocks must not touch the disk any more: SIGKILL runs none.
            systems[number].die()
            systems[number].disk = Disk("")
            systems[number].step = _refuse
            processes[number].throw(Killed)
            assert processes[number].dead
            systems[number].step = lambda: None

    def _judge(self, disk: Disk, order: Sequence[Choice]) -> None:
        try:
            self.check(disk)
        except AssertionError as error:
            steps = " ".join(f"{number}" if kind == "step" else f"{kind}-{number}" for kind, number in order)
            files = {name: inode.content for name, inode in disk.names.items()}
            raise AssertionError(f"{error}\nafter the steps: {steps}\nfiles: {files}") from None


def _refuse() -> None:
    raise Killed
