"""A machine in a box: a real systemd as process 1 of its own namespaces, with RAD in /opt/rad.

The root is an overlay over this machine's, kept in memory: whatever is installed or written in the box is
gone with it. It needs root, namespaces and systemd; where they are missing, `why_not` says which.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
NAMESPACES = ("--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup")
RAD = "/opt/rad"
PYTHON = f"{RAD}/.venv/bin/python"
LOG = "/var/log/rad.log"
BOOT_S = 20.0

# Runs as process 1 of the box and ends by becoming systemd. $1: the folder it may use.
SET_UP = r"""
set -e
box=$1; root=$box/root
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs $box
mkdir -p $box/up $box/work $box/rad-up $box/rad-work $root
mount -t overlay overlay -o lowerdir=/,upperdir=$box/up,workdir=$box/work $root
mkdir -p $root/opt/rad $root/opt/python
mount -t overlay overlay -o lowerdir=$BOX_PROJECT,upperdir=$box/rad-up,workdir=$box/rad-work $root/opt/rad
mount --bind $BOX_PYTHON $root/opt/python
rm -rf $root/opt/rad/.venv $root/opt/rad/rad-data $root/opt/rad/.env
mkdir -p $root/opt/rad/.venv/bin $root/opt/rad/.venv/lib
mount --bind $BOX_VENV/lib $root/opt/rad/.venv/lib
ln -s /opt/python/bin/$BOX_PYTHON_NAME $root/opt/rad/.venv/bin/python
printf 'home = /opt/python/bin\ninclude-system-site-packages = false\n' > $root/opt/rad/.venv/pyvenv.cfg
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup 2>/dev/null || {
    mount -t tmpfs tmpfs $root/sys/fs/cgroup; mount -t cgroup2 cgroup2 $root/sys/fs/cgroup; }
mount -t tmpfs -o mode=0755 tmpfs $root/dev
for node in null zero full random urandom tty; do
    touch $root/dev/$node; mount --bind /dev/$node $root/dev/$node
