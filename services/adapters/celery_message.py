"""A Celery message as Kombu's Redis transport puts it in a list, ready to be pushed.

Kombu talks to Redis from a thread and in a round trip of its own; the gateway puts a message into
its queue from the event loop, together with what belongs to it. What a message says is made by
Celery all the same; ``tests/contract/test_celery_message.py`` holds the rest to what Kombu writes.
"""

import base64
import json
from typing import Any, Final
from uuid import uuid4

from celery import Celery
from kombu.serialization import dumps

NO_REPR: Final = "..."
"""Celery would else describe the payload in a header that nobody reads."""
_PERSISTENT: Final = 2
_PRIORITY: Final = 0


def celery_message(app: Celery, task: str, payload: Any, message_id: str, queue: str) -> bytes:
    """What to LPUSH onto the list ``queue`` so that its workers run ``task(payload)``."""
    content = app.amqp.create_task_message(
        message_id,
        task,
        args=[payload],
        argsrepr=NO_REPR,
        kwargsrepr=NO_REPR,
        ignore_result=True,
    )
    content_type, encoding, body = dumps(  # type: ignore[no-untyped-call]
        content.body, app.conf.task_serializer
    )
    properties = {
        **content.properties,
        "reply_to": app.thread_oid,
        "delivery_mode": _PERSISTENT,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "priority": _PRIORITY,
        "body_encoding": "base64",
        "delivery_tag": str(uuid4()),
    }
    message = {  # in Kombu's order: who withdraws a message looks behind its body for the id
        "body": str(base64.b64encode(body), "ascii"),
        "content-encoding": encoding,
        "content-type": content_type,
        "headers": content.headers,
        "properties": properties,
    }
    return json.dumps(message).encode()
