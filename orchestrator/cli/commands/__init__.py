"""The verbs of `zq`, a file or two a noun. `app.VERBS` names them."""