done
mkdir $root/dev/pts $root/dev/shm $root/dev/mqueue $root/dev/hugepages
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts $root/dev/pts
ln -s pts/ptmx $root/dev/ptmx
mount -t tmpfs tmpfs $root/dev/shm
touch $root/dev/kmsg $box/kmsg; mount --bind $box/kmsg $root/dev/kmsg
for folder in run tmp; do mount -t tmpfs -o mode=1777 tmpfs $root/$folder; done
chmod 0755 $root/run
# Of the host's own units none is to start here.
etc=$root/etc/systemd/system; rm -rf $etc/*; mkdir -p $etc
printf '[Unit]\nDefaultDependencies=no\n' > $etc/box.target
printf '[Unit]\nDefaultDependencies=no\n' | tee $etc/sysinit.target > $etc/basic.target
for wants in sysinit sockets timers local-fs network-online multi-user; do
    folder=$root/lib/systemd/system/$wants.target.wants
    [ ! -d $folder ] || mount -t tmpfs tmpfs $folder
done
cd $root; mkdir -p old
pivot_root . old
umount -l /old 2>/dev/null || umount -l old
mount --make-rshared /
/opt/python/bin/$BOX_PYTHON_NAME -c '
import fcntl, socket, struct
with socket.socket() as any:
    fcntl.ioctl(any, 0x8914, struct.pack("16sH14s", b"lo", 1, b""))'
exec env -i container=systemd-nspawn PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
    /lib/systemd/systemd --unit=box.target --log-target=kmsg --log-level=info
"""


def why_not() -> str:
    """Return why there can be no box on this machine; empty if there can."""
    if os.geteuid() != 0:
        return "it needs root"
    if not SYSTEMD.exists() or shutil.which("systemctl") is None:
        return "systemd is not installed"
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return "unshare and nsenter (util-linux) are not installed"
    if _cgroup_root() is None:
        return "no cgroup version 2 is mounted"
    tried = subprocess.run(["unshare", *NAMESPACES, "--fork", "mount", "--make-rprivate", "/"],
                           capture_output=True, check=False, timeout=10)
    return "" if tried.returncode == 0 else f"namespaces are not allowed: {tried.stderr.decode().strip()[:80]}"


def _cgroup_root() -> Path | None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            return Path(fields.split()[4])
    return None


class Box:
    """One booted box; a context manager that takes it down, every process in it included."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="rad-box-"))
        root = _cgroup_root()
        assert root is not None
        self._cgroup = root / f"rad-box-{os.getpid()}"
        self._unshare: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def __enter__(self) -> Box:
        base = Path(sys.base_prefix)
        self._cgroup.mkdir()
        environment = {
            **os.environ, "BOX_PROJECT": str(PROJECT), "BOX_PYTHON": str(base), "BOX_VENV": sys.prefix,
            "BOX_PYTHON_NAME": Path(sys.executable).resolve().name,
        }
        join = (
            f'echo $$ > "{self._cgroup}/cgroup.procs"; '
            f'exec unshare {" ".join(NAMESPACES)} --fork --kill-child sh -c "$SET_UP" box "{self._folder}"'
        )
        with (self._folder.parent / f"{self._folder.name}.err").open("wb") as errors:
            self._unshare = subprocess.Popen(
                ["sh", "-c", join], env={**environment, "SET_UP": SET_UP}, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=errors,
            )
        try:
            self.until(self._has_booted, "it boots", BOOT_S)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._unshare is not None:
            if self._pid:
                os.kill(self._pid, signal.SIGKILL)      # process 1: the kernel ends the others with it
            else:
                self._unshare.kill()
            self._unshare.wait(10)
        deadline = time.monotonic() + 10
        while self._cgroup.exists() and time.monotonic() < deadline:
            self._remove_cgroups()
        (self._folder.parent / f"{self._folder.name}.err").unlink(missing_ok=True)
        self._folder.rmdir()

    def _remove_cgroups(self) -> None:
        for folder in sorted(self._cgroup.rglob("*/"), reverse=True):
            try:
                folder.rmdir()
            except OSError:
                pass
        try:
            self._cgroup.rmdir()
        except OSError:
            time.sleep(0.02)                            # the kernel has not let go of the last process yet

    def _has_booted(self) -> bool:
        assert self._unshare is not None
        assert self._unshare.poll() is None, (self._folder.parent / f"{self._folder.name}.err").read_text()
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()
        if not children:
            return False
        self._pid = int(children[0])
        try:
            if Path(f"/proc/{self._pid}/comm").read_text().strip() != "systemd":
                return False
        except OSError:
            return False
        return self.run("systemctl", "is-active", "box.target").stdout.strip() == "active"

    # ---- inside ---------------------------------------------------------------------------------

    def run(self, *command: str, env: Mapping[str, str] | None = None, timeout_s: float = 180.0
            ) -> subprocess.CompletedProcess[str]:
        """Run a command in the box, in RAD's folder, to its end."""
        enter = ["nsenter", "--target", str(self._pid), "-m", "-p", "-n", "-i", "-u", "-C", "-r",
                 "sh", "-c", f'cd {RAD} && exec "$@"', "box"]
        clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", **(env or {})}
        return subprocess.run([*enter, *command], env=clean, text=True, capture_output=True, timeout=timeout_s,
                              stdin=subprocess.DEVNULL, check=False)

    def rad(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run one of RAD's commands in the box, as root."""
        return self.run(PYTHON, "-m", "console", *command, env=env)

    def write(self, path: str, text: str) -> None:
        """Write a file in the box, with the folders it needs."""
        target = Path(f"/proc/{self._pid}/root") / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def read(self, path: str) -> str:
        """Return a file of the box; empty if it is not there."""
        try:
            return (Path(f"/proc/{self._pid}/root") / path.lstrip("/")).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Return properties of a unit, as systemd has them."""
        said = self.run("systemctl", "show", unit, "--property", ",".join(names)).stdout
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    def until(self, comes: object, what: str, timeout_s: float) -> None:
        """Wait until *comes()* is true."""
        deadline = time.monotonic() + timeout_s
        while not comes():                              # type: ignore[operator]
            assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}\n{self.read(LOG)[-4000:]}"
            time.sleep(0.05)                            # another machine: there is nothing to wait on
