"""A warning about files on network file systems, where SQLite's WAL does not work."""

from __future__ import annotations

from pathlib import Path

from llmemo.telemetry.stats import logger

NETWORK = {
    "9p",
    "afs",
    "ceph",
    "cifs",
    "fuse.sshfs",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
}
"""File systems of other machines, by the names that Linux has for them."""

_warned: set[Path] = set()


def warn_of_network(path: Path) -> None:
    """Say once if the file is on a file system of another machine, as far as one can tell."""
    kind = file_system(path.parent)
    if kind in NETWORK and path not in _warned:
        _warned.add(path)
        text = (
            "llmemo: %s is on a network file system (%s): SQLite's WAL needs memory that all"
            " processes share, and its locks often fail there. Put the file on a local disk"
        )
        logger.warning(text, path, kind)


def file_system(folder: Path) -> str:
    """The name of the file system that a folder is on; empty if that is not known."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    # "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw": proc_pid_mountinfo(5)
    kinds = {}
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        kinds[before.split(" ")[4].replace("\\040", " ")] = after.partition(" ")[0]
    return next((kinds[str(at)] for at in (folder, *folder.parents) if str(at) in kinds), "")
