"""The curator: proposes a bounded change of one skill, or a new skill, from what refinements achieved.

It only proposes. What is tried and accepted is decided by the client that asks; the curator has the right to ask no
other role, and reads no file.
"""

from actors.curator.role import Curator as Curator
