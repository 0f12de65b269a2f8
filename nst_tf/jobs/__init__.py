"""Makes pictures, from their inputs to their files. Importing it needs no TensorFlow.

    job = nst_tf.jobs.Job(
        nst_tf.jobs.Paths("photo.jpg", ["painting.jpg"]),
        nst_tf.StyleTransferConfig(),
        nst_tf.jobs.Outputs("result.png"),
    )
    outcome = nst_tf.jobs.run(job)
    print(outcome.status, outcome.path, outcome.reason)

`run` does all of it. `check`, `read` and `plan` are its parts, for a program that reports to its
user between them. `run` also takes the result of `plan`. `stylize_many` makes the pictures of many
jobs, in this process or in several.
"""

from nst_tf.imaging.sources import Paths, Pictures
from nst_tf.jobs.checking import check
from nst_tf.jobs.finished import finished
from nst_tf.jobs.job import Checkpoints, Job, Outputs
from nst_tf.jobs.many import stylize_many, work
from nst_tf.jobs.outcome import Outcome
from nst_tf.jobs.planning import Planned, Ready, network_settings, plan, read, read_pictures
from nst_tf.jobs.running import run
from nst_tf.jobs.saving import keep
from nst_tf.jobs.worker import Progress

__all__ = [
    "Checkpoints",
    "Job",
    "Outcome",
    "Outputs",
    "Paths",
    "Pictures",
    "Planned",
    "Progress",
    "Ready",
    "check",
    "finished",
    "keep",
    "network_settings",
    "plan",
    "read",
    "read_pictures",
    "run",
    "stylize_many",
    "work",
]
