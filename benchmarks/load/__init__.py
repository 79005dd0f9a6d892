"""Load on the service, the bare runtime and MLServer in one run: ``python -m benchmarks.load``.

Read ``__main__`` (what is compared), then ``comparison`` (rounds, pairs and ratios), ``window``
(how a load is applied and measured) and the systems: ``bare``, ``service``, ``mlserver``.
"""
