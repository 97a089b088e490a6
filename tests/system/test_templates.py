"""Chat templates against jinja2 3.1.6 set up as transformers does: byte for byte, or both refuse.

tests/templates holds templates in the manner of the known families; `conversations` below are rendered through each
of them. Random expressions and templates (expressions.py) follow, for their number of seconds or seeds.
"""
import random

import pytest

import expressions
from jinja_oracle import Driver, expected

NOW = 1750000000
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "weather of a place", "parameters": {
        "type": "object", "required": ["city"], "properties": {
            "city": {"type": "string", "description": "The city's name, e.g. \"Zürich\""},
            "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            "days": {"type": "array", "items": {"type": "integer"}},
            "where": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": ["number", "null"]}},
                      "required": ["lat"]},
            "any": {"oneOf": [{"type": "string", "default": "x"}, {"type": "boolean", "description": "yes or no"}]},
            "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string", "nullable": True}}}}}}}}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "", "parameters": {"type": "object", "properties": {}}}}


def say(role, content, **more):
    return {"role": role, "content": content, **more}


CALL = say("assistant", "", tool_calls=[{"id": "abcdefghi", "type": "function", "function": {
    "name": "get_weather", "arguments": {"city": "Zürich <&> \"x\"", "days": [1, 2.5, None, True], "unit": "C"}}}])
CALLS = say("assistant", "Let me see.", tool_calls=CALL["tool_calls"] + [{"id": "123456789", "type": "function", "function": {
    "name": "clock", "arguments": {}}}])

conversations = {
    "one": [say("user", "Hello")],
    "system": [say("system", "Be brief. "), say("user", " Hi!\n")],
    "turns": [say("user", "a"), say("assistant", "b"), say("user", "c")],
    "answered": [say("system", "S"), say("user", "a"), say("assistant", " b\n")],
    "unicode": [say("user", "日本語 😀 é\u0301 \u2028 \xa0 <|im_start|>system\n"), say("assistant", "naïve"), say("user", "'\"\\\t")],
    "empty": [say("user", ""), say("assistant", ""), say("user", "")],
    "thinking": [say("user", "2+2?"), say("assistant", "<think>\nit is 4\n</think>\n\n4"), say("user", "sure?"),
                 say("assistant", "yes", reasoning_content="\nhm\n")],
    "call": [say("user", "Weather?"), CALL, say("tool", "{\"t\": 21}", tool_call_id="abcdefghi"), say("assistant", "21 degrees")],
    "calls": [say("user", "Weather?"), CALLS, say("tool", "rain"), say("tool", "12:00"), say("user", "Thanks")],
    "parts": [say("user", [{"type": "text", "text": " What is this? "}, {"type": "image"}])],
    "wrong order": [say("assistant", "I begin"), say("user", "No")],
    "unknown role": [say("narrator", "Once"), say("user", "x")],
    "null content": [say("user", "x"), say("assistant", None), say("user", "y")],
    "many": [say("user" if i % 2 == 0 else "assistant", f"message {i}\n" * (i % 4)) for i in range(41)],
}

flags = [
    {},
    {"add_generation_prompt": True},
    {"add_generation_prompt": True, "tools": [WEATHER, CLOCK]},
    {"add_generation_prompt": False, "tools": None, "documents": None},
    {"add_generation_prompt": True, "enable_thinking": False, "reasoning_effort": "high"},
    {"tools": [CLOCK], "today": "1 May 2031"},
]


@pytest.fixture(scope="module")
def driver(build):
    d = Driver(build)
    yield d
    d.close()


def sources(root):
    return {p.stem: p.read_text(encoding="utf-8") for p in sorted((root / "tests/templates").glob("*.jinja"))}


def test_families(driver, root):
    compared = rendered = 0
    for family, source in sources(root).items():
        fine = 0
        for name, messages in conversations.items():
            for flag in flags:
                v = {"messages": messages, "bos_token": "<s>", "eos_token": "</s>", **flag}
                want, got = expected(source, v, NOW), driver.render(source, v, NOW)
                assert want[0] == got[0] and (want[0] == "error" or want[1] == got[1]), (family, name, flag, want, got)
                compared += 1
                fine += want[0] == "ok"
        assert fine >= 20, f"{family} renders next to nothing: {fine}"
        rendered += fine
    assert compared >= 12 * 14 * 6 and rendered > compared // 2


def holds_data(text, spans, needle):
    at = text.find(needle.encode())
    return at >= 0 and any(b <= at and at + len(needle.encode()) <= e for b, e in spans)


def test_spans(driver, root):
    """The caller's words are marked in every family, and the template's control tokens are not."""
    needle = "<|im_start|>system [INST] <start_of_turn>"
    for family, source in sources(root).items():
        v = {"messages": [say("user", needle)], "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True}
        answer = driver.ask(source, v, NOW)
        text = answer["text"].encode()
        assert holds_data(text, answer["spans"], needle), (family, answer)
        outside, done = b"", 0
        for begin, end in answer["spans"]:
            outside += text[done:begin]
            done = end
        outside += text[done:]
        without = driver.ask(source, {**v, "messages": [say("user", "")]}, NOW)["text"].encode()
        assert outside == without, family


def is_known_difference(want, got):
    """Where jinja2 itself has no stable answer, or verbatim says no by design."""
    by_design = ("64 bits", "not supported", "cannot be sliced")  # integers; format specs; slices of constants are folded
    return (got[0] == "error" and any(w in got[1] for w in by_design)) or (want[0] == "ok" and " at 0x" in want[1].lower())


def compare_random(driver, seed, make):
    rng = random.Random(seed)
    v = expressions.variables(rng)
    source = make(rng, list(v))
    want, got = expected(source, v), driver.render(source, v)
    same = want[0] == got[0] and (want[0] == "error" or want[1] == got[1])
    assert same or is_known_difference(want, got), (seed, source, v, want, got)
    return want[0] == "ok"


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_random_expressions(driver):
    fine = sum(compare_random(driver, seed, lambda rng, names: "{{ " + expressions.expression(rng, names) + " }}")
               for seed in range(3000))
    assert fine > 1800


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_random_templates(driver):
    fine = sum(compare_random(driver, seed, expressions.template) for seed in range(100000, 101000))
    assert fine > 500
