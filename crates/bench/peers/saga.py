"""Schedules task graphs by the list schedulers of anrg-saga. A line of stdin is a graph on related machines: `works` of the tasks,
`speeds` of the processors, `factors` of the links (thousandths of a tick for a unit of data), `edges` (from, to, data), and the `ms`
of CPU time that a scheduler may use. It is answered by a line: for each scheduler its `name` and `placed`, rows of task, processor,
start and finish; null if it failed or took too long."""

import json
import logging
import math
import signal
import sys

from saga import Network, TaskGraph
from saga import schedulers

# These search for the optimum, run another one of the list, or need a list of others.
LEFT_OUT = {"BruteForceScheduler", "SMTScheduler", "DuplexScheduler", "HybridScheduler"}
NAMES = [name for name in schedulers.__all__ if name not in LEFT_OUT]


class TooLate(Exception):
    pass


def stop(*_):
    raise TooLate


def placed(name, network, graph, tasks, ms):
    try:
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, ms / 1e3)
            schedule = getattr(schedulers, name)().schedule(network, graph)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except Exception:
        return None
    rows = [(one.name, int(processor), one.start, one.end) for processor, row in schedule.items() for one in row]
    # It adds a first and a last task of its own.
    return [(int(task), *row) for task, *row in rows if task in tasks]


def link_speed(factor):
    return 1000 / factor if factor else math.inf


def solve(ask):
    count = len(ask["speeds"])
    network = Network.create(
        nodes=[(str(index), speed) for index, speed in enumerate(ask["speeds"])],
        edges=[(str(a), str(b), link_speed(ask["factors"][a][b])) for a in range(count) for b in range(a)],
    )
    tasks = {str(index): work for index, work in enumerate(ask["works"])}
    edges = [(str(first), str(second), float(data)) for first, second, data in ask["edges"]]
    graph = TaskGraph.create(tasks=list(tasks.items()), dependencies=edges)
    return [{"name": name, "placed": placed(name, network, graph, tasks, ask["ms"])} for name in NAMES]


logging.disable(logging.WARNING)
signal.signal(signal.SIGVTALRM, stop)
for line in sys.stdin:
    print(json.dumps(solve(json.loads(line))), flush=True)
