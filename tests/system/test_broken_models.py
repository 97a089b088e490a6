"""Model folders that are damaged, or not what they should be: one line that names the file, what is wrong with it, and what to do."""
import json
import os
import shutil

import pytest

NAMES = "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"


def cut(name, size):
    return lambda folder: os.truncate(folder / name, size if size >= 0 else (folder / name).stat().st_size // -size)


def without(name):
    return lambda folder: (folder / name).unlink()


def config(**keys):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | keys))
    return change


def folder_instead(name):
    def change(folder):
        (folder / name).unlink()
        (folder / name).mkdir()
    return change


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def lost_shard(folder):
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


FILES = {
    "weights cut to half": (cut("model.safetensors", -2), ["DIR/model.safetensors", "cut short, fetch it again"]),
    "weights cut in the header": (cut("model.safetensors", 300), ["DIR/model.safetensors", "the file has 300", "fetch it again"]),
    "weights of 4 bytes": (cut("model.safetensors", 4), ["DIR/model.safetensors", "4 bytes", "fetch it again"]),
    "no weights": (without("model.safetensors"), ["no weights: DIR", "model.safetensors", "fetch them"]),
    "a folder for weights": (folder_instead("model.safetensors"), ["DIR/model.safetensors", "not a regular file"]),
    "pickled weights": (pickled, ["DIR/pytorch_model.bin", "convert them to model.safetensors"]),
    "a shard is lost": (lost_shard, ["cannot open: DIR/model-00001-of-00002.safetensors"]),
    "other sizes than the weights": (config(intermediate_size=480), ["mlp", "512", "480"]),
    "no tokenizer.json": (without("tokenizer.json"), ["no tokeniser: DIR", "tokenizer.json", "token ids"]),
    "tokenizer.json cut": (cut("tokenizer.json", -2), ["not valid JSON: DIR/tokenizer.json, line ", "it is cut short"]),
    "tokenizer.json empty": (cut("tokenizer.json", 0), ["not valid JSON: DIR/tokenizer.json: it is empty"]),
}
CONFIG = {
    "no config.json": (without("config.json"), ["no config.json: DIR", "give a Hugging Face model folder"]),
    "config.json cut": (cut("config.json", 100), ["not valid JSON: DIR/config.json, line 6 column 22", "it is cut short"]),
    "config.json empty": (cut("config.json", 0), ["not valid JSON: DIR/config.json: it is empty"]),
    "a folder for config.json": (folder_instead("config.json"), ["DIR/config.json: not a regular file"]),
    "a text for a number": (config(hidden_size="256"), ["DIR/config.json", '"hidden_size"', "expected an integer, found string"]),
    "a fraction": (config(vocab_size=3.5), ["DIR/config.json", '"vocab_size"', "expected an integer, found number"]),
    "a number for a switch": (config(tie_word_embeddings="yes"), ['"tie_word_embeddings"', "expected true or false, found string"]),
    "a number for an object": (config(rope_scaling=7), ['"rope_scaling"', "expected an object, found integer"]),
    "a text for a token": (config(eos_token_id="x"), ['"eos_token_id"', "expected a token id, found string"]),
    "layers below nothing": (config(num_hidden_layers=-1), ['"num_hidden_layers": -1', "expected 1 to"]),
    "too wide": (config(intermediate_size=10**18), ['"intermediate_size"', "expected 1 to"]),
    "an unknown architecture": (config(architectures=["MambaForCausalLM"], model_type="mamba"),
                                ['DIR/config.json: model_type "mamba"', "served are llama, "]),
}


@pytest.fixture
def folder(demo, tmp_path):
    path = tmp_path / "m"
    path.mkdir()
    for file in NAMES:
        shutil.copy(demo / file, path)
    return path


def check(said, folder, words):
    assert said.startswith("verbatim: error: ") and said.count("\n") == 1
    for word in words:
        assert word.replace("DIR", str(folder)) in said, said


@pytest.mark.parametrize("name", FILES | CONFIG)
def test_run(verbatim, folder, name):
    damage, words = (FILES | CONFIG)[name]
    damage(folder)
    for more in ([], ["--json"]):
        result = verbatim("run", folder, "Once", *more)
        assert result.returncode == 1 and result.stdout == ""
        check(result.stderr, folder, words)


@pytest.mark.parametrize("name", FILES | CONFIG)
def test_batch(verbatim, folder, name):
    """What prompts need is said line by line: token ids could still be served."""
    damage, words = (FILES | CONFIG)[name]
    damage(folder)
    result = verbatim("batch", folder, "--input", "-", stdin='{"prompt": "Once"}\n')
    assert result.returncode == 1
    said = result.stderr or "verbatim: error: " + json.loads(result.stdout)["error"] + "\n"
    check(said, folder, words)


@pytest.mark.parametrize("command", ["explain", "inspect"])
@pytest.mark.parametrize("name", CONFIG)
def test_explain_and_inspect(verbatim, folder, command, name):
    damage, words = CONFIG[name]
    damage(folder)
    result = verbatim(command, folder)
    if command == "inspect" and result.returncode == 0: # shows whatever JSON is there
        assert json.loads(verbatim(command, folder, "--json").stdout)["config"]
        return
    assert result.returncode == 1 and result.stdout == ""
    check(result.stderr, folder, words)
