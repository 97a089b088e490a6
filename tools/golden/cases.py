"""The table of golden cases: one config.json each, and what it is there to exercise.

A config is written as published checkpoints have it (transformers 4 style: `rope_theta`,
`rope_scaling`, `torch_dtype`) unless its case says v5 (`rope_parameters`, `dtype`). All sizes are
tiny: what is tested is structure, and a small model shows a wrong structure as well as a large one.

`without` names features and, for each, the overrides that switch it off. make_golden.py computes
the logits of that wrong model too, and refuses a case whose logits do not move far enough: a
golden file that a missing feature would still match proves nothing.
"""

from dataclasses import dataclass, field

DROP = object()  # an override that removes the key
V4 = "4.46.3"
V5 = "5.17.0"


@dataclass
class Case:
    family: str
    variant: str
    config: dict  # config.json as written
    what: str
    prompt_len: int
    without: dict = field(default_factory=dict)
    hf: dict | None = None  # where transformers lacks the family: the config of the equal model
    drop_bias: tuple = ()  # with hf: biases zeroed in the equal model, absent from the checkpoint
    prefill_only: bool = False
    shards: int = 1
    inv_freq_tensors: bool = False  # old checkpoints store rotary_emb.inv_freq: to be ignored
    stored_tied_head: bool = False  # tied, yet lm_head.weight is stored as well
    seed: int = 0  # of the weights
    final_gain: float = 1.0  # scale of the last norm's weight where the embedding is tied

    @property
    def name(self):
        return f"{self.family}-{self.variant}"


def dtype_keys(dtype, v5):
    return {"dtype": dtype} if v5 else {"torch_dtype": dtype}


def base(arch, model_type, dtype, v5=False, **keys):
    """Keys that every family has; `keys` override and extend them."""
    config = {
        "architectures": [arch],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 56,
        "max_position_embeddings": 2048,
        "model_type": model_type,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "transformers_version": V5 if v5 else V4,
        "use_cache": True,
        "vocab_size": 128,
    }
    config.update(dtype_keys(dtype, v5))
    config.update(keys)
    return {key: value for key, value in config.items() if value is not DROP}


def llama(dtype, v5=False, **keys):
    defaults = {"attention_bias": False, "attention_dropout": 0.0, "mlp_bias": False,
                "pretraining_tp": 1}
    if not v5:
        defaults |= {"rope_scaling": None, "rope_theta": 10000.0}
    return base("LlamaForCausalLM", "llama", dtype, v5, **(defaults | keys))


def mistral(dtype, v5=False, **keys):
    defaults = {"attention_dropout": 0.0, "sliding_window": None}
    if not v5:
        defaults |= {"rope_theta": 10000.0}
    return base("MistralForCausalLM", "mistral", dtype, v5, **(defaults | keys))


def qwen2(dtype, v5=False, **keys):
    defaults = {"attention_dropout": 0.0, "bos_token_id": 1, "max_window_layers": 2,
                "rms_norm_eps": 1e-6, "sliding_window": 32768, "use_sliding_window": False}
    if not v5:
        defaults |= {"rope_theta": 1000000.0}
    return base("Qwen2ForCausalLM", "qwen2", dtype, v5, **(defaults | keys))


def qwen3(dtype, v5=False, **keys):
    defaults = {"attention_bias": False, "attention_dropout": 0.0, "max_window_layers": 2,
                "rms_norm_eps": 1e-6, "sliding_window": None, "use_sliding_window": False}
    if not v5:
        defaults |= {"rope_scaling": None, "rope_theta": 1000000.0}
    return base("Qwen3ForCausalLM", "qwen3", dtype, v5, **(defaults | keys))


def phi3(dtype, v5=False, **keys):
    defaults = {"attention_bias": False, "attention_dropout": 0.0, "embd_pdrop": 0.0,
                "pad_token_id": 3, "resid_pdrop": 0.0, "sliding_window": None}
    if not v5:
        defaults |= {"rope_scaling": None, "rope_theta": 10000.0}
    return base("Phi3ForCausalLM", "phi3", dtype, v5, **(defaults | keys))


