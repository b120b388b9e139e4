"""The embedded platform: a program of its own, started with ``python -m platform_lib.embedded``.

Nobody imports this package from outside; ``providers/embedded.py`` starts it and talks to it through the
same protocols as to any cluster. See docs/embedded-scope.md for what is served, differs or is absent.

Which file answers your question? The first line of each says it; by room:

    program     __main__ guardian processes record loop launch identity sweep   start, restart, adopt, end
                config pki tokens                                               settings, keys, credentials
    API wire    server handlers routes negotiation answers documents            one request, from URL to bytes
                discovery openapi table columns podcolumns protobuf duration    documents and shapes of answers
                listing watching streams                                        lists and watches
    API rules   api options admission preparing metadata deletion refusals      what may be done with an object
                subresources reviews auth podsecurity bootstrap registry        access, special calls, first objects
                store                                                           the truth, on SQLite
    kinds       kinds schema schematypes schemacache argocd_schema decoding     which kinds, and their shapes
                defaults poddefaults validate kindrules podvalidate             what is filled in, what is refused
                fielderrors quantity
    patches     patching patch strategic apply fieldsets copying selectors      pure functions on objects
    control     controllers/                                                    one pure reconcile per file
    nodes       node kubelet/ kubelets podlog usage                             agents, and how the API reaches them
    GitOps      gitops argocd/                                                  the Application controller
    edge        ingress scrape targets kubestate syncs promconfig               the real Traefik and Prometheus
    client      client                                                          how the other processes reach the API
"""
