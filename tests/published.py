"""The shapes of Mistral's published models as data, for tests of the configuration.

`params` are in the key names of `params.json`. `certain` is true where a source shows the file
itself; where it is false the values come from the Hugging Face config.json, from a converter
that reads the file or from a paper, and the file may hold other keys beside them.

`n_params` counts the text model alone. Where it says "checked", another source states the same
number (for a model with a tower, `n_params + vision`): Hugging Face's safetensors total, a
file's header, a list of measured counts. The other ones only follow from the shape and agree with
`billions`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Published:
    """One model."""

    name: str
    params: dict[str, Any]
    n_params: int
    """Weights of the text model, tied ones once."""
    billions: float
    """What its makers say, the vision tower included where there is one."""
    source: str
    active: int | None = None
    """Weights that a token goes through, for a mixture of experts."""
    active_billions: float | None = None
    vision: int = 0
    """Weights of the vision tower, its projector and its norm."""
    certain: bool = False
    hf: dict[str, Any] = field(default_factory=dict)
    """What its config.json says otherwise than a plain `MistralForCausalLM` would."""


@dataclass(frozen=True)
class Refused:
    """A model that cannot be run, and what the refusal has to name."""

    name: str
    params: dict[str, Any]
    section: str
    source: str
    certain: bool = False


def _dense(
    dim: int, n_layers: int, hidden_dim: int, vocab_size: int, **more: Any
) -> dict[str, Any]:
    """What nearly all of them share: 32 heads of 128, 8 of keys and values, eps 1e-5."""
    return {
        "dim": dim,
        "n_layers": n_layers,
        "head_dim": 128,
        "hidden_dim": hidden_dim,
        "n_heads": 32,
        "n_kv_heads": 8,
        "norm_eps": 1e-05,
        "vocab_size": vocab_size,
        **more,
    }


_SEVEN = _dense(4096, 32, 14336, 32000)
_LARGE = _dense(12288, 88, 28672, 32768, n_heads=96, rope_theta=1000000.0)
_SMALL_3 = _dense(5120, 40, 32768, 131072)
_EIGHT_EXPERTS = {"num_experts_per_tok": 2, "num_experts": 8}
_FP8 = {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}
_NO_MLA = dict.fromkeys(
    ("q_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "kv_lora_rank", "v_head_dim")
)
# The tower of Small 3.1 and of Ministral 3: 403,305,472 weights before the projector.
_TOWER = {
    "image_token_id": 10,
    "image_break_token_id": 12,
    "image_end_token_id": 13,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "mm_projector_id": "patch_merge",
    "spatial_merge_size": 2,
    "hidden_size": 1024,
    "num_channels": 3,
    "image_size": 1540,
    "max_image_size": 1540,
    "patch_size": 14,
    "rope_theta": 10000.0,
    "add_pre_mm_projector_layer_norm": True,
    "adapter_bias": False,
}
_YARN_16 = {
    "original_max_position_embeddings": 16384,
    "factor": 16,
    "apply_scale": False,
    "beta": 32,
    "alpha": 1,
}
_YARN_64 = {
    "original_max_position_embeddings": 4096,
    "factor": 64,
    "apply_scale": True,
    "beta": 4,
    "alpha": 1,
}


def _llama_4(original: int) -> dict[str, Any]:
    return {"original_max_position_embeddings": original, "beta": 0.1}


def _hf_yarn(
    theta: float, factor: float, original: int, fast: float, **more: float
) -> dict[str, Any]:
    return {
        "rope_type": "yarn",
        "type": "yarn",
        "rope_theta": theta,
        "factor": factor,
        "original_max_position_embeddings": original,
        "beta_fast": fast,
        "beta_slow": 1.0,
        **more,
    }


# mscale / mscale_all_dim = 1: cos and sin are not multiplied (apply_scale: false).
_PLAIN = {"mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}
_MINISTRAL_3 = {
    "architectures": ["Mistral3ForConditionalGeneration"],
    "model_type": "mistral3",
    "text_config.model_type": "ministral3",
}
_MISTRAL_3 = {**_MINISTRAL_3, "text_config.model_type": "mistral"}
_HF_FP8 = {
    "quant_method": "fp8",
    "activation_scheme": "static",
    "weight_block_size": None,
    "modules_to_not_convert": ["model.vision_tower", "model.multi_modal_projector", "lm_head"],
}

PUBLISHED = (
    Published(
        "Mistral 7B v0.1",
        # No rope_theta: 1e4, as its config.json says.
        {**_SEVEN, "sliding_window": 4096},
        7_241_732_096,  # checked
        7.24,
        "params.json of the released tar; arXiv:2310.06825, table 1",
        certain=True,
        hf={"sliding_window": 4096, "rope_theta": 10000.0, "max_position_embeddings": 32768},
    ),
    Published(
        "Mistral 7B Instruct v0.2",
        {**_SEVEN, "rope_theta": 1000000.0},
        7_241_732_096,  # checked
        7.24,
        "huggingface.co/mistralai/Mistral-7B-Instruct-v0.2",
        certain=True,
        hf={"sliding_window": None, "rope_theta": 1000000.0},
    ),
    Published(
        "Mistral 7B v0.3",
        {**_SEVEN, "vocab_size": 32768, "rope_theta": 1000000.0},
        7_248_023_552,  # checked
        7.25,
        "params.json of huggingface.co/mistralai/Mistral-7B-Instruct-v0.3, as transformers' "
        "tests/integrations/mistral has it",
        certain=True,
    ),
    Published(
        "Mathstral 7B v0.1",
        {**_SEVEN, "vocab_size": 32768, "rope_theta": 1000000.0},
        7_248_023_552,
        7.25,
        "huggingface.co/mistralai/Mathstral-7B-v0.1 (config.json)",
    ),
    Published(
        "Mixtral 8x7B v0.1",
        {**_SEVEN, "rope_theta": 1000000.0, "moe": _EIGHT_EXPERTS},
        46_702_792_704,  # checked
        46.7,
        "arXiv:2401.04088, table 1; huggingface.co/mistralai/Mixtral-8x7B-v0.1",
        active=12_879_925_248,
        active_billions=12.9,
        hf={"architectures": ["MixtralForCausalLM"], "model_type": "mixtral"},
    ),
    Published(
        "Mixtral 8x22B v0.1",
        _dense(6144, 56, 16384, 32000, n_heads=48, rope_theta=1000000.0, moe=_EIGHT_EXPERTS),
        140_620_634_112,  # checked
        140.6,
        "huggingface.co/mistral-community/Mixtral-8x22B-v0.1",
        active=39_152_031_744,
        active_billions=39.1,
        hf={"architectures": ["MixtralForCausalLM"], "max_position_embeddings": 65536},
    ),
    Published(
        "Mixtral 8x22B v0.3",
        _dense(6144, 56, 16384, 32768, n_heads=48, rope_theta=1000000.0, moe=_EIGHT_EXPERTS),
        140_630_071_296,  # checked: the instruct model, whose vocabulary is the same
        140.6,
        "mistral-inference README; huggingface.co/mistralai/Mixtral-8x22B-Instruct-v0.1",
        active=39_161_468_928,
        active_billions=39.1,
        hf={"architectures": ["MixtralForCausalLM"], "max_position_embeddings": 65536},
    ),
    Published(
        "Codestral 22B v0.1",
        _dense(6144, 56, 16384, 32768, n_heads=48, rope_theta=1000000.0),
        22_247_282_688,
        22.2,
        "huggingface.co/mistralai/Codestral-22B-v0.1 (config.json)",
    ),
    Published(
        "Mistral Small 22B (2409)",
        _dense(6144, 56, 16384, 32768, n_heads=48, rope_theta=1000000.0),
        22_247_282_688,
        22.2,
        "huggingface.co/mistralai/Mistral-Small-Instruct-2409 (config.json)",
    ),
    Published(
        "Mistral Nemo 12B (2407)",
        _dense(5120, 40, 14336, 131072, rope_theta=1000000.0),
        12_247_782_400,  # checked
        12.2,
        "huggingface.co/mistralai/Mistral-Nemo-Instruct-2407",
        hf={"head_dim": 128, "max_position_embeddings": 131072},
    ),
    Published(
        "Mistral Large 2 (2407)",
        _LARGE,
        122_610_069_504,
        123,
        "huggingface.co/mistralai/Mistral-Large-Instruct-2407",
    ),
    Published(
        "Mistral Large 2.1 (2411)",
        _LARGE,
        122_610_069_504,
        123,
        "huggingface.co/mistralai/Mistral-Large-Instruct-2411",
        hf={"max_position_embeddings": 131072},
    ),
    Published(
        "Ministral 8B (2410)",
        # Both odd keys are the ones transformers' convert_ministral reads.
        _dense(
            4096,
            36,
            12288,
            131072,
            rope_theta=100000000.0,
            max_seq_len=32768,
            _sliding_window=[None, 32768, 32768, 32768],
        ),
        8_019_808_256,  # checked
        8.02,
        "huggingface.co/mistralai/Ministral-8B-Instruct-2410",
        hf={"sliding_window": 32768, "max_position_embeddings": 32768},
    ),
    Published(
        "Mistral Small 3 24B (2501)",
        {**_SMALL_3, "rope_theta": 100000000.0, "max_position_embeddings": 32768},
        23_572_403_200,  # checked
        23.6,
        "huggingface.co/mistralai/Mistral-Small-24B-Instruct-2501 (config.json)",
        hf={"sliding_window": None, "rope_theta": 100000000.0, "max_position_embeddings": 32768},
    ),
    Published(
        "Mistral Small 3.1 / 3.2 24B (2503, 2506)",
        {
            **_SMALL_3,
            "rope_theta": 1000000000.0,
            "max_position_embeddings": 131072,
            "vision_encoder": _TOWER,
        },
        23_572_403_200,  # checked: 24,011,361,280 with the tower
        24.0,
        "huggingface.co/mistralai/Mistral-Small-3.2-24B-Instruct-2506",
        vision=438_958_080,
        hf=_MISTRAL_3,
    ),
    Published(
        "Devstral Small 24B (2505, 2507)",
        {**_SMALL_3, "rope_theta": 1000000000.0, "max_position_embeddings": 131072},
        23_572_403_200,  # checked: 363 tensors in consolidated.safetensors
        23.6,
        "huggingface.co/mistralai/Devstral-Small-2507",
    ),
    Published(
        "Magistral Small 24B (2506)",
        # 2509 has the tower of Small 3.2 as well.
        {**_SMALL_3, "rope_theta": 1000000000.0, "max_position_embeddings": 40960},
        23_572_403_200,
        23.6,
        "huggingface.co/mistralai/Magistral-Small-2506 (config.json)",
    ),
    Published(
        "Pixtral 12B (2409)",
        _dense(
            5120,
            40,
            14336,
            131072,
            rope_theta=1000000000.0,
            vision_encoder={
                "hidden_size": 1024,
                "num_channels": 3,
                "image_size": 1024,
                "patch_size": 16,
                "rope_theta": 10000.0,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "image_token_id": 10,
            },
        ),
        12_247_782_400,
        12.7,
        "huggingface.co/mistralai/Pixtral-12B-2409; arXiv:2410.07073, table 1",
        vision=434_957_312,
        hf={"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava"},
    ),
    Published(
        "Pixtral Large 124B (2411)",
        {
            **_LARGE,
            "rope_theta": 1000000000.0,
            "vision_encoder": {
                "hidden_size": 1408,
                "num_channels": 3,
                "image_size": 1024,
                "patch_size": 16,
                "rope_theta": 10000.0,
                "intermediate_size": 6144,
                "num_hidden_layers": 40,
                "num_attention_heads": 16,
                "image_token_id": 10,
                "image_break_token_id": 14,
                "image_end_token_id": 15,
                "adapter_bias": False,
            },
        },
        122_610_069_504,
        124,
        "params.json of huggingface.co/mistralai/Pixtral-Large-Instruct-2411, as the Neuron "
        "port's tests have it",
        vision=1_524_776_320,
        certain=True,
    ),
    Published(
        "Ministral 3 3B (2512)",
        _dense(
            3072,
            26,
            9216,
            131072,
            rope_theta=1000000.0,
            tied_embeddings=True,
            max_position_embeddings=262144,
            yarn=_YARN_16,
            llama_4_scaling=_llama_4(16384),
            vision_encoder=_TOWER,
        ),
        3_429_006_336,  # checked: 3,849,090,048 with the tower
        3.85,
        "huggingface.co/mistralai/Ministral-3-3B-Base-2512 (config.json); arXiv:2601.08584",
        vision=420_083_712,
        hf={
            **_MINISTRAL_3,
            "tie_word_embeddings": True,
            "rope_parameters": _hf_yarn(1e6, 16.0, 16384, 32.0, **_PLAIN),
        },
    ),
    Published(
        "Ministral 3 8B Instruct (2512)",
        _dense(
            4096,
            34,
            14336,
            131072,
            rope_theta=1000000.0,
            tied_embeddings=False,
            max_position_embeddings=262144,
            quantization=_FP8,
            yarn=_YARN_16,
            llama_4_scaling=_llama_4(16384),
            vision_encoder=_TOWER,
        ),
        # checked: 8,918,026,716 with the tower and 34 · 7 · 2 scales
        8_489_553_920,
        8.92,
        "huggingface.co/mistralai/Ministral-3-8B-Instruct-2512 (config.json)",
        vision=428_472_320,
        hf={
            **_MINISTRAL_3,
            "quantization_config": _HF_FP8,
            "rope_parameters": _hf_yarn(1e6, 16.0, 16384, 32.0, **_PLAIN),
        },
    ),
    Published(
        "Ministral 3 14B (2512)",
        _dense(
            5120,
            40,
            16384,
            131072,
            rope_theta=1000000000.0,
            tied_embeddings=False,
            max_position_embeddings=262144,
            yarn=_YARN_16,
            llama_4_scaling=_llama_4(16384),
            vision_encoder=_TOWER,
        ),
        13_506_073_600,
        13.9,
        "huggingface.co/mistralai/Ministral-3-14B-Base-2512 (config.json); arXiv:2601.08584",
        vision=438_958_080,
        hf={**_MINISTRAL_3, "rope_parameters": _hf_yarn(1e9, 16.0, 16384, 32.0, **_PLAIN)},
    ),
    Published(
        "Devstral Small 2 24B (2512)",
        {
            **_SMALL_3,
            "rope_theta": 100000000.0,
            "tied_embeddings": False,
            "max_position_embeddings": 393216,
            "quantization": _FP8,
            "yarn": {**_YARN_16, "factor": 48, "original_max_position_embeddings": 8192},
            "llama_4_scaling": _llama_4(8192),
            "vision_encoder": _TOWER,
        },
        23_572_403_200,
        24.0,
        "huggingface.co/mistralai/Devstral-Small-2-24B-Instruct-2512 (config.json)",
        vision=438_958_080,
        hf={
            **_MINISTRAL_3,
            "quantization_config": _HF_FP8,
            "rope_parameters": _hf_yarn(1e8, 48.0, 8192, 32.0, **_PLAIN),
        },
    ),
    Published(
        "Devstral 2 123B (2512)",
        # The nulls are in the file.
        {
            **_LARGE,
            "vocab_size": 131072,
            "tied_embeddings": False,
            "max_position_embeddings": 262144,
            **_NO_MLA,
            "quantization": _FP8,
            "yarn": _YARN_64,
        },
        125_025_988_608,
        125,  # its name says 123
        "params.json of huggingface.co/mistralai/Devstral-2-123B-Instruct-2512, as transformers' "
        "tests/integrations/mistral has it",
        certain=True,
        hf={
            "architectures": ["Ministral3ForCausalLM"],
            "model_type": "ministral3",
            "quantization_config": _HF_FP8,  # vision names and all, though it has no tower
            # mscale_all_dim 0: cos and sin are multiplied by 0.1 ln(64) + 1.
            "rope_parameters": _hf_yarn(
                1e6, 64.0, 4096, 4.0, mscale=1.0, mscale_all_dim=0.0, llama_4_scaling_beta=0
            ),
        },
    ),
    Published(
        "Mistral Medium 3.5 128B (2604)",
        {
            **_LARGE,
            "vocab_size": 131072,
            "tied_embeddings": False,
            "max_position_embeddings": 262144,
            **_NO_MLA,
            "quantization": _FP8,
            "yarn": _YARN_64,
            # Its ids for the ends of a row and of an image are -1.
            "vision_encoder": {
                **_TOWER,
                "image_break_token_id": -1,
                "image_end_token_id": -1,
                "hidden_size": 1664,
                "intermediate_size": 8192,
                "num_hidden_layers": 48,
            },
        },
        125_025_988_608,
        128,
        "huggingface.co/mistralai/Mistral-Medium-3.5-128B; sglang pull request 23849",
        vision=2_678_221_568,
        hf=_MINISTRAL_3,
    ),
)

REFUSED = (
    Refused(
        "Codestral Mamba 7B v0.1",
        {
            "dim": 4096,
            "n_layers": 64,
            "vocab_size": 32768,
            "n_groups": 8,
            "rms_norm": True,
            "residual_in_fp32": True,
            "fused_add_norm": True,
            "pad_vocab_size_multiple": 1,
            "tie_embeddings": False,
            "model_type": "mamba",
        },
        "mamba",
        "mistral-inference's MambaArgs for the keys",
    ),
    Refused(
        "Mistral Large 3 675B (2512)",
        {
            "dim": 7168,
            "n_layers": 61,
            "head_dim": 192,
            "hidden_dim": 16384,
            "n_heads": 128,
            "n_kv_heads": 128,
            "rope_theta": 10000.0,
            "norm_eps": 1e-06,
            "vocab_size": 131072,
            "tied_embeddings": False,
            "max_position_embeddings": 294912,
            "q_lora_rank": 1536,
            "qk_rope_head_dim": 64,
            "qk_nope_head_dim": 128,
            "kv_lora_rank": 512,
            "v_head_dim": 128,
            "llama_4_scaling": _llama_4(8192),
            "yarn": {**_YARN_16, "factor": 36, "original_max_position_embeddings": 8192},
            "moe": {
                "expert_parallel": 1,
                "expert_model_parallel": 1,
                "route_every_n": 1,
                "first_k_dense_replace": 3,
                "num_experts": 128,
                "num_experts_per_tok": 4,
                "num_expert_groups": 1,
                "num_expert_groups_per_tok": 1,
                "routed_scale": 1.0,
                "expert_hidden_dim": 4096,
                "num_shared_experts": 1,
            },
        },
        "q_lora_rank",
        "params.json of huggingface.co/mistralai/Mistral-Large-3-675B-Instruct-2512 without its "
        "vision_encoder and quantization_config, as unsloth's tests have it",
        certain=True,
    ),
    Refused(
        "Mistral Small 4 119B (2603)",
        {
            "dim": 4096,
            "n_layers": 36,
            "head_dim": 128,
            "hidden_dim": 12288,
            "n_heads": 32,
            "n_kv_heads": 32,
            "rope_theta": 10000.0,
            "norm_eps": 1e-06,
            "vocab_size": 131072,
            "tied_embeddings": False,
            "max_position_embeddings": 1048576,
            "q_lora_rank": 1024,
            "qk_rope_head_dim": 64,
            "qk_nope_head_dim": 64,
            "kv_lora_rank": 256,
            "v_head_dim": 128,
            "quantization": _FP8,
            "llama_4_scaling": _llama_4(8192),
            "yarn": {**_YARN_16, "factor": 128, "original_max_position_embeddings": 8192},
            "moe": {
                "expert_parallel": 1,
                "expert_model_parallel": 1,
                "route_every_n": 1,
                "first_k_dense_replace": 0,
                "num_experts": 128,
                "num_experts_per_tok": 4,
                "num_expert_groups": 1,
                "num_expert_groups_per_tok": 1,
                "routed_scale": 1.0,
                "expert_hidden_dim": 2048,
                "num_shared_experts": 1,
            },
            "vision_encoder": _TOWER,
        },
        "q_lora_rank",
        "huggingface.co/mistralai/Mistral-Small-4-119B-2603 (transformers' Mistral4Config)",
    ),
    Refused(
        "Voxtral Mini 3B (2507)",
        _dense(
            3072,
            30,
            8192,
            131072,
            rope_theta=100000000.0,
            max_position_embeddings=131072,
            multimodal={
                "whisper_model_args": {
                    "encoder_args": {"dim": 1280, "n_layers": 32},
                    "downsample_args": {"downsample_factor": 4},
                }
            },
        ),
        "multimodal",
        "huggingface.co/mistralai/Voxtral-Mini-3B-2507 (config.json; the section abridged)",
    ),
    Refused(
        "Voxtral Mini 4B Realtime (2602)",
        _dense(
            3072,
            26,
            9216,
            131072,
            rope_theta=1000000.0,
            use_biases=False,
            causal=True,
            model_parallel=1,
            tied_embeddings=True,
            sliding_window=8192,
            model_max_length=131072,
            ada_rms_norm_t_cond=True,
            ada_rms_norm_t_cond_dim=32,
            multimodal={"whisper_model_args": {"encoder_args": {"dim": 1280, "n_layers": 32}}},
        ),
        # Alone of all, its norms depend on a time: leaving ada_rms_norm_t_cond out would be wrong.
        "ada_rms_norm_t_cond",
        "huggingface.co/mistralai/Voxtral-Mini-4B-Realtime-2602 (the section abridged)",
    ),
)
