"""A small disk of a test's own: filled, emptied, made read-only. Where mounting is not allowed the test is skipped with the reason."""

import os
import subprocess

import pytest
from harness import wait_for


def mount(*argv):
    return subprocess.run(["mount", *argv], check=False, capture_output=True).returncode == 0


class SmallDisk:
    """with SmallDisk(tmp_path) as disk: a tmpfs of some megabytes at disk.path."""

    def __init__(self, folder, megabytes=24):
        self.path, self.size = str(folder / "disk"), f"size={megabytes}m"
        self.filler = os.path.join(self.path, "filler")

    def __enter__(self):
        os.makedirs(self.path)
        if os.geteuid() != 0 or not mount("-t", "tmpfs", "-o", self.size, "tmpfs", self.path):
            pytest.skip("needs the right to mount a small tmpfs")
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "--lazy", self.path], check=False)

    def fill(self):
        """To the last byte."""
        with open(self.filler, "ab", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 4096)
            except OSError:
                pass

    def empty(self):
        os.unlink(self.filler)

    def read_only(self):
        """Once nothing has a file of it open for writing."""
        wait_for(lambda: mount("-o", "remount,ro", self.path), "a read-only disk")

    def writable(self):
        assert mount("-o", "remount,rw", self.path)
