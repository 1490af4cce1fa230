"""What lies on disk is whole or refused: files and folders that appear at once, locks, and reading back."""

from xmc.storage.lock import forget_lock, is_locked, locked
from xmc.storage.private import home_expanded, private_folder, user_cache
from xmc.storage.read import digest, parse_json, read_json, unreadable
from xmc.storage.whole import sweep, whole_file, whole_folder

__all__ = [
    "digest",
    "forget_lock",
    "home_expanded",
    "is_locked",
    "locked",
    "parse_json",
    "private_folder",
    "read_json",
    "sweep",
    "unreadable",
    "user_cache",
    "whole_file",
    "whole_folder",
]
