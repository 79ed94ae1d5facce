"""The program of fault case 4: log one record to each of many files, and tell the health of each sink."""

import json
import os

from structllm import FileSink
from structllm.assemble import create_llm_logger
from tests.faults.child import SETTINGS, begin, log_one
from tests.faults.harness import Duty

if __name__ == "__main__":
    job, duty = begin()
    duty[Duty.READY] = 1
    health: dict[int, object] = {}
    for length in job["extra"]["lengths"]:
        sink = FileSink(os.path.join(os.path.dirname(job["log"]), f"{length}.log"))
        logger = create_llm_logger(settings=SETTINGS, sinks=[sink])
        log_one(logger, duty, job["name"], 0, 0)
        logger.close()
        health[length] = dict(sink.health())
    with open(os.path.join(job["directory"], f"{job['name']}.stats.json"), "w") as file:
        json.dump(health, file)
