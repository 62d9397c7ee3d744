"""CEL: parsed, compiled, priced and evaluated."""
