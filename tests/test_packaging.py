"""What is shipped: wheel and sdist, built from a clean copy, installed into a fresh environment and run there."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent

FOLDERS = {"structllm": "structllm", "sinks": "structllm/sinks", "processors": "structllm/processors"}
"""Folder of the repository to folder of the wheel."""

NOT_IN_A_CLONE = ("build", "dist", "*.egg-info", "__pycache__", ".*")

# Nothing here talks to an index: what the builds and the installs need is installed already.
OFFLINE = {
    **os.environ,
    "PYTHONPATH": "",
    "PIP_NO_INDEX": "1",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def run(*command: str | Path, cwd: Path, timeout_s: float = 120) -> str:
    """Run a command to its end and return what it printed; a failure shows all of it."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=OFFLINE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert 0 == done.returncode, done.stdout
    return done.stdout


def clean_copy(source: Path, target: Path) -> Path:
    """Copy what a fresh clone would hold: what git tracks or would add, symlinks as symlinks, nothing ignored."""
    if not (source / ".git").exists():
        return shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*NOT_IN_A_CLONE))
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=source)
    for name in filter(None, listed.split("\0")):
        if os.path.lexists(source / name):  # git still lists a deleted file until the deletion is added
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name, follow_symlinks=False)
    return target


def expected_files(source: Path) -> set[str]:
    """The paths in the wheel that the package folders of this tree stand for."""
    return {
        "/".join((inside, *path.relative_to(source / folder).parts))
        for folder, inside in FOLDERS.items()
        for here, _, names in os.walk(source / folder, followlinks=False)
        for path in (Path(here, name) for name in names)
        if path.suffix == ".py" or path.name == "py.typed"
    }


