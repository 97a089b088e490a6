"""The demo model's chat format, in one place: special tokens, the Jinja template, and a renderer.

A conversation is  BOS  { START role MESSAGE content END }  and the model writes END after its
answer. check.py asserts that render() and the Jinja template agree.
"""

BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"
START, MESSAGE, END = "<|start|>", "<|message|>", "<|end|>"
PAD = "<|pad|>"
SPECIALS = [BOS, EOS, START, MESSAGE, END, PAD, "<|reserved_0|>", "<|reserved_1|>"]

TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|start|>' + message['role'] + '<|message|>' + message['content'] | trim + '<|end|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start|>assistant<|message|>' }}"
    "{%- endif %}"
)


def render(messages, add_generation_prompt=False):
    parts = [BOS]
    for m in messages:
        parts += [START, m["role"], MESSAGE, m["content"].strip(), END]
    if add_generation_prompt:
        parts += [START, "assistant", MESSAGE]
    return "".join(parts)


def document_text(doc):
    """A document of make_text.py as the text the model is trained on."""
    if "text" in doc:
        return BOS + doc["text"] + EOS
    return render(doc["messages"]) + EOS
