"""Review servers that start at once: a process that has imported everything forks one for each port that it is told.

``python tests/review/nursery.py RUN REVIEWER`` reads a port a line, waits until the server before is gone, and prints the
process id and address of the next one.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from celljury.review.serve import make_server

last = 0
for line in sys.stdin:
    if last:
        os.waitpid(last, 0)
    last = os.fork()
    if not last:
        server = make_server(Path(sys.argv[1]), port=int(line), reviewer=sys.argv[2])
        print(os.getpid(), server.url, flush=True)
        server.run()
        os._exit(0)
if last:
    os.kill(last, signal.SIGKILL)
    os.waitpid(last, 0)
