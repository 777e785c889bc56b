"""Solves mixed-integer programs by HiGHS, in one thread. A line of stdin has a `program` in the LP format and the `seconds` that it
may take. It is answered by a line: `cost` of the optimum (null if it is not proven), and the `ms` of CPU time."""

import json
import os
import sys
import tempfile
import time

import highspy


def solve(ask):
    solver = highspy.Highs()
    for option, value in [
        ("output_flag", False),
        ("threads", 1),
        ("mip_rel_gap", 0.0),
        ("time_limit", float(ask["seconds"])),
    ]:
        solver.setOptionValue(option, value)
    with tempfile.NamedTemporaryFile("w", suffix=".lp", delete=False) as file:
        file.write(ask["program"])
    try:
        assert solver.readModel(file.name) == highspy.HighsStatus.kOk
    finally:
        os.unlink(file.name)
    begun = time.process_time()
    solver.run()
    took = time.process_time() - begun
    is_proven = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    cost = round(solver.getInfo().objective_function_value) if is_proven else None
    return {"cost": cost, "ms": took * 1e3}


# HiGHS says its name on stdout, whatever its options are: answers go where stdout was, and stdout to stderr.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    print(json.dumps(solve(json.loads(line))), file=answers, flush=True)
