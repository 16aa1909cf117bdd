"""Offline maintenance of a log: check it, export it, archive finished runs, repair damage, remove unused pictures.

Whatever changes a log locks its folder first. Reading needs no lock: a log only grows, and a commit that is being
written is recognised as the unfinished end of the live file.
"""

from actors.memory_store.maintenance.archive import archive_runs, unfinished_runs
from actors.memory_store.maintenance.check import check_images, check_log, check_logs
from actors.memory_store.maintenance.garbage import Garbage, collect_garbage
from actors.memory_store.maintenance.log_reader import export_records
from actors.memory_store.maintenance.repair import repair_log
from actors.memory_store.maintenance.rewriter import rebuild_index

__all__ = [
    "Garbage",
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
