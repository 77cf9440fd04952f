"""The cloud half: engine, HTTP face, server. Loads nothing at import."""
