"""What verbs share: options, inputs, tables, live displays."""
