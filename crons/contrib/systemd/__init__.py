"""systemd: timers and services of this deployment."""
