"""Turns itself into a server that ends when its launcher does, however that one ends.

Run by path (`python -I -S parent_death.py PARENT SIGNAL UID:GID COMMAND…`): it imports nothing of
ours. The parent-death signal is asked for here, after any change of user or namespace, because such
a change clears it (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(parent: str, signal_number: str, owner: str, *command: str) -> None:
    if owner != "-":
        uid, gid = map(int, owner.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if signal_number != "0" and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
        # The launcher may have died before the signal was asked for: then none would come.
        if os.getppid() != int(parent):
            sys.exit("the launcher is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
