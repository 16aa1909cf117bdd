"""Offline maintenance of a log: check it, export it, archive finished runs, repair damage, remove unused pictures.

Each module is one command of `gems memory`. Whatever changes a log locks its folder first. Reading needs no lock: a log
only grows, and a commit that is being written is recognised as the unfinished end of the live file.
"""

from actors.memory_store.maintenance.archive import Archived, archive_runs, unfinished_runs
from actors.memory_store.maintenance.check import Check, ReportProgress, check_images, check_log, check_logs
from actors.memory_store.maintenance.export import export_records
from actors.memory_store.maintenance.garbage import Garbage, collect_garbage
from actors.memory_store.maintenance.rebuild import rebuild_index
from actors.memory_store.maintenance.repair import Repaired, repair_log

__all__ = [
    "Archived",
    "Check",
    "Garbage",
    "Repaired",
    "ReportProgress",
    "archive_runs",
    "check_images",
    "check_log",
    "check_logs",
    "collect_garbage",
    "export_records",
    "rebuild_index",
    "repair_log",
    "unfinished_runs",
]
