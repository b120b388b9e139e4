"""How do Applications follow git? The GitOps controller, split by question; ``embedded.gitops`` runs it.

``repository`` reads git, ``render`` turns files into objects, ``compare`` finds differences, ``tasks`` and
``engine`` decide what a sync does next, ``executor`` does it, ``operation`` keeps the record of one sync,
``automation`` decides when to start one, ``project`` and ``windows`` say what is allowed, ``deletion`` ends an
Application, ``cluster`` is the view of the API, ``worker`` joins them for one Application.
"""
