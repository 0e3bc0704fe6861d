"""The leaderboard, and entries to it: `memdet report --leaderboard`, `memdet submit`."""
