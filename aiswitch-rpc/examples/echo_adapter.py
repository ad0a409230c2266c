#!/usr/bin/env python3
"""The smallest agent adapter in Python: it answers every task with the task's own prompt."""
import json
import os
import sys

VERSION = 1

# Take stdout over: whatever else prints (a library, a child process) goes to stderr from here on.
out = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
os.dup2(2, 1)


def send(message):
    out.write(json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False) + "\n")
    out.flush()


def initialize(params):
    return {
        "protocol_version": min(VERSION, params["protocol_version"]),
        "agent": {"name": "echo.py", "version": "1"},
        "capabilities": {"streaming": True},
    }


def assign(task):
    send({"method": "task.output", "params": {"task_id": task["id"], "text": task["prompt"]}})
    return {"status": "completed", "answer": task["prompt"]}


METHODS = {"agent.initialize": initialize, "task.assign": assign, "agent.shutdown": lambda _: None}


def answer(message):
    handler = METHODS.get(message.get("method"))
    if "id" not in message or "method" not in message:
        return  # a notification or a response: never answered
    if handler is None:
        send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
        return
    try:
        send({"id": message["id"], "result": handler(message.get("params"))})
    except (KeyError, TypeError) as error:
        send({"id": message["id"], "error": {"code": -32602, "message": f"Invalid params: {error!r}"}})


for line in sys.stdin.buffer:
    try:
        parsed = json.loads(line)
    except ValueError:
        send({"id": None, "error": {"code": -32700, "message": "Parse error"}})
        continue
    if isinstance(parsed, dict):
        answer(parsed)
    else:
        send({"id": None, "error": {"code": -32600, "message": "Invalid Request"}})
