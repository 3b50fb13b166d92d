"""`python -m service_kit.healthcheck PORT SERVICE` ends with 0 where that gRPC health says SERVING, else with 1.

For the HEALTHCHECK of a container that runs without an orchestrator.
"""

from __future__ import annotations

import sys

from service_kit.local_stack.readiness import is_ready


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or not arguments[0].isdigit():
        print("usage: python -m service_kit.healthcheck PORT SERVICE", file=sys.stderr)
        return 2
    port, service = arguments
    return 0 if is_ready(int(port), service) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
