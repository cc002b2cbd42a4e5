"""Leaderboard: records are collected, ranked and shown as a page, as tables and as files."""

from leaderboard.board import build, table

__all__ = ["build", "table"]
