"""Fail if the coverage floor in pyproject.toml is lower than it was in the commits before."""

import subprocess
import sys
import tomllib
from pathlib import Path

COMMITS = 50


def floor(text: str) -> float:
    """The floor that a pyproject.toml sets, in percent; 0 where it sets none."""
    coverage = tomllib.loads(text).get("tool", {}).get("coverage", {})
    return float(coverage.get("report", {}).get("fail_under", 0))


def git(*words: str) -> str:
    """What a git command prints; nothing where it fails, as in a checkout without history."""
    return subprocess.run(["git", *words], capture_output=True, text=True, timeout=30, check=False).stdout


def main() -> int:
    """Compare, and say what was found."""
    path = "pyproject.toml"
    commits = git("log", f"--max-count={COMMITS}", "--format=%H", "--", path).split()
    before = max((floor(git("show", f"{commit}:{path}")) for commit in commits), default=0.0)
    now = floor(Path(path).read_text(encoding="utf-8"))
    print(f"coverage floor: {now:g} %, before: {before:g} %")
    return int(now < before)


if __name__ == "__main__":
    sys.exit(main())
