"""What our custom resources may look like: JSON Schemas by kind, for the fields that we use and no others.

Written after the operators' own definitions (KEDA 2.18, RabbitMQ Cluster Operator 2, CloudNativePG 1.27, Prometheus
Operator 0.86), which are a megabyte together. A field that is not here is a typing error, or has to be looked up first.
"""

from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string", "minLength": 1}
NUMBER: Schema = {"type": "integer", "minimum": 0}
BOOLEAN: Schema = {"type": "boolean"}
STRINGS: Schema = {"type": "object", "additionalProperties": STRING}
QUANTITY: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|[KMGT]i?)?$"}
QUANTITIES: Schema = {"type": "object", "additionalProperties": QUANTITY}
ANYTHING: Schema = {}


def some(*required: str, **fields: Schema) -> Schema:
    """Describe an object with these fields and no others."""
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def several(item: Schema) -> Schema:
    return {"type": "array", "items": item, "minItems": 1}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


SELECTOR = some(
    matchLabels=STRINGS,
    matchExpressions=several(some("key", "operator", key=STRING, operator=STRING, values=several(STRING))),
)
RESOURCES = some(requests=QUANTITIES, limits=QUANTITIES)
STORAGE = some("size", size=QUANTITY)

SPECS: dict[tuple[str, str], Schema] = {
    ("keda.sh/v1alpha1", "ScaledObject"): some(
        "scaleTargetRef",
        "triggers",
        scaleTargetRef=some("name", name=STRING),
        minReplicaCount=NUMBER,
        maxReplicaCount=NUMBER,
        pollingInterval=NUMBER,
        fallback=some(
            "failureThreshold",
            "replicas",
            failureThreshold=NUMBER,
            replicas=NUMBER,
            behavior=one_of("static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"),
        ),
        advanced=some(horizontalPodAutoscalerConfig=some(behavior=ANYTHING)),
        triggers=several(
            some(
                "type",
                "metadata",
                type=one_of("rabbitmq"),
                metadata=some(
                    "queueName",
                    "mode",
                    "value",
                    "protocol",
                    host=STRING,
                    queueName=STRING,
                    mode=one_of("QueueLength", "MessageRate"),
                    value=STRING,
                    protocol=one_of("amqp", "http", "auto"),
                ),
                authenticationRef=some("name", name=STRING),
            )
        ),
    ),
    ("keda.sh/v1alpha1", "TriggerAuthentication"): some(
        secretTargetRef=several(some("parameter", "name", "key", parameter=STRING, name=STRING, key=STRING))
    ),
    ("rabbitmq.com/v1beta1", "RabbitmqCluster"): some(
        image=STRING,
        replicas=NUMBER,
        persistence=some(storage=QUANTITY),
        resources=RESOURCES,
        rabbitmq=some(additionalConfig=STRING),
        affinity=some(podAntiAffinity=ANYTHING),
    ),
    ("postgresql.cnpg.io/v1", "Cluster"): some(
        "instances",
        "storage",
        imageName=STRING,
        instances=NUMBER,
        primaryUpdateStrategy=one_of("unsupervised", "supervised"),
        bootstrap=some(
            initdb=some(
                "database",
                "owner",
                database=STRING,
                owner=STRING,
                encoding=STRING,
                localeProvider=one_of("builtin", "icu", "libc"),
                builtinLocale=STRING,
                dataChecksums=BOOLEAN,
            )
        ),
        postgresql=some(
            parameters=STRINGS,
            synchronous=some(
                "method",
                "number",
                method=one_of("any", "first"),
                number=NUMBER,
                dataDurability=one_of("required", "preferred"),
            ),
        ),
        storage=STORAGE,
        walStorage=STORAGE,
        resources=RESOURCES,
        affinity=some(
            enablePodAntiAffinity=BOOLEAN, podAntiAffinityType=one_of("required", "preferred"), topologyKey=STRING
        ),
    ),
    ("monitoring.coreos.com/v1", "PodMonitor"): some(
        "selector",
        "podMetricsEndpoints",
        selector=SELECTOR,
        jobLabel=STRING,
        podMetricsEndpoints=several(
            some(
                "port",
                port=STRING,
                interval=STRING,
                relabelings=several(some(sourceLabels=several(STRING), targetLabel=STRING)),
            )
        ),
    ),
}
