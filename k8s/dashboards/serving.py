"""What serves: calls, engines, messages. Every metric comes out of the table."""

from __future__ import annotations

from k8s.dashboards.panel import Dashboard, Panel, Query, now, quantile, quantiles, rate, share

SERVER = "rpc.server.call.duration"
CLIENT = "rpc.client.call.duration"
HTTP = "http.server.request.duration"
# Status codes that tell of the server, not of the caller's request.
OUR_FAULT = 'rpc_response_status_code=~"UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"'
CHOSEN = 'service_name=~"$service"'


SERVICES = Dashboard(
    "anamnesis-services",
    "Anamnesis: services",
    [
        (
            "Served",
            [
                Panel("Calls a second", [Query(rate(SERVER, "service_name", CHOSEN), "{{service_name}}")], "reqps"),
                Panel(
                    "Errors of ours, share of calls",
                    [Query(share(SERVER, OUR_FAULT, CHOSEN, "service_name"), "{{service_name}}")],
                    "percentunit",
                ),
                Panel("Duration", quantiles(SERVER, "service_name", CHOSEN), "s", exemplars=True),
                Panel(
                    "Calls by method", [Query(rate(SERVER, "rpc_method", CHOSEN), "{{rpc_method}}")], "reqps", width=12
                ),
                Panel(
                    "Calls that did not end with OK, by method and code",
                    [
                        Query(
                            rate(
                                SERVER,
                                "rpc_method, rpc_response_status_code",
                                f'{CHOSEN}, rpc_response_status_code!="OK"',
                            ),
                            "{{rpc_method}} {{rpc_response_status_code}}",
                        )
                    ],
                    "reqps",
                    width=12,
                ),
                Panel(
                    "Calls in flight",
                    [Query(now("rpc.server.active_calls", "service_name", CHOSEN), "{{service_name}}")],
                ),
                Panel(
                    "95 % of calls are faster than, by method",
                    [Query(quantile(0.95, SERVER, "rpc_method", CHOSEN), "{{rpc_method}}")],
                    "s",
                    width=16,
                    exemplars=True,
                ),
            ],
        ),
        (
            "Called",
            [
                Panel(
                    "Calls to others that failed",
                    [
                        Query(
                            rate(CLIENT, "service_name, rpc_method, error_type", f'{CHOSEN}, error_type!=""'),
                            "{{service_name}}: {{rpc_method}} {{error_type}}",
                        )
                    ],
                    "reqps",
                    width=12,
                ),
                Panel(
                    "Duration of calls to others",
                    quantiles(CLIENT, "rpc_method", CHOSEN),
                    "s",
                    width=12,
                    exemplars=True,
                ),
            ],
        ),
        (
            "REST, at the gateway",
            [
                Panel(
                    "Requests by status",
                    [
                        Query(
                            rate(HTTP, "http_route, http_response_status_code"),
                            "{{http_route}} {{http_response_status_code}}",
                        )
                    ],
                    "reqps",
                ),
                Panel(
                    "Share answered 5xx", [Query(share(HTTP, 'http_response_status_code=~"5.."'), "5xx")], "percentunit"
                ),
                Panel("Duration", quantiles(HTTP, "http_route"), "s", exemplars=True),
            ],
        ),
        (
            "Certificates",
            [
                Panel(
                    "Until a certificate expires",
                    [
                        Query(
                            now("anamnesis.tls.certificate.remaining", "service_name, certificate", how="min"),
                            "{{service_name}} {{certificate}}",
                        )
                    ],
                    "s",
                    "Nothing where the services talk without mutual TLS.",
                    width=24,
                )
            ],
        ),
    ],
    [("service", "service_name", SERVER)],
)

