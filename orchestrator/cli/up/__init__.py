"""`zq up`: the processes of one machine, started, watched over and stopped together."""
