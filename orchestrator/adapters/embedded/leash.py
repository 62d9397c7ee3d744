"""Turns itself into a server that ends when its launcher does, however that one ends.

Run by path (`python -I -S leash.py PARENT SIGNAL UID:GID COMMAND…`), so it imports nothing of ours.
The leash is tied here, after any change of user or namespace, because such a change cuts it.
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
        # The launcher may have died before the leash was tied: then nothing would pull it.
        if os.getppid() != int(parent):
            sys.exit("the launcher is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
