"""Build a wheel, and prove what its name says: for Linux, macOS and Windows, here and in CI.

    python .ci/wheel.py [--target TARGET] [--sdist FILE]

Linux wheels are linked by zig against the libc that their tag names, whatever this machine has.
auditwheel then reads which one the binary needs, abi3audit which of Python's functions. Where the
wheel is for this machine, it is tried in a bare environment whose PATH has no compiler. With
`--sdist`, the wheel is built from that archive and not from the checkout.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from fnmatch import fnmatch
from pathlib import Path

from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename
from sdist import unpack

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
SMOKE = Path(__file__).with_name("smoke.py")

PLATFORMS = {
    "x86_64-unknown-linux-gnu": "manylinux_2_28_x86_64",
    "aarch64-unknown-linux-gnu": "manylinux_2_28_aarch64",
    "x86_64-unknown-linux-musl": "musllinux_1_2_x86_64",
    "aarch64-unknown-linux-musl": "musllinux_1_2_aarch64",
    "universal2-apple-darwin": "macosx_*_universal2",
    "x86_64-pc-windows-msvc": "win_amd64",
}
"""What is released: the platform tag of each of Rust's targets."""

LINUX = re.compile(r"(?P<policy>(many|musl)linux_\d+_\d+)_\w+")


def run(*command: str | Path, **settings: object) -> str:
    """Run a command and return its output; end with its error if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        **settings,  # type: ignore[call-overload]
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\nthis failed ({done.returncode}): {' '.join(map(str, command))}")
    return str(done.stdout)


def tool(name: str) -> Path:
    """A program of the environment that runs this."""
    return Path(sys.executable).with_name(name + (".exe" if os.name == "nt" else ""))


def host() -> str:
    """Rust's name for this machine."""
    return re.findall(r"^host: (.+)$", run("rustc", "-vV"), re.MULTILINE)[0]


def build(target: str, source: Path) -> Path:
    """Build the wheel for a target from a folder with the sources; returns where it is."""
    options = ["--target", target]
    if found := LINUX.fullmatch(PLATFORMS.get(target, "")):
        options += ["--zig", "--compatibility", found["policy"]]
    # One folder for all builds: a second one compiles only what differs. zig is looked for on PATH.
    environment = {"CARGO_TARGET_DIR": str(ROOT / "target"), **os.environ}
    environment["PATH"] = os.pathsep.join((str(tool("maturin").parent), os.environ["PATH"]))
    with tempfile.TemporaryDirectory() as folder:
        run(
            *(tool("maturin"), "build", "--release", "--locked", "-q", "--out", folder, *options),
            cwd=source,
            env=environment,
        )
        (built,) = Path(folder).glob("llmemo-*.whl")
        DIST.mkdir(exist_ok=True)
        return Path(shutil.move(built, DIST / built.name))


def prove_name(wheel: Path, target: str) -> None:
    """End with an error where the wheel's tags are not those of its target, or not deserved."""
    platform = wheel.stem.split("-")[-1]
    wanted = PLATFORMS.get(target, "*")
    if not any(fnmatch(each, wanted) for each in platform.split(".")):
        sys.exit(f"{wheel.name} is for {platform}; a wheel for {target} should be for {wanted}")
    if "cp310-abi3" not in wheel.name:
        sys.exit(f"{wheel.name} is not for every Python from 3.10 on (cp310-abi3)")
    run(tool("abi3audit"), "--strict", wheel)
    print("  abi3audit: uses only what every Python from 3.10 on has")
    if LINUX.fullmatch(wanted):
        prove_libc(wheel, wanted)


def prove_libc(wheel: Path, wanted: str) -> None:
    """End with an error where auditwheel finds that a wheel needs more than its tag says."""
    is_musl = wanted.startswith("musl")
    with tempfile.TemporaryDirectory() as nothing:
        # It must not take this machine's libraries for musl's.
        options = ("--ldpaths", nothing) if is_musl else ()
        said = " ".join(run(tool("auditwheel"), "show", *options, wheel).split())
    if is_musl:
        # Off Alpine it knows no musl, and names what is needed. musl's loader answers to this name
        # itself; Alpine's is "libc.musl-ARCH.so.1".
        ours = (
            "references no external versioned symbols",
            'are required by the wheel: { "libc.so": null }',
        )
        if not all(each in said for each in ours):
            sys.exit(f"the name says {wanted}; auditwheel says: {said}")
        print("  auditwheel: needs musl's own libc.so, and nothing else")
        return
    found = re.search(r'the following platform tag: "(\w+)"', said)
    if found is None or found[1] != wanted:
        sys.exit(f"the name says {wanted}; auditwheel says: {said}")
    print(f"  auditwheel: consistent with {found[1]}")


def fits_here(wheel: Path) -> bool:
    """Whether this Python could install the wheel."""
    return not parse_wheel_filename(wheel.name)[-1].isdisjoint(sys_tags())


def try_out(wheel: Path) -> None:
    """Install the wheel into a bare environment, and use it there."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "venv"
        venv.create(bare, with_pip=True)
        scripts = bare / ("Scripts" if os.name == "nt" else "bin")
        python = scripts / "python"
        # This environment, without the path to a compiler and to the package in this folder.
        environment = {**os.environ, "PATH": str(scripts)}
        for name in ("PYTHONPATH", "VIRTUAL_ENV"):
            environment.pop(name, None)
        if shutil.which("cargo", path=environment["PATH"]):
            sys.exit("the bare environment has cargo on its PATH: it would prove nothing")
        run(python, "-m", "pip", "install", "-q", "--only-binary", ":all:", wheel, env=environment)
        print(" ", run(python, SMOKE, env=environment, cwd=folder).strip())


def main() -> None:
    """Build, prove, try."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", help="one of Rust's; this machine's if it is not given")
    parser.add_argument("--sdist", type=Path, help="build from this archive")
    args = parser.parse_args()
    target = args.target or host()
    with tempfile.TemporaryDirectory() as folder:
        source = ROOT
        if args.sdist:
            unpack(args.sdist, Path(folder))
            (source,) = Path(folder).iterdir()
        wheel = build(target, source)
    print(f"built {wheel.relative_to(ROOT)}, {wheel.stat().st_size / 1024:.0f} KB")
    prove_name(wheel, target)
    if fits_here(wheel):
        try_out(wheel)
    else:
        print(f"  not tried: it is for {target}, and this machine is {host()}")


if __name__ == "__main__":
    main()
