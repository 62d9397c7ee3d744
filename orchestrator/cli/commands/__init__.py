"""The verbs of `zq`, a file or two a noun; `app.verbs` finds them."""
