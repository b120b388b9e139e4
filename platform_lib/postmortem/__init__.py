"""What happened, when did it start, what did it cost, what changed before? A post-mortem from evidence alone.

Facts are filled in, judgement is left to people. ``build`` works on a running platform or on an archive of one.
"""

from platform_lib.postmortem.build import PostMortem, build, window
from platform_lib.postmortem.document import check, html, markdown, write
from platform_lib.postmortem.expected import Expected

__all__ = ["Expected", "PostMortem", "build", "check", "html", "markdown", "window", "write"]
