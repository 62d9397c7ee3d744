"""One attempt in a pool child: claim, inputs, handler under its deadline, outcome, logs."""
