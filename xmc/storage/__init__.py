"""What lies on disk is whole or refused: files and folders that appear at once, locks, and reading back."""

from xmc.storage.lock import locked
from xmc.storage.read import parse_json, read_json, unreadable
from xmc.storage.whole import sweep, whole_file, whole_folder

__all__ = ["locked", "parse_json", "read_json", "sweep", "unreadable", "whole_file", "whole_folder"]
