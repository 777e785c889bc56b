"""Solves DIMACS files by OR-tools (cheapest flows) and igraph (greatest). A line of stdin names a `file` and how many `rounds`. It is
answered by a line: the `value`, and the `ms` of CPU time of each round. Reading the file, and building the peer's own network, are
not counted."""

import gzip
import json
import sys
import time

import igraph
import numpy
from ortools.graph.python import min_cost_flow


def read(path):
    kind, nodes, arcs, supplies, ends = None, 0, [], {}, {}
    with (gzip.open if path.endswith(".gz") else open)(path, "rt") as file:
        for line in file:
            words = line.split()
            if not words or words[0] == "c":
                continue
            if words[0] == "p":
                kind, nodes = words[1], int(words[2])
            elif words[0] == "n" and kind == "min":
                supplies[int(words[1]) - 1] = int(words[2])
            elif words[0] == "n":
                ends[words[2]] = int(words[1]) - 1
            elif words[0] == "a":
                arcs.append([int(word) for word in words[1:]])
    return kind, nodes, numpy.array(arcs, dtype=numpy.int64), supplies, ends


def timed(solve):
    begun = time.thread_time()
    value = solve()
    return value, (time.thread_time() - begun) * 1e3


def cheapest(nodes, arcs, supplies):
    solver = min_cost_flow.SimpleMinCostFlow()
    ends = arcs[:, :2].astype(numpy.int32) - 1
    lower, capacity, cost = arcs[:, 2], arcs[:, 3], arcs[:, 4]
    assert not lower.any(), "lower bounds are not measured"
    solver.add_arcs_with_capacity_and_unit_cost(ends[:, 0], ends[:, 1], capacity, cost)
    balance = numpy.zeros(nodes, dtype=numpy.int64)
    for node, supply in supplies.items():
        balance[node] = supply
    solver.set_nodes_supplies(numpy.arange(nodes, dtype=numpy.int32), balance)
    status, ms = timed(solver.solve)
    assert status == solver.OPTIMAL, status
    return solver.optimal_cost(), ms


def solve(ask):
    kind, nodes, arcs, supplies, ends = read(ask["file"])
    results = []
    if kind == "max":
        graph = igraph.Graph(n=nodes, edges=(arcs[:, :2] - 1).tolist(), directed=True)
        capacity = arcs[:, 2].tolist()
    for _ in range(ask["rounds"]):
        if kind == "min":
            results.append(cheapest(nodes, arcs, supplies))
        else:
            results.append(timed(lambda: graph.maxflow_value(ends["s"], ends["t"], capacity=capacity)))
    return {"value": int(results[0][0]), "ms": [ms for _, ms in results]}


for line in sys.stdin:
    print(json.dumps(solve(json.loads(line))), flush=True)