def gemma2(dtype, v5=False, **keys):
    defaults = {"attention_bias": False, "attention_dropout": 0.0, "attn_logit_softcapping": 50.0,
                "bos_token_id": 2, "eos_token_id": 1, "final_logit_softcapping": 30.0,
                "head_dim": 32, "hidden_act": "gelu_pytorch_tanh",
                "hidden_activation": "gelu_pytorch_tanh", "num_key_value_heads": 2,
                "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6,
                "sliding_window": 4096, "tie_word_embeddings": DROP}
    if not v5:
        defaults |= {"cache_implementation": "hybrid", "rope_theta": 10000.0}
    return base("Gemma2ForCausalLM", "gemma2", dtype, v5, **(defaults | keys))


def gemma3(dtype, v5=False, **keys):
    defaults = {"attention_bias": False, "attention_dropout": 0.0, "attn_logit_softcapping": None,
                "bos_token_id": 2, "eos_token_id": 1, "final_logit_softcapping": None,
                "head_dim": 32, "hidden_act": DROP, "hidden_activation": "gelu_pytorch_tanh",
                "num_key_value_heads": 1, "pad_token_id": 0, "query_pre_attn_scalar": 256,
                "rms_norm_eps": 1e-6, "sliding_window": 512, "tie_word_embeddings": DROP}
    if not v5:
        defaults |= {"cache_implementation": "hybrid", "rope_local_base_freq": 10000,
                     "rope_scaling": None, "rope_theta": 1000000}
    return base("Gemma3ForCausalLM", "gemma3_text", dtype, v5, **(defaults | keys))


def internlm(number, dtype, **keys):
    """config.json of InternLM2 or InternLM3, and the config of the Llama model that equals it."""
    arch = f"InternLM{number}ForCausalLM"
    stem = f"internlm{number}"
    defaults = {
        "auto_map": {"AutoConfig": f"configuration_{stem}.InternLM{number}Config",
                     "AutoModelForCausalLM": f"modeling_{stem}.{arch}"},
        "bias": False, "pad_token_id": 2, "rope_scaling": None, "rope_theta": 1000000,
    }
    if number == 2:
        defaults |= {"attn_implementation": "eager"}
    else:
        defaults |= {"attention_dropout": 0.0, "head_dim": 16, "qkv_bias": False}
    config = base(arch, stem, dtype, **(defaults | keys))
    # InternLM2: `bias` is that of wqkv and wo. InternLM3: `qkv_bias` that of q, k and v, `bias`
    # that of o and of the MLP. Llama has one flag for q, k, v, o; surplus biases are zero there.
    qkv = config["qkv_bias"] if number == 3 else config["bias"]
    equal = {key: value for key, value in config.items()
             if key not in ("architectures", "attn_implementation", "auto_map", "bias",
                            "model_type", "qkv_bias")}
    equal |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama",
              "attention_bias": qkv or config["bias"],
              "mlp_bias": config["bias"] and number == 3}
    drop = ()
    if number == 3 and config["qkv_bias"] != config["bias"]:
        drop = ("o_proj",) if qkv else ("q_proj", "k_proj", "v_proj")
    return {"config": config, "hf": equal, "drop_bias": drop}


def ramp(n, first, last):
    """n factors growing from first to last, as longrope tables do."""
    return [round(first + (last - first) * (i / (n - 1)) ** 2, 4) for i in range(n)]


NO_ROPE_SCALING = {"rope": {"rope_scaling": None}}
BF16, F16, F32 = "bfloat16", "float16", "float32"
LLAMA3 = {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
          "original_max_position_embeddings": 64, "rope_type": "llama3"}
SLIDING, FULL = "sliding_attention", "full_attention"

