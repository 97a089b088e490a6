"""jinja2 set up as transformers sets it up for chat templates: the oracle of the template tests.

Also the other end of tests/tools/template_driver.c. What both say is compared as (kind, text): "ok" with the
rendered text, or "error".
"""
import datetime
import functools
import json
import subprocess

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from waiting import LIMIT_S


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    @staticmethod
    def _body(caller):
        return caller()


@functools.lru_cache
def environment(now):
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, jinja2.ext.loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(format):
        return datetime.datetime.fromtimestamp(now, datetime.timezone.utc).replace(tzinfo=None).strftime(format)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


@functools.lru_cache(maxsize=64)
def compiled(source, now):
    return environment(now).from_string(source)


def expected(source, variables, now=0):
    try:
        text = compiled(source, now).render(**variables)
        text.encode()
        return "ok", text
    except Exception as e:  # whatever Python raises is a failed rendering
        return "error", f"{type(e).__name__}: {e}"


class Driver:
    def __init__(self, build):
        self.process = subprocess.Popen([str(build / "tests/template_driver")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def ask(self, source, variables, now=0):
        """The driver's answer: {"text", "spans"} or {"status", "error"}."""
        line = json.dumps({"source": source, "variables": variables, "now": now}) + "\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the driver died, status {self.process.wait()}: {line}"
        return json.loads(answer)

    def render(self, source, variables, now=0):
        answer = self.ask(source, variables, now)
        return ("ok", answer["text"]) if "text" in answer else ("error", answer["error"])

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=LIMIT_S) == 0
