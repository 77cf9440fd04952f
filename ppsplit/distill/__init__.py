"""A network learns to do what another one does, on photos that nobody has labelled."""
