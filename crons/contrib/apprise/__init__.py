"""Apprise: alerts in chats and on pagers, over a hundred services."""
