"""What a workflow may say: nodes, edges, settings, checked and compiled into a plan."""
