"""What a program uses ZQAutoNXG with: builders of definitions, a connection, typed answers.

Nothing is imported here: `from orchestrator import connect` must stay light.
"""