def shipped_files(wheel: Path) -> set[str]:
    """The paths in a wheel, its metadata left out."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


class Dist(NamedTuple):
    """What was built, and from where."""

    source: Path
    sdist: Path
    wheel: Path


class Installed(NamedTuple):
    """A fresh environment that has the wheel."""

    python: Path
    command: Path
    home: Path


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Dist:
    """The sdist of a clean copy, and the wheel of that sdist, as a release would build them."""
    source = clean_copy(ROOT, tmp_path_factory.mktemp("clone"))
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source, cwd=out)
    return Dist(source, next(out.glob("*.tar.gz")), next(out.glob("*.whl")))


@pytest.fixture(scope="module")
def installed(dist: Dist, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The wheel in an environment of its own, which finds the dependencies in ours through a last path entry."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home / "venv", with_pip=True, symlinks=True)
    python = home / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-deps", "--quiet", dist.wheel, cwd=home)
    ours = run(sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip()
    theirs = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip()
    Path(theirs, "dependencies.pth").write_text(ours + "\n", encoding="utf-8")
    yield Installed(python, python.with_name("structllm"), home)
    shutil.rmtree(home)


class TestContents:
    """What is in the archives."""

    def test_wheel_has_the_package_and_nothing_else(self, dist: Dist) -> None:
        """The wheel holds every module of the three folders under its import name, `py.typed`, and no other file."""
        assert expected_files(dist.source) == shipped_files(dist.wheel)

    def test_typed(self, dist: Dist) -> None:
        """Type checkers are told that the package is typed."""
        assert "structllm/py.typed" in shipped_files(dist.wheel)

    def test_sdist_has_the_sources(self, dist: Dist) -> None:
        """The sdist holds the folders as the repository does, each module once."""
        with tarfile.open(dist.sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames() if name.endswith(".py")}
        modules = {
            "/".join((folder, *Path(name).relative_to(inside).parts))
            for folder, inside in FOLDERS.items()
            for name in expected_files(dist.source)
            if name.endswith(".py") and name.startswith(inside + "/")
        }
        own = {name for name in modules if not name.startswith(("structllm/sinks/", "structllm/processors/"))}
        assert own == {name for name in names if name.startswith(tuple(folder + "/" for folder in FOLDERS))}

    def test_metadata(self, dist: Dist) -> None:
        """The distribution has its name, states its Python and its licence, and brings the extras and the command."""
        with zipfile.ZipFile(dist.wheel) as archive:
            info = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            metadata = Parser().parsestr(archive.read(info).decode())
            scripts = archive.read(info.replace("METADATA", "entry_points.txt")).decode()
        assert ("structllm-logging", ">=3.11", "MIT") == (
            metadata["Name"],
            metadata["Requires-Python"],
            metadata["License-Expression"],
        )
        assert {"all", "demo", "langchain", "s3"} <= set(metadata.get_all("Provides-Extra", []))
        assert "structllm = structllm.cli:main" in scripts

    def test_a_stale_build_folder_stays_out(self, dist: Dist, tmp_path: Path) -> None:
        """A module that lies in `build/` from an earlier build, and was deleted since, is not shipped."""
        dirty = clean_copy(dist.source, tmp_path / "dirty")
        ghost = dirty / "build" / "lib" / "structllm" / "ghost.py"
        ghost.parent.mkdir(parents=True)
        ghost.write_text("", encoding="utf-8")
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, dirty, cwd=tmp_path)
        assert expected_files(dist.source) == shipped_files(next(tmp_path.glob("*.whl")))


class TestInstalled:
    """The wheel at work, away from the checkout."""

    def test_every_module_imports(self, dist: Dist, installed: Installed) -> None:
        """Every module of the wheel imports, and from the installed place."""
        names = sorted(
            name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for name in shipped_files(dist.wheel)
            if name.endswith(".py") and not name.endswith("__main__.py")
        )
        code = "import importlib, sys\nfor name in sys.argv[1:]: print(importlib.import_module(name).__file__)"
        files = run(installed.python, "-c", code, *names, cwd=installed.home).splitlines()
        assert len(names) == len(files)
        assert [] == [file for file in files if not Path(file).is_relative_to(installed.home)]

    def test_command(self, installed: Installed) -> None:
        """`structllm --help` runs, and `python -m structllm` is the same command."""
        assert "Usage: structllm" in run(installed.command, "--help", cwd=installed.home)
        assert "Usage: structllm" in run(installed.python, "-m", "structllm", "--help", cwd=installed.home)

    @pytest.mark.parametrize("name", ["sinks", "processors"])
    def test_no_generic_name_is_taken(self, installed: Installed, name: str) -> None:
        """The folders' bare names are not importable: a generic name in everybody's site-packages is a nuisance."""
        code = "import importlib.util, sys; print(importlib.util.find_spec(sys.argv[1]))"
        assert "None" == run(installed.python, "-c", code, name, cwd=installed.home).strip()

    def test_logs_a_line(self, installed: Installed) -> None:
        """The installed package writes a request and its response."""
        code = (
            "import structllm\n"
            "logger = structllm.create_llm_logger(log_file='events.log')\n"
            "request_id = logger.log_completion_request(prompt='Up or down?', model='o3-mini')\n"
            "logger.log_completion_response(request_id=request_id, response='Up.', response_time=0.5)\n"
            "logger.close()\n"
        )
        run(installed.python, "-c", code, cwd=installed.home)
        lines = (installed.home / "events.log").read_text(encoding="utf-8").splitlines()
        assert ['{"event_type":"completion_request"', '{"event_type":"completion_response"'] == [
            line.partition(",")[0] for line in lines
        ]


class TestLock:
    """`requirements.lock`, which names every dependency at one version."""

    def test_pins_everything_with_hashes(self) -> None:
        """Each entry is a version with the hashes of its files, and nothing says where a file was fetched from."""
        text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
        entries = re.split(r"^(?=[a-z0-9])", text, flags=re.M | re.I)[1:]
        assert [] == [entry for entry in entries if not re.match(r"[\w.-]+==\S+( ;.*)? \\\n    --hash=sha256:", entry)]
        assert None is re.search(r"://|--(extra-)?index-url|--find-links|file:", text)

    def test_fits_the_project(self) -> None:
        """What pyproject.toml asks for, extras and tools included, is locked: `make lock` was run after a change."""
        with (ROOT / "pyproject.toml").open("rb") as file:
            project = tomllib.load(file)["project"]
        locked = dict(
            re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), flags=re.M)
        )
        asked = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
        for requirement in map(Requirement, asked):
            if requirement.name != project["name"]:
                assert requirement.specifier.contains(locked.get(requirement.name, "0")), requirement


class TestCleanCopy:
    """The copy that the archives are built from."""

    def test_as_a_clone(self, tmp_path: Path) -> None:
        """New files and symlinks are copied; ignored and deleted ones are not."""
        source = tmp_path / "source"
        (source / "real").mkdir(parents=True)
        run("git", "init", "--quiet", ".", cwd=source)
        (source / ".gitignore").write_text("ignored.py\n", encoding="utf-8")
        for name in ("kept.py", "gone.py", "ignored.py", "real/inside.py"):
            (source / name).write_text("", encoding="utf-8")
        (source / "link").symlink_to("real")
        run("git", "add", "gone.py", cwd=source)
        (source / "gone.py").unlink()
        copy = clean_copy(source, tmp_path / "copy")
        assert {".gitignore", "kept.py", "link", "real"} == {path.name for path in copy.iterdir()}
        assert "real" == os.readlink(copy / "link")
