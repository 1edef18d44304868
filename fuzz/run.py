"""What `make fuzz` does after the property tests: libFuzzer on canonicaliser and decoder.

    python run.py [SECONDS] [--only FUZZER] [--keep]

Both run for SECONDS (1,800 if not given), or the one that is named, each beginning with what it
found before. Then come the figures: what libFuzzer says, which lines were reached, and how the time
of the slowest texts grows.
With --keep, the fewest inputs that reach all that was reached are added to tests/data/fuzz, which
`make test` reads.

This needs neither nightly Rust nor cargo-fuzz: the passes that libFuzzer relies on are in stable
Rust, too. It needs a compiler of C++, for libFuzzer itself, and the shared library of Python.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FOUND = HERE / "corpus"
SEEDS = HERE / "corpus" / "seeds"
KEPT = ROOT / "tests" / "data" / "fuzz"
ARTIFACTS = HERE / "artifacts"
FLAGS = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
]
LIMITS = ["-max_len=65536", "-len_control=100", "-timeout=10"]
KEPT_MAX = 4096
"""Bytes of an input that is kept."""
NOISE = re.compile(r"#\d+\s+(NEW|REDUCE|RELOAD)|WARNING: Failed to find function|\".*# Uses:|###")
NOISE_OF_MERGE = re.compile(r"(?!.* new files )")
FUZZERS = {"canonical": [], "decoder": ["--features=python"]}
"""How each is built."""


def python_library() -> str:
    """The folder of the shared library that the decoder's fuzzer has Python from."""
    folder, name = (sysconfig.get_config_var(key) for key in ("LIBDIR", "LDLIBRARY"))
    if not str(name).endswith(".so") or not Path(folder, name).exists():
        sys.exit(
            f"fuzz: {sys.executable} has no shared library ({name} in {folder}). Debian: apt-get "
            "install libpython3-dev; pyenv: build Python with PYTHON_CONFIGURE_OPTS=--enable-shared"
        )
    return str(folder)


def built(binary: str, options: list[str], *, flags: list[str]) -> Path:
    """Build a program, instrumented by flags or not."""
    host = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    triple = next(line[6:] for line in host.splitlines() if line.startswith("host: "))
    command = ["cargo", "build", "--release", "--locked", "-q", "--bin", binary, *options]
    # With a target, the flags are not for build scripts and procedural macros.
    command += ["--target", triple] if flags else []
    environment = {**os.environ, "RUSTFLAGS": " ".join(flags), "PYO3_PYTHON": sys.executable}
    subprocess.run(command, check=True, cwd=HERE, env=environment)
    return HERE / "target" / (triple if flags else "") / "release" / binary


def fuzz(name: str, *options: str | Path, noise: re.Pattern[str] = NOISE) -> None:
    """Run a fuzzer, and show what it says but for the noise."""
    program = built(name, FUZZERS[name], flags=FLAGS)
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": python_library(),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path[1:] if path),
    }
    command = [program, *LIMITS, f"-artifact_prefix={ARTIFACTS}/{name}-", *options]
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as running:
        for line in running.stdout or ():
            if not noise.match(line):
                print(line, end="", flush=True)
    if running.returncode != 0:
        sys.exit(f"fuzz: {name} has found something; the input is in {ARTIFACTS}")


def main(seconds: int, names: list[str], *, keep: bool) -> None:
    """Fuzz, and tell."""
    if not sys.platform.startswith("linux"):
        sys.exit(
            "fuzz: only on Linux: coverage and memory are counted by means of its linker and libc"
        )
    if not shutil.which(os.environ.get("CXX", "c++")):
        sys.exit("fuzz: no compiler of C++, which libFuzzer needs. Debian: apt-get install g++")
    python_library()
    subprocess.run([sys.executable, HERE / "seeds.py", SEEDS], check=True)
    for name in names:
        found, seeds, kept = (folder / name for folder in (FOUND, SEEDS, KEPT))
        for folder in (ARTIFACTS, found, kept):
            folder.mkdir(parents=True, exist_ok=True)
        print(f"{name}, {seconds} s", flush=True)
        fuzz(name, f"-max_total_time={seconds}", "-print_final_stats=1", found, seeds, kept)
        if keep:
            # By edges alone: how often each is taken would make it thousands of inputs.
            merge = ["-merge=1", "-use_counters=0", f"-max_len={KEPT_MAX}"]
            fuzz(name, *merge, kept, found, seeds, noise=NOISE_OF_MERGE)
    if "canonical" in names:
        scaling = built("scaling", ["--no-default-features"], flags=[])
        subprocess.run([scaling, FOUND / "canonical", SEEDS / "canonical"], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("seconds", nargs="?", type=int, default=1800, help="for each fuzzer")
    parser.add_argument("--only", choices=FUZZERS, help="one of the two")
    parser.add_argument("--keep", action="store_true", help="add to tests/data/fuzz")
    given = parser.parse_args()
    main(given.seconds, [given.only] if given.only else list(FUZZERS), keep=given.keep)
