"""What every process needs: its home, logs, health page, signals, copies of itself."""
