"""What the memory actor keeps on disk: the log, the index derived from it, archives, and their maintenance.

Nothing here knows the mesh: no client, no actor, no router. `gems_actors.app.memory` opens the same folders offline.
"""