LLAMA = [
    Case("llama", "2-mha", llama(F16, num_attention_heads=4, max_position_embeddings=4096),
         "Llama 2: multi-head attention, untied, stored rotary_emb.inv_freq tensors to be ignored",
         17, inv_freq_tensors=True),
    Case("llama", "3-gqa3", llama(BF16, hidden_size=48, num_attention_heads=3,
                                  num_key_value_heads=1, rope_theta=500000.0,
                                  eos_token_id=[2, 3], vocab_size=200),
         "Llama 3: GQA 3, rope_theta 500000, a list of end tokens", 40,
         without={"theta": {"rope_theta": 10000.0}}),
    Case("llama", "3.1-rope", llama(BF16, head_dim=64, num_key_value_heads=1, hidden_size=48,
                                    rope_theta=500000.0, rope_scaling=LLAMA3,
                                    max_position_embeddings=512, tie_word_embeddings=True,
                                    eos_token_id=[2, 3]),
         "Llama 3.2: GQA 4, llama3 rope scaling (all three bands), tied, explicit head_dim", 65,
         without=NO_ROPE_SCALING, final_gain=0.5),
    Case("llama", "3.1-v5", llama(BF16, v5=True, head_dim=32, num_attention_heads=8, hidden_size=48,
                                  num_key_value_heads=2, max_position_embeddings=512,
                                  rope_parameters=LLAMA3 | {"rope_theta": 500000.0}),
         "llama3 rope in transformers 5 style (rope_parameters, dtype); two shards", 40, shards=2,
         without={"rope": {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}}),
    Case("llama", "linear", llama(F32, hidden_size=48, num_attention_heads=3,
                                  num_key_value_heads=3,
                                  rope_scaling={"type": "linear", "factor": 4.0}),
         "linear rope scaling by the old key `type`; stored in float32", 40,
         without=NO_ROPE_SCALING),
    Case("llama", "dynamic-short", llama(BF16, num_key_value_heads=2, max_position_embeddings=256,
                                         rope_scaling={"rope_type": "dynamic", "factor": 2.0}),
         "dynamic NTK within max_position_embeddings: as if there were no scaling", 40),
    Case("llama", "dynamic-long", llama(BF16, num_key_value_heads=2, max_position_embeddings=32,
                                        rope_scaling={"rope_type": "dynamic", "factor": 2.0}),
         "dynamic NTK, prompt longer than max_position_embeddings: base grown by the length", 65,
         prefill_only=True, without=NO_ROPE_SCALING),
    Case("llama", "yarn", llama(BF16, head_dim=64, num_attention_heads=2, num_key_value_heads=1,
                                max_position_embeddings=128,
                                rope_scaling={"rope_type": "yarn", "factor": 4.0,
                                              "original_max_position_embeddings": 32}),
         "yarn, attention factor derived from factor", 65, without=NO_ROPE_SCALING),
    Case("llama", "yarn-factor", llama(BF16, head_dim=32, num_attention_heads=2,
                                       max_position_embeddings=128, num_key_value_heads=1,
                                       rope_scaling={"rope_type": "yarn", "factor": 4.0,
                                                     "attention_factor": 1.3, "beta_fast": 8.0,
                                                     "beta_slow": 0.5, "truncate": False,
                                                     "original_max_position_embeddings": 32}),
         "yarn with attention_factor, beta_fast, beta_slow, truncate false", 40,
         without=NO_ROPE_SCALING | {
             "attention_factor": {"rope_scaling": {
                 "rope_type": "yarn", "factor": 4.0, "beta_fast": 8.0, "beta_slow": 0.5,
                 "truncate": False, "original_max_position_embeddings": 32}},
             "truncate": {"rope_scaling": {
                 "rope_type": "yarn", "factor": 4.0, "attention_factor": 1.3, "beta_fast": 8.0,
                 "beta_slow": 0.5, "original_max_position_embeddings": 32}},
             "betas": {"rope_scaling": {
                 "rope_type": "yarn", "factor": 4.0, "attention_factor": 1.3, "truncate": False,
                 "original_max_position_embeddings": 32}}}),
    Case("llama", "yarn-mscale", llama(F32, head_dim=32, num_attention_heads=2, hidden_size=32,
                                       max_position_embeddings=512, num_key_value_heads=1,
                                       rope_scaling={"rope_type": "yarn", "factor": 16.0,
                                                     "mscale": 1.0, "mscale_all_dim": 0.4,
                                                     "original_max_position_embeddings": 32}),
         "yarn with mscale and mscale_all_dim", 40,
         without=NO_ROPE_SCALING | {"mscale": {"rope_scaling": {
             "rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 32}}}),
    Case("llama", "bias", llama(F32, attention_bias=True, mlp_bias=True, head_dim=80,
                                num_attention_heads=2, num_key_value_heads=1, hidden_size=32,
                                intermediate_size=48, rms_norm_eps=0.1),
         "attention_bias and mlp_bias, head_dim 80, an eps large enough to matter", 17,
         without={"eps": {"rms_norm_eps": 1e-5}}),
    Case("llama", "gqa8-130", llama(BF16, num_attention_heads=8, num_key_value_heads=1, head_dim=16,
                                    hidden_size=48, num_hidden_layers=3, vocab_size=129),
         "GQA 8, prompt over several pages, odd vocabulary", 130),
    Case("llama", "one-token", llama(BF16, num_attention_heads=2, num_key_value_heads=2,
                                     head_dim=128, hidden_size=48),
         "prompt of one token, head_dim 128", 1),
]

MISTRAL = [
    Case("mistral", "window7", mistral(BF16, num_key_value_heads=1, head_dim=32, hidden_size=48,
                                       sliding_window=7, num_hidden_layers=3),
         "sliding window 7 under a prompt of 40, GQA 4", 40, seed=1,
         without={"window": {"sliding_window": None}, "window+1": {"sliding_window": 8},
                  "window-1": {"sliding_window": 6}}),
    Case("mistral", "null-window", mistral(BF16, head_dim=96, num_attention_heads=2, hidden_size=48,
                                           num_key_value_heads=1, rope_theta=1000000.0),
         "Mistral Nemo: sliding_window null, head_dim 96 != hidden / heads", 65,
         without={"theta": {"rope_theta": 10000.0}}),
    Case("mistral", "window32-130", mistral(BF16, num_key_value_heads=2, sliding_window=32),
         "window 32 under a prompt of 130 that crosses pages", 130,
         without={"window": {"sliding_window": None}, "window+1": {"sliding_window": 33}}),
    Case("mistral", "window1", mistral(F32, num_attention_heads=2, num_key_value_heads=1,
                                       hidden_size=32, sliding_window=1),
         "window 1: a query sees itself alone", 17,
         prefill_only=True,  # the sliding cache of transformers 5.17.0 keeps every key at window 1
         without={"window": {"sliding_window": None}, "window+1": {"sliding_window": 2}}),
    Case("mistral", "window40-decode", mistral(F16, num_key_value_heads=2, sliding_window=40),
         "window longer than the prompt: it starts to cut during decoding", 17,
         without={"window": {"sliding_window": None}, "window+1": {"sliding_window": 41}}),
    Case("mistral", "v5", mistral(BF16, v5=True, num_key_value_heads=2, sliding_window=9,
                                  rope_parameters={"rope_type": "default", "rope_theta": 5000.0}),
         "transformers 5 style, window 9, in two shards", 40, shards=2,
         without={"window": {"sliding_window": None},
                  "theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}}),
]

QWEN2 = [
    Case("qwen2", "tied", qwen2(BF16, hidden_size=48, num_attention_heads=3, num_key_value_heads=1,
                                sliding_window=5, tie_word_embeddings=True),
         "biases of q, k, v; tied; sliding_window present but use_sliding_window false", 40,
         without={"use_sliding_window": {"use_sliding_window": True, "max_window_layers": 0}},
         final_gain=0.5, stored_tied_head=True),
    Case("qwen2", "untied-gqa7", qwen2(F16, hidden_size=112, num_attention_heads=7,
                                       num_key_value_heads=1, rms_norm_eps=1e-6),
         "untied, GQA 7, stored in float16", 17),
    Case("qwen2", "max-window-layers", qwen2(BF16, num_key_value_heads=2, num_hidden_layers=3,
                                             use_sliding_window=True, sliding_window=9,
                                             max_window_layers=1),
         "use_sliding_window: layers from max_window_layers on have the window", 40,
         without={"window": {"use_sliding_window": False}, "window+1": {"sliding_window": 10},
                  "max_window_layers": {"max_window_layers": 0},
                  "max_window_layers+1": {"max_window_layers": 2}}),
    Case("qwen2", "layer-types-v5", qwen2(
        BF16, v5=True, num_key_value_heads=1, num_hidden_layers=3, use_sliding_window=True,
        sliding_window=5, max_window_layers=3, layer_types=[SLIDING, FULL, SLIDING],
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
         "transformers 5 style: explicit layer_types win over max_window_layers", 65,
         without={"layer_types": {"layer_types": DROP},
                  "order": {"layer_types": [FULL, SLIDING, SLIDING]}}),
    Case("qwen2", "yarn", qwen2(BF16, num_attention_heads=2, num_key_value_heads=1,
                                max_position_embeddings=128,
                                rope_theta=10000.0,
                                rope_scaling={"type": "yarn", "factor": 4.0,
                                              "original_max_position_embeddings": 32}),
         "yarn as the Qwen2.5 model cards give it", 40, without=NO_ROPE_SCALING),
]

FIRST = LLAMA + MISTRAL + QWEN2

QWEN3 = [
    Case("qwen3", "tied", qwen3(BF16, head_dim=128, num_attention_heads=4, num_key_value_heads=2,
                                hidden_size=32, tie_word_embeddings=True, sliding_window=None),
         "q and k norms, head_dim 128 != hidden / heads, tied", 17, final_gain=0.5),
    Case("qwen3", "untied", qwen3(F16, head_dim=64, num_key_value_heads=1, hidden_size=32,
                                  rms_norm_eps=1e-3),
         "untied, GQA 4, head_dim 64", 65),
    Case("qwen3", "sliding-v5", qwen3(
        BF16, v5=True, head_dim=32, num_key_value_heads=2, num_hidden_layers=3,
        use_sliding_window=True, sliding_window=7, layer_types=[SLIDING, SLIDING, FULL],
        hidden_size=48, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
         "transformers 5 style: mixed layer_types, window 7", 40,
         without={"window": {"layer_types": [FULL] * 3},
                  "order": {"layer_types": [FULL, SLIDING, SLIDING]},
                  "window+1": {"sliding_window": 8}}),
    Case("qwen3", "bias", qwen3(F16, attention_bias=True, head_dim=32, num_key_value_heads=4,
                                hidden_size=32),
         "attention_bias: q, k, v and o have biases; stored in float16", 17),
    Case("qwen3", "yarn-130", qwen3(BF16, head_dim=32, num_attention_heads=2, num_key_value_heads=2,
                                    hidden_size=48, max_position_embeddings=256, rope_theta=10000.0,
                                    rope_scaling={"rope_type": "yarn", "factor": 4.0,
                                                  "original_max_position_embeddings": 64}),
         "yarn under a prompt that crosses pages and the original length", 130,
         without=NO_ROPE_SCALING),
]


def longrope(kind, n):
    return {"type": kind, "short_factor": ramp(n, 1.0, 3.0), "long_factor": ramp(n, 1.5, 20.0)}


PHI3_SU = phi3(F16, max_position_embeddings=512, original_max_position_embeddings=128,
               rope_scaling=longrope("su", 8))

PHI3 = [
    Case("phi3", "4k", phi3(BF16, hidden_size=48, num_attention_heads=3, num_key_value_heads=3,
                            sliding_window=11, original_max_position_embeddings=4096,
                            intermediate_size=64),
         "Phi-3-mini-4k: packed qkv and gate_up, multi-head attention, window 11", 40,
         without={"window": {"sliding_window": None}, "window+1": {"sliding_window": 12}}),
    Case("phi3", "head96", phi3(BF16, hidden_size=96, num_attention_heads=1, num_key_value_heads=1),
         "one head of 96, no scaling", 17),
    Case("phi3", "longrope-short", phi3(
        BF16, hidden_size=48, num_attention_heads=3, num_key_value_heads=1,
        max_position_embeddings=512, original_max_position_embeddings=128,
        rope_scaling=longrope("longrope", 8)),
         "longrope within original_max_position_embeddings: short factors, GQA 3", 40,
         without=NO_ROPE_SCALING),
    Case("phi3", "longrope-long", phi3(
        BF16, hidden_size=96, num_attention_heads=3, num_key_value_heads=1,
        max_position_embeddings=512, original_max_position_embeddings=32, intermediate_size=40,
        rope_scaling=longrope("longrope", 16)),
         "longrope past original_max_position_embeddings: long factors", 65, prefill_only=True,
         without=NO_ROPE_SCALING | {"long": {"original_max_position_embeddings": 128}}),
    Case("phi3", "4-mini", phi3(
        BF16, hidden_size=128, num_attention_heads=2, num_key_value_heads=1,
        max_position_embeddings=512, original_max_position_embeddings=128, intermediate_size=32,
        partial_rotary_factor=0.75, rope_scaling=longrope("longrope", 24), tie_word_embeddings=True,
        sliding_window=262144),
         "Phi-4-mini: partial_rotary_factor 0.75, longrope, tied, a window longer than the context",
         17, final_gain=0.5, without=NO_ROPE_SCALING),
    Case("phi3", "su", PHI3_SU,
         "longrope under its old name su, which transformers 5 no longer loads; in float16", 17,
         hf=PHI3_SU | {"rope_scaling": longrope("longrope", 8)}, without=NO_ROPE_SCALING),
    Case("phi3", "partial-v5", phi3(
        F32, v5=True, num_attention_heads=2, num_key_value_heads=2, hidden_size=32,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0,
                         "partial_rotary_factor": 0.5}),
         "transformers 5 style: partial_rotary_factor 0.5 inside rope_parameters, no scaling", 40,
         without={"partial": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}}),
]

GEMMA2 = [
    Case("gemma2", "window7", gemma2(
        BF16, hidden_size=48, num_hidden_layers=4, intermediate_size=56, query_pre_attn_scalar=16,
        sliding_window=7, attn_logit_softcapping=3.0, final_logit_softcapping=10.0),
         "alternating windows of 7, both softcaps low enough to matter, query_pre_attn_scalar", 40,
         final_gain=4.0, seed=1,
         without={"window": {"sliding_window": 4096}, "window+1": {"sliding_window": 8},
                  "attention softcap": {"attn_logit_softcapping": None},
                  "final softcap": {"final_logit_softcapping": None},
                  "query_pre_attn_scalar": {"query_pre_attn_scalar": 32},
                  "order": {"layer_types": [FULL, SLIDING, FULL, SLIDING]}}),
    Case("gemma2", "2b-style", gemma2(
        BF16, hidden_size=32, num_attention_heads=2, num_key_value_heads=1, head_dim=256),
         "Gemma 2 2B: head_dim 256, softcaps 50 and 30", 17, final_gain=8.0,
         without={"final softcap": {"final_logit_softcapping": None}}),
    Case("gemma2", "27b-style-v5", gemma2(
        F16, v5=True, hidden_size=32, num_attention_heads=2, num_key_value_heads=1, head_dim=128,
        query_pre_attn_scalar=32, sliding_window=32,
        attn_logit_softcapping=None, final_logit_softcapping=None, layer_types=[SLIDING, FULL],
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}),
         "transformers 5 style, layer_types, no softcaps, query_pre_attn_scalar != head_dim", 65,
         final_gain=4.0,
         without={"window": {"sliding_window": 4096},
                  "query_pre_attn_scalar": {"query_pre_attn_scalar": 128}}),
]

GEMMA3 = [
    Case("gemma3", "5to1", gemma3(
        BF16, hidden_size=40, num_hidden_layers=7, intermediate_size=40, query_pre_attn_scalar=24,
        sliding_window=7, sliding_window_pattern=6,
        layer_types=[SLIDING] * 5 + [FULL, SLIDING],
        rope_scaling={"factor": 8.0, "rope_type": "linear"}),
         "Gemma 3: five windows of 7 to one full layer, local and global rope, linear factor 8", 40,
         final_gain=4.0,
         without={"window": {"sliding_window": 4096}, "window+1": {"sliding_window": 8},
                  "global scaling": {"rope_scaling": None},
                  "local theta": {"rope_local_base_freq": 1000000},
                  "query_pre_attn_scalar": {"query_pre_attn_scalar": 32}}),
    Case("gemma3", "pattern3", gemma3(
        BF16, hidden_size=40, num_hidden_layers=4, num_key_value_heads=2,
        query_pre_attn_scalar=32, sliding_window=9, sliding_window_pattern=3, rope_theta=100000.0,
        rope_scaling={"factor": 8.0, "rope_type": "linear"}),
         "old config: sliding_window_pattern 3 and no layer_types", 65, final_gain=4.0,
         without={"pattern": {"sliding_window_pattern": 2}, "theta": {"rope_theta": 10000},
                  "window": {"sliding_window": 4096}}),
    Case("gemma3", "v5", gemma3(
        F32, v5=True, hidden_size=32, num_hidden_layers=3, head_dim=64,
        num_attention_heads=2, query_pre_attn_scalar=64, sliding_window=5,
        layer_types=[SLIDING, FULL, SLIDING],
        rope_parameters={FULL: {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000000.0},
                         SLIDING: {"rope_type": "default", "rope_theta": 10000.0}}),
         "transformers 5 style: rope_parameters by layer type", 17, final_gain=4.0,
         without={"window": {"sliding_window": 4096},
                  "order": {"layer_types": [FULL, SLIDING, SLIDING]}}),
    Case("gemma3", "head256", gemma3(
        F16, hidden_size=32, num_hidden_layers=2, head_dim=256,
        num_attention_heads=2, sliding_window=512, sliding_window_pattern=2),
         "head_dim 256, stored in float16", 17, final_gain=4.0),
]

INTERNLM = [
    Case("internlm2", "plain", what="packed wqkv, GQA 4, no scaling, tensor names of InternLM2",
         prompt_len=40, **internlm(2, BF16, num_key_value_heads=1)),
    Case("internlm2", "dynamic-short", what="dynamic by the key `type`, within the limit",
         prompt_len=17, **internlm(2, F16, num_attention_heads=4, num_key_value_heads=2,
                                   max_position_embeddings=256,
                                   rope_scaling={"type": "dynamic", "factor": 2.0})),
    Case("internlm2", "dynamic-long", what="rope_scaling dynamic, prompt longer than the limit",
         prompt_len=65, prefill_only=True, without=NO_ROPE_SCALING,
         **internlm(2, BF16, num_attention_heads=4, num_key_value_heads=1,
                    max_position_embeddings=32, rope_theta=10000,
                    rope_scaling={"type": "dynamic", "factor": 3.0})),
    Case("internlm2", "bias", what="bias true: biases of wqkv and wo", prompt_len=17,
         **internlm(2, F32, bias=True, num_attention_heads=2, num_key_value_heads=1,
                    hidden_size=32)),
    Case("internlm3", "plain", what="explicit head_dim, GQA 8, dynamic rope within the limit",
         prompt_len=40, **internlm(3, BF16, num_attention_heads=8, num_key_value_heads=1,
                                   hidden_size=48, head_dim=32, max_position_embeddings=256,
                                   rope_scaling={"factor": 6.0, "rope_type": "dynamic"})),
    Case("internlm3", "qkv-bias", what="qkv_bias alone: biases of q, k and v", prompt_len=17,
         **internlm(3, F32, qkv_bias=True, head_dim=32, num_attention_heads=4,
                    num_key_value_heads=2, hidden_size=32)),
    Case("internlm3", "o-mlp-bias", what="bias alone: biases of o, gate, up and down",
         prompt_len=17, **internlm(3, BF16, bias=True, head_dim=32, num_attention_heads=4,
                                   num_key_value_heads=2)),
]

CASES = FIRST + QWEN3 + PHI3 + GEMMA2 + GEMMA3 + INTERNLM
