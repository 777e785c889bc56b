"""Schedules projects by OR-tools' CP-SAT, in one thread. A line of stdin is a project: `ticks` of each activity, `demands` of each
for each resource, `units` of each resource, `orders` (pairs of which the second waits for the first), and `ms` of CPU time. Each is
answered by a line: `starts` (null if none were found), the `bound`, and the `ms` that it took. Making the model is not counted."""

import json
import sys
import threading
import time

from ortools.sat.python import cp_model

# Between two looks at the clock.
POLL_S = 0.002


def model_of(project):
    model = cp_model.CpModel()
    ticks = project["ticks"]
    horizon = sum(ticks)
    starts = [model.new_int_var(0, horizon, "") for _ in ticks]
    intervals = [model.new_fixed_size_interval_var(start, size, "") for start, size in zip(starts, ticks)]
    for first, second in project["orders"]:
        model.add(starts[second] >= starts[first] + ticks[first])
    for resource, units in enumerate(project["units"]):
        users = [index for index, demands in enumerate(project["demands"]) if demands[resource] > 0]
        used = [intervals[index] for index in users]
        if units == 1:
            model.add_no_overlap(used)
        else:
            model.add_cumulative(used, [project["demands"][index][resource] for index in users], units)
    makespan = model.new_int_var(0, horizon, "")
    model.add_max_equality(makespan, [start + size for start, size in zip(starts, ticks)])
    model.minimize(makespan)
    return model, starts


def solve(project):
    model, starts = model_of(project)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    begun, is_done = time.process_time(), threading.Event()

    def stop_in_time():
        # Stopping is lost on a solver that has not begun, so it is repeated.
        while not is_done.wait(POLL_S):
            if time.process_time() - begun >= project["ms"] / 1e3:
                solver.stop_search()

    watch = threading.Thread(target=stop_in_time)
    watch.start()
    status = solver.solve(model)
    took = time.process_time() - begun
    is_done.set()
    watch.join()
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return {
        "starts": [solver.value(start) for start in starts] if found else None,
        "bound": max(0, round(solver.best_objective_bound)),
        "ms": took * 1e3,
    }


for line in sys.stdin:
    print(json.dumps(solve(json.loads(line))), flush=True)
