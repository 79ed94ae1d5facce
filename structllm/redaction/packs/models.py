"""Keys of model providers and of what agents use around them: search, tracing, vector stores."""

from structllm.redaction.packs.examples import HEX, LOWER_ALNUM, URL_SAFE, body, uuid
from structllm.redaction.packs.shapes import format_rule, long_format_rule

MODEL_KEYS = (
    long_format_rule(
        "anthropic-key",
        r"sk-ant-[A-Za-z0-9_-]{16,}",
        "sk-" + "ant-" + "api03-" + body(93, URL_SAFE) + "AA",
        misses=("sk-ant-...", "the sk-ant- prefix"),
    ),
    long_format_rule(
        "openrouter-key",
        r"sk-or-(?:v[0-9]-)?[A-Za-z0-9]{16,}",
        "sk-" + "or-v1-" + body(64, HEX),
        misses=("sk-or-swim",),
    ),
    long_format_rule(
        "langfuse-key",
        r"sk-lf-[0-9a-f-]{16,}",
        "sk-" + "lf-" + uuid(),
        misses=("pk-lf-public",),
    ),
    long_format_rule(
        "openai-key",
        r"sk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{16,}",
        "sk-" + body(20) + "T3Blbk" + "FJ" + body(20),
        "sk-" + "proj-" + body(74, URL_SAFE) + "T3Blbk" + "FJ" + body(74, URL_SAFE),
        "sk-" + "svcacct-" + body(60, URL_SAFE),
        "sk-" + body(32, HEX),
        misses=(
            "sk-learn-is-a-nice-library-to-use",
            "task-" + body(32, HEX),
            "sk-" + "x" * 48,
            "risk-adjustedreturnsofthestrategy",
            "task-proj-estimate-of-quarter-2024",
        ),
        edged="sk-[A-Za-z0-9]{20,}",
    ),
    format_rule(
        "google-key",
        r"AIza[0-9A-Za-z_-]{30,}|GOCSPX-[0-9A-Za-z_-]{20,}|ya29\.[0-9A-Za-z_-]{20,}|1//0[0-9A-Za-z_-]{40,}",
        "AI" + "za" + body(35, URL_SAFE),
        "GOC" + "SPX-" + body(28, URL_SAFE),
        "ya" + "29." + body(120, URL_SAFE),
        misses=("AIza is the prefix", "AIzawa Tokyo", "1//0 is a path"),
    ),
    long_format_rule("groq-key", r"gsk_[A-Za-z0-9]{20,}", "gs" + "k_" + body(52), misses=("gsk_model",)),
    format_rule("xai-key", r"xai-[A-Za-z0-9]{40,}", "x" + "ai-" + body(80), misses=("xai-grok-beta",)),
    format_rule(
        "huggingface-token",
        r"hf_[A-Za-z0-9]{30,}|api_org_[A-Za-z0-9]{30,}",
        "h" + "f_" + body(34),
        misses=("hf_hub_download", "api_org_name"),
    ),
    format_rule("replicate-token", r"r8_[A-Za-z0-9]{30,}", "r" + "8_" + body(37), misses=("r8_register",)),
    long_format_rule("perplexity-key", r"pplx-[A-Za-z0-9]{32,}", "pp" + "lx-" + body(48), misses=("pplx-70b-online",)),
    long_format_rule(
        "nvidia-key", r"nvapi-[A-Za-z0-9_-]{40,}", "nv" + "api-" + body(64, URL_SAFE), misses=("nvapi-docs",)
    ),
    long_format_rule(
        "langsmith-key",
        r"lsv2_(?:pt|sk)_[0-9a-f]{32}(?:_[0-9a-f]+)?",
        "lsv2" + "_pt_" + body(32, HEX) + "_" + body(10, HEX),
        misses=("lsv2_pt_",),
    ),
    format_rule(
        "model-key",  # Fireworks, Together, ElevenLabs, Cerebras, Voyage, Jina, RunPod, Helicone, W&B, Bedrock
        r"fw_[A-Za-z0-9]{20,}|tgp_v[0-9]_[A-Za-z0-9_-]{40,}|sk_[0-9a-f]{48}|csk-[a-z0-9]{40,}|pa-[A-Za-z0-9_-]{43}"
        r"|jina_[0-9a-f]{32}[A-Za-z0-9_-]{20,}|rpa_[A-Z0-9]{30,}[A-Za-z0-9]*|sk-helicone-[a-z0-9-]{20,}"
        r"|wandb_v[0-9]_[A-Za-z0-9_]{40,}|ABSK[A-Za-z0-9+/]{100,}={0,2}|bedrock-api-key-[A-Za-z0-9+/=_-]{40,}",
        "f" + "w_" + body(24),
        "tg" + "p_v1_" + body(43, URL_SAFE),
        "s" + "k_" + body(48, HEX),
        "cs" + "k-" + body(48, LOWER_ALNUM),
        "AB" + "SK" + body(128),
        misses=("fw_version", "pa-rt-of-it", "csk-team", "jina_embeddings_v3", "ABSKILL"),
    ),
    format_rule(
        "agent-tool-key",  # Tavily, Pinecone, Firecrawl, E2B, Brave, Mem0, Composio, Apify
        r"tvly-[A-Za-z0-9-]{24,}|pcsk_[A-Za-z0-9_]{30,}|fc-[0-9a-f]{32}|e2b_[0-9a-f]{40}|BSA[A-Za-z0-9_-]{24,}"
        r"|m0-[A-Za-z0-9]{40}|apify_api_[A-Za-z0-9]{30,}|ak_[A-Za-z0-9]{20,}",
        "tv" + "ly-" + body(32),
        "pc" + "sk_" + body(60),
        "f" + "c-" + body(32, HEX),
        "api" + "fy_api_" + body(36),
        misses=("tvly-dev", "fc-barcelona", "m0-m1-m2", "BSA audit", "e2b_sandbox"),
    ),
)
