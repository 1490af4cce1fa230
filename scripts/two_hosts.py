"""Two hosts, played by network namespaces of one machine, train one run; one of them is lost and comes back.

usage: sudo python scripts/two_hosts.py [--kill-at 20] FOLDER [what `xmc train` is told, but for run=]

A pair of virtual interfaces joins the two namespaces, and each runs a torchrun of one process (gloo): nothing else
of the machine can be reached from them. FOLDER/undisturbed is trained from its first step to its last. FOLDER/disturbed
is, too, but when it has logged --kill-at steps, the second host's torchrun and its process are killed in the middle of
what they do; that host is started anew with the same command, now with resume=true, and the first one's torchrun,
which lost it, takes it back. Then the files of the two models are compared, and those of the last checkpoints. Exit
status: 0, they are the same; 1, they differ, or a run failed; 77, no namespaces can be made here (it takes root and
iproute2).
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

NO_NAMESPACES = 77
ADDRESSES = "10.213.77.1", "10.213.77.2"
PORT = 29400
# torchrun (2.13) tells a host that joins it later nothing of the store that it made for its first round.
COMES_BACK = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
PATIENCE = 200  # seconds for a run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kill-at", type=int, default=20, help="lines of log.jsonl after which a host is lost")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    with two_hosts() as hosts:
        undisturbed, disturbed = options.folder / "undisturbed", options.folder / "disturbed"
        finish(start(hosts, undisturbed, options.overrides))
        jobs = start(hosts, disturbed, options.overrides)
        wait_for_lines(disturbed / "log.jsonl", options.kill_at, jobs)
        lose(jobs[1])
        time.sleep(1)
        jobs[1] = host_starts(hosts[1], disturbed, options.overrides)
        finish(jobs)
    differing = [n for part in ("model", "checkpoints") for n in compared(undisturbed / part, disturbed / part)]
    print("the runs are the same" if not differing else f"the runs differ in {', '.join(differing)}")
    sys.exit(1 if differing else 0)


class Host:
    """A network namespace. number: 0 is where the processes meet."""

    def __init__(self, number: int) -> None:
        self.name = f"xmc-{os.getpid()}-{number}"
        self.interface = f"xmc{os.getpid() % 100000}-{number}"  # at most 15 characters
        self.address = ADDRESSES[number]

    def command(self, *arguments: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *arguments]


@contextmanager
def two_hosts() -> Iterator[list[Host]]:
    """Two namespaces that see one another and nobody else; they are gone afterwards."""
    hosts = [Host(0), Host(1)]
    if shutil.which("ip") is None or not all(ip("netns", "add", host.name, check=False) for host in hosts):
        delete(hosts)
        print("no network namespaces here: it takes root and `ip` of iproute2", file=sys.stderr)
        sys.exit(NO_NAMESPACES)
    try:
        first, second = hosts
        ip("link", "add", first.interface, "type", "veth", "peer", "name", second.interface)
        for host in hosts:
            ip("link", "set", host.interface, "netns", host.name)
            ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", host.interface)
            ip("-n", host.name, "link", "set", host.interface, "up")
            ip("-n", host.name, "link", "set", "lo", "up")
        yield hosts
    finally:
        delete(hosts)


def delete(hosts: Sequence[Host]) -> None:
    for host in hosts:
        ip("netns", "delete", host.name, check=False)


def ip(*arguments: str, check: bool = True) -> bool:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if check and done.returncode:
        sys.exit(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.returncode == 0


def start(hosts: Sequence[Host], run: Path, overrides: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    return [host_starts(host, run, overrides) for host in hosts]


def host_starts(host: Host, run: Path, overrides: Sequence[str]) -> subprocess.Popen[bytes]:
    """torchrun on a host, the leader of a group of processes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--max-restarts=3"]
    meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={ADDRESSES[0]}:{PORT}", f"--rdzv-id={run.name}"]
    meeting += [f"--local-addr={host.address}", f"--rdzv-conf=is_host={int(host.address == ADDRESSES[0])}"]
    resume = [f"resume={str((run / 'config.yaml').exists()).lower()}"]
    train = ["-m", "xmc", "train", f"run={run}", *overrides, *resume]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": host.interface, "OMP_NUM_THREADS": "1"} | COMES_BACK
    return subprocess.Popen(host.command(*torchrun, *meeting, *train), env=environment, start_new_session=True)


def wait_for_lines(log: Path, lines: int, jobs: Sequence[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and all(job.poll() is None for job in jobs):
        if log.exists() and log.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.01)
    for job in jobs:
        lose(job)
    sys.exit(f"{log} never came to {lines} lines")


def lose(job: subprocess.Popen[bytes]) -> None:
    """End torchrun and its process at once, without a word to the other host."""
    if job.poll() is None:
        for process in [*children(job.pid), job.pid]:
            os.kill(process, signal.SIGKILL)
        job.wait()


def children(process: int) -> list[int]:
    """Of a process, and theirs."""
    own = [int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [below for child in own for below in children(child)] + own


def finish(jobs: Sequence[subprocess.Popen[bytes]]) -> None:
    try:
        for job in jobs:
            if job.wait(PATIENCE):
                sys.exit(f"a host ended with status {job.returncode}")
    finally:
        for job in jobs:
            lose(job)


def compared(ours: Path, theirs: Path) -> list[str]:
    """Names of the files that are not the same bytes in both folders."""
    names = {str(p.relative_to(folder)) for folder in (ours, theirs) for p in folder.rglob("*") if p.is_file()}
    return sorted(n for n in names if not same(ours / n, theirs / n))


def same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


if __name__ == "__main__":
    main()
