"""Deferred work: it runs later, elsewhere, and never harms anybody."""

import os
import threading
from functools import partial

import pytest

from structllm._deferred import Deferred
from tests.waiting import comes_true, grows_to


class TestDeferred:
    def test_runs_in_another_thread(self) -> None:
        """A job runs, and not in the thread that gave it."""
        threads: list[threading.Thread] = []
        deferred = Deferred()
        deferred.defer(0.0, lambda: threads.append(threading.current_thread()))
        assert comes_true(lambda: bool(threads))
        assert (threads[0] is threading.main_thread(), threads[0].daemon) == (False, True)
        deferred.close()

    def test_runs_in_the_order_of_their_times(self) -> None:
        """The job that is due first runs first; of the same time, the one that was given first."""
        ran: list[str] = []
        now = [0.0]
        deferred = Deferred(clock=lambda: now[0])
        for delay_s, name in [(5.0, "late"), (1.0, "early"), (5.0, "last"), (0.5, "first")]:
            deferred.defer(delay_s, partial(ran.append, name))
        assert (ran, deferred.waiting()) == ([], 4)
        now[0] = 10.0
        deferred.defer(0.0, lambda: ran.append("woken"))
        assert comes_true(lambda: len(ran) == 5)
        assert ran == ["first", "early", "late", "last", "woken"]
        deferred.close()

    def test_failure_is_counted_and_the_next_job_runs(self) -> None:
        """What a job raises reaches nobody but the one who counts, and one who counts badly does no harm."""
        errors: list[Exception] = []

        def count(error: Exception) -> None:
            errors.append(error)
            raise RuntimeError

        def fail() -> None:
            raise ValueError

        ran = threading.Event()
        deferred = Deferred(count)
        deferred.defer(0.0, fail)
        deferred.defer(0.0, ran.set)
        assert ran.wait(timeout=10)
        assert (deferred.failed, [type(error) for error in errors]) == (1, [ValueError])
        deferred.close()

    def test_thread_ends_when_idle_and_starts_again(self) -> None:
        """Nothing to do, no thread; a new job gets a new one."""
        threads: list[threading.Thread] = []
        deferred = Deferred(idle_s=0.001)
        for number in (1, 2):
            deferred.defer(0.0, lambda: threads.append(threading.current_thread()))
            assert grows_to(threads, number)
            threads[-1].join(timeout=10)
            assert not threads[-1].is_alive()
        assert threads[0] is not threads[1]

    def test_close_forgets_jobs_and_ends_the_thread(self) -> None:
        """After closing no job runs and none is taken."""
        ran: list[int] = []
        deferred = Deferred()
        deferred.defer(60.0, lambda: ran.append(1))
        thread = next(thread for thread in threading.enumerate() if thread.name == "structllm-deferred")
        deferred.close()
        deferred.defer(0.0, lambda: ran.append(2))
        thread.join(timeout=10)
        assert (thread.is_alive(), ran, deferred.waiting()) == (False, [], 0)

    def test_no_thread_no_job(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where no thread can be started the job is left out; the next one tries again."""

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        ran = threading.Event()
        deferred = Deferred()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            deferred.defer(0.0, ran.set)
        assert (deferred.waiting(), ran.is_set()) == (0, False)
        deferred.defer(0.0, ran.set)
        assert ran.wait(timeout=10)
        deferred.close()

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_child_starts_empty(self) -> None:
        """A forked child runs its own jobs alone."""
        deferred = Deferred()
        reader, writer = os.pipe()
        deferred.defer(60.0, lambda: None)
        child = os.fork()
        if child == 0:
            deferred.reset_after_fork()
            mine = threading.Event()
            before = deferred.waiting()
            deferred.defer(0.0, mine.set)
            os.write(writer, b"%d%d" % (before, mine.wait(timeout=10)))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            assert stream.read() == b"01"
        os.waitpid(child, 0)
        assert deferred.waiting() == 1
        deferred.close()
