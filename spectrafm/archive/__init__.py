"""How files come here, from a server or a disk: nothing of any survey is in it."""
