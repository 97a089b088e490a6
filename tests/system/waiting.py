"""Waits for what another process has done, not for a while: how far it gets in a while is the machine's affair."""
import os
import signal
import time

LIMIT_S = 1800  # for what never comes: whatever does comes sooner, with sanitizers on a busy machine too


def wait_until(process, reached):
    end = time.monotonic() + LIMIT_S
    while not reached():
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < end, "does not come to it"
        time.sleep(0.005)


def wait_until_it_catches(process, number=signal.SIGINT):
    def catches():
        with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
            caught = next(line.split()[1] for line in status if line.startswith("SigCgt:"))
        return int(caught, 16) >> (number - 1) & 1
    wait_until(process, catches)


def wait_until_it_computed(process, seconds):
    """So many seconds of a processor, however long that takes."""
    def computed():
        with open(f"/proc/{process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12]) >= seconds * os.sysconf("SC_CLK_TCK")
    wait_until(process, computed)