ENGINE = 'service_name=~"$service"'
INFERENCE = Dashboard(
    "anamnesis-inference",
    "Anamnesis: inference",
    [
        (
            "Users",
            [
                Panel(
                    "First token of a consultation",
                    quantiles(
                        "gen_ai.server.time_to_first_token",
                        "service_name",
                        f'{ENGINE}, anamnesis_priority="consultation"',
                    ),
                    "s",
                    exemplars=True,
                ),
                Panel(
                    "Each further token",
                    quantiles("gen_ai.server.time_per_output_token", "service_name", ENGINE),
                    "s",
                    exemplars=True,
                ),
                Panel(
                    "Whole requests",
                    quantiles("gen_ai.server.request.duration", "anamnesis_priority", ENGINE),
                    "s",
                    exemplars=True,
                ),
            ],
        ),
        (
            "Work",
            [
                Panel(
                    "Tokens a second",
                    [Query(rate("inference.tokens", "service_name, kind", ENGINE), "{{service_name}} {{kind}}")],
                ),
                Panel(
                    "Requests by outcome",
                    [
                        Query(
                            rate("inference.requests", "service_name, outcome", ENGINE), "{{service_name}} {{outcome}}"
                        )
                    ],
                    "reqps",
                ),
                Panel(
                    "Requests by priority",
                    [
                        Query(
                            rate("inference.requests", "service_name, priority", ENGINE),
                            "{{service_name}} {{priority}}",
                        )
                    ],
                    "reqps",
                ),
            ],
        ),
        (
            "Engine",
            [
                Panel(
                    "In the batch, and waiting",
                    [
                        Query(now("inference.engine.running", "service_name", ENGINE), "{{service_name}} running"),
                        Query(now("inference.engine.waiting", "service_name", ENGINE), "{{service_name}} waiting"),
                    ],
                ),
                Panel(
                    "KV cache in use",
                    [Query(now("inference.engine.kv_cache_usage", "service_name", ENGINE, "max"), "{{service_name}}")],
                    "percentunit",
                    greatest=1,
                ),
                Panel(
                    "Prompt tokens found in the prefix cache",
                    [
                        Query(
                            f"{rate('inference.prefix_cache.hits', 'service_name', ENGINE)}"
                            f" / ({rate('inference.prefix_cache.queries', 'service_name', ENGINE)} > 0)",
                            "{{service_name}}",
                        )
                    ],
                    "percentunit",
                    greatest=1,
                ),
                Panel(
                    "Drafted tokens that were accepted",
                    [
                        Query(
                            f"{rate('inference.speculation.accepted', 'service_name', ENGINE)}"
                            f" / ({rate('inference.speculation.drafted', 'service_name', ENGINE)} > 0)",
                            "{{service_name}}",
                        )
                    ],
                    "percentunit",
                    "Nothing where no engine speculates.",
                    greatest=1,
                ),
                Panel(
                    "Speculation: accepted tokens a round, and what pays",
                    [
                        Query(
                            f"{rate('inference.speculation.accepted', 'service_name', ENGINE)}"
                            f" / ({rate('inference.speculation.rounds', 'service_name', ENGINE)} > 0)",
                            "{{service_name}} accepted",
                        ),
                        Query(
                            now("inference.speculation.break_even", "service_name", ENGINE, "max"),
                            "{{service_name}} break-even",
                        ),
                        Query(now("inference.speculation.active", "service_name", ENGINE), "{{service_name}} engines"),
                    ],
                    "short",
                    "Engines: how many still speculate. One turns it off below its break-even, and tries again later.",
                ),
                Panel("Update of the weights", quantiles("inference.weights.update.duration"), "s"),
                Panel("Update until the first new token", quantiles("inference.weights.update.first_token"), "s"),
            ],
        ),
    ],
    [("service", "service_name", "inference.requests")],
)

KAFKA = Dashboard(
    "anamnesis-kafka",
    "Anamnesis: Kafka",
    [
        (
            "Messages",
            [
                Panel(
                    "Sent",
                    [
                        Query(
                            rate("messaging.client.sent.messages", "service_name, messaging_destination_name"),
                            "{{service_name}} {{messaging_destination_name}}",
                        )
                    ],
                ),
                Panel(
                    "Read",
                    [
                        Query(
                            rate("messaging.client.consumed.messages", "service_name, messaging_destination_name"),
                            "{{service_name}} {{messaging_destination_name}}",
                        )
                    ],
                ),
                Panel(
                    "Refused by the broker",
                    [
                        Query(
                            rate(
                                "messaging.client.sent.messages",
                                "messaging_destination_name, error_type",
                                'error_type!=""',
                            ),
                            "{{messaging_destination_name}} {{error_type}}",
                        )
                    ],
                ),
                Panel(
                    "Until acknowledged",
                    quantiles("messaging.client.operation.duration", "messaging_destination_name"),
                    "s",
                    exemplars=True,
                ),
                Panel(
                    "Work on a message",
                    quantiles("messaging.process.duration", "messaging_destination_name"),
                    "s",
                    exemplars=True,
                ),
                Panel(
                    "Messages that wait on the broker",
                    [Query(now("anamnesis.kafka.consumer.lag", "topic, group"), "{{topic}} {{group}}")],
                ),
                Panel(
                    "Dead letters",
                    [Query(rate("anamnesis.kafka.dead_letters", "topic, reason"), "{{topic}} {{reason}}")],
                    width=24,
                ),
            ],
        ),
    ],
)
