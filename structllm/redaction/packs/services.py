"""Tokens of code hosts, package registries, build services, chat, mail, payment and other services, by their prefix."""

from structllm.redaction.packs.examples import ALNUM, DIGITS, HEX, LOWER_ALNUM, UPPER, URL_SAFE, body, uuid
from structllm.redaction.packs.shapes import format_rule, long_format_rule
from structllm.redaction.rule import Rule, Sample

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

CODE_KEYS = (
    long_format_rule(
        "github-token",
        r"gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}",
        "gh" + "p_" + body(36),
        "gh" + "o_" + body(36),
        "gh" + "s_" + body(36),
        "github" + "_pat_" + body(22) + "_" + body(59),
        misses=("ghp_short", "github_pat_docs"),
    ),
    long_format_rule(
        "gitlab-token",
        r"gl(?:pat|dt|rt|cbt|ptt|ft|imt|soat|agent|ffct|rtr)-[A-Za-z0-9_.-]{20,}|gloas-[0-9a-f]{40,}"
        r"|GR1348941[A-Za-z0-9_-]{20,}|_gitlab_session=[A-Za-z0-9]{32}",
        "gl" + "pat-" + body(20, URL_SAFE),
        "GR" + "1348941" + body(20, URL_SAFE),
        misses=("glpat-doc", "glft-file"),
    ),
    format_rule("npm-token", r"npm_[A-Za-z0-9]{36,}", "np" + "m_" + body(36), misses=("npm_config_registry",)),
    long_format_rule(
        "pypi-token", r"pypi-AgE[A-Za-z0-9_-]{40,}", "py" + "pi-AgE" + body(90, URL_SAFE), misses=("pypi-AgEnt",)
    ),
    format_rule(
        "package-token",  # RubyGems, Clojars, crates.io, NuGet, Docker Hub, Artifactory
        r"rubygems_[0-9a-f]{48}|CLOJARS_[A-Za-z0-9]{60}|cio[A-Za-z0-9]{32}|oy2[a-z0-9]{43}|dckr_[op]at_[A-Za-z0-9_-]{24,}"
        r"|AKC[A-Za-z0-9]{60,}|cmVmd[A-Za-z0-9]{59}",
        "ruby" + "gems_" + body(48, HEX),
        "dckr" + "_pat_" + body(27, URL_SAFE),
        "AK" + "Cp" + body(70),
        misses=("rubygems_version", "dckr_pat_", "cio of the bank", "oy2k"),
    ),
    format_rule(
        "build-token",  # CircleCI, Buildkite, Travis, Sonar, Sourcegraph, Snyk, Doppler, Infisical, Octopus, Postman
        r"CCIPAT_[A-Za-z0-9_]{30,}|bku?a_[A-Za-z0-9]{36,}|sq[uap]_[0-9a-f]{40}|sgp_(?:[A-Fa-f0-9]{16}_|local_)?[A-Fa-f0-9]{40}"
        r"|slk_[0-9a-f]{64}|snyk_[a-z]{2,4}\.[A-Za-z0-9_.-]{30,}|dp\.[a-z]{2,7}\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,}"
        r"|API-[A-Z0-9]{26}|pn[ub]_[A-Za-z0-9]{36}|PMAK-[0-9a-f]{24}-[0-9a-f]{34}|pat\.[A-Za-z0-9_-]{22}\.[0-9a-f]{24}\.[A-Za-z0-9]{20}"
        r"|sat\.[A-Za-z0-9_-]{22}\.[0-9a-f]{24}\.[A-Za-z0-9]{20}|endr\+[A-Za-z0-9-]{16}|sm_(?:aat|pat|sat)_[A-Za-z0-9]{16}"
        r"|waka_(?:sec_)?[0-9a-zA-Z-]{32,}",
        "sq" + "p_" + body(40, HEX),
        "sg" + "p_" + body(40, HEX),
        "AP" + "I-" + body(26, UPPER + DIGITS),
        "PM" + "AK-" + body(24, HEX) + "-" + body(34, HEX),
        "sm" + "_sat_" + body(16),
        misses=("dp.pt.example", "API-DOCUMENTATION", "sgp_singapore", "sm_sat_x"),
    ),
    format_rule(
        "vault-item-token",  # 1Password, Bitwarden, age
        r"AGE-SECRET-KEY-1[A-Za-z0-9]{50,}|ops_eyJ[A-Za-z0-9+/=_-]{40,}|A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})(?:-[A-Z0-9]{5}){3}",
        "AGE-SECRET" + "-KEY-1" + body(58, UPPER + DIGITS),
        "ops" + "_ey" + "J" + body(120),
        misses=("AGE-SECRET-KEY-1 is the prefix", "A3-paper"),
    ),
)

CHAT_KEYS = (
    long_format_rule(
        "slack-token",
        r"xox[abcdeprs]-[A-Za-z0-9-]{10,}|xoxo-[0-9]+-[A-Za-z0-9-]{10,}|xoxe\.xox[bp]-[0-9]-[A-Za-z0-9]{10,}|xapp-[0-9]-[A-Za-z0-9-]{10,}",
        "xo" + "xb-" + body(12, DIGITS) + "-" + body(13, DIGITS) + "-" + body(24),
        "xa" + "pp-1-A" + body(10) + "-" + body(13, DIGITS) + "-" + body(64, HEX),
        misses=("xoxo-some-gossip-here", "xoxb-"),
    ),
    Rule(
        "chat-webhook",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9/_+-]{20,})"
        r"|discord(?:app)?\.com/api/(?:v[0-9]+/)?webhooks/([0-9]{10,}/[A-Za-z0-9_-]{20,})"
        r"|\.webhook\.office\.com/webhookb2/([A-Za-z0-9@/-]{60,})",
        (
            Sample("T" + body(8) + "/B" + body(8) + "/" + body(24), "https://hooks.slack.com/services/{}"),
            Sample(body(18, "123456789") + "/" + body(68), "https://discord.com/api/webhooks/{}"),
            Sample(
                f"{uuid()}@{uuid()}/In/{body(32, HEX)}/{uuid()}",
                "https://acme.webhook.office.com/webhookb2/{}",
            ),
        ),
        ("https://hooks.slack.com/services/", "https://discord.com/api/webhooks", "https://acme.webhook.office.com/"),
    ),
    Rule(
        "telegram-token",
        r"([0-9]{8,10}:AA[A-Za-z0-9_-]{30,})",
        (Sample(body(10, "123456789") + ":" + "AA" + body(33, URL_SAFE), "https://api.telegram.org/bot{}/getMe"),),
        ("12345678:AAPL",),
    ),
    format_rule(
        "discord-token",  # the first part is a user's number in base64
        r"[MNO][A-Za-z0-9]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}",
        "M" + body(25) + "." + body(6, URL_SAFE) + "." + body(38, URL_SAFE),
        misses=("Module.submod.function_name", "NewYork.1"),
    ),
)

PAYMENT_KEYS = (
    long_format_rule(
        "stripe-key",
        r"[sr]k_(?:live|test|prod)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{24,}",
        "sk" + "_live_" + body(24),
        "rk" + "_live_" + body(24),
        "wh" + "sec_" + body(32),
        misses=("pk_live_" + body(24), "sk_live_mode"),
    ),
    format_rule(
        "payment-key",  # Square, Plaid, Flutterwave, EasyPost, Shippo, Duffel, PayPal, Braintree, Razorpay, Adyen
        r"sq0[a-z]{3}-[A-Za-z0-9_-]{22,}|EAAA[A-Za-z0-9_+=-]{56,}|access-(?:sandbox|development|production)-"
        + _UUID
        + r"|FLW(?:PUB|SEC)K(?:_TEST)?-[A-Za-z0-9-]{12,}|EZ[AT]K[A-Za-z0-9]{50,}|shippo_(?:live|test)_[0-9a-f]{40}"
        r"|duffel_(?:live|test)_[A-Za-z0-9_=-]{40,}|access_token\$(?:production|sandbox)\$[a-z0-9]{16}\$[0-9a-f]{32}"
        r"|rzp_(?:live|test)_[A-Za-z0-9]{14,}|AQE[a-z0-9]{4,6}[A-Za-z0-9+/=.{}-]{60,}",
        "sq" + "0atp-" + body(22, URL_SAFE),
        "access" + "-sandbox-" + uuid(),
        "FLWSE" + "CK_TEST-" + body(32, HEX) + "-X",
        "shippo" + "_live_" + body(40, HEX),
        misses=("access-production-mode", "sq0 is a square", "duffel_test_order", "EZTK"),
    ),
    format_rule(
        "shop-token", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}", "shp" + "at_" + body(32, HEX), misses=("shpat_token",)
    ),
)

SERVICE_KEYS = (
    *CODE_KEYS,
    *CHAT_KEYS,
    *PAYMENT_KEYS,
    long_format_rule(
        "sendgrid-key",
        r"SG\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}",
        "S" + "G." + body(22) + "." + body(43),
        misses=("SG.MY.BANK",),
    ),
    format_rule(
        "mail-key",  # Mailgun, Mailchimp, Brevo, Resend, Postmark, Klaviyo, Twilio
        r"(?:pub)?key-[0-9a-f]{32}|[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}\b|[0-9a-f]{32}-us[0-9]{1,2}\b"
        r"|x(?:key|smtp)sib-[0-9a-f]{64}-[A-Za-z0-9]{16}|re_[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}|(?:SK|AC)[0-9a-f]{32}\b",
        "ke" + "y-" + body(32, HEX),
        body(32, HEX) + "-" + "us12",
        "xkey" + "sib-" + body(64, HEX) + "-" + body(16),
        "S" + "K" + body(32, HEX),
        misses=("key-value", "re_use_it", "SKU 1234", body(32, HEX)),
    ),
    format_rule(
        "monitoring-token",  # Grafana, Sentry, New Relic, Dynatrace, LaunchDarkly, Datadog, Honeycomb, Better Stack
        r"gls?[ac]_[A-Za-z0-9+/=_]{30,}|eyJrIjoi[A-Za-z0-9+/]{60,}={0,2}|sntrys_eyJ[A-Za-z0-9+/=_]{60,}|sntryu_[0-9a-f]{64}\b"
        r"|NR(?:AK|JS|II|IQ|AL)-[A-Za-z0-9_-]{19,}|dt0[a-z][0-9]{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64}|hc[abi]ik_[a-z0-9]{30,}"
        r"|(?:api|sdk|mob|rel)-" + _UUID + r"|ddp?_[A-Za-z0-9]{30,}|phx_[A-Za-z0-9]{30,}",
        "gl" + "sa_" + body(32) + "_" + body(8, HEX),
        "sntry" + "u_" + body(64, HEX),
        "NR" + "AK-" + body(27, UPPER + DIGITS),
        "dt" + "0c01." + body(24, UPPER + DIGITS) + "." + body(64, UPPER + DIGITS),
        "sd" + "k-" + uuid(),
        misses=("NRAK-", "sntrys_ is", "glsa_", "mob-rule", "api-docs"),
    ),
    format_rule(
        "work-token",  # Linear, Notion, Atlassian, Airtable, Figma, Typeform, Dropbox, HubSpot, Asana, Zapier, ReadMe
        r"lin_(?:api|oauth)_[A-Za-z0-9]{30,}|ntn_[A-Za-z0-9]{40,}|secret_[A-Za-z0-9]{43}\b|AT[AC]TT3[A-Za-z0-9_=-]{60,}"
        r"|ATBB[A-Za-z0-9]{28,}|pat[A-Za-z0-9]{14}\.[0-9a-f]{64}|fig[duor]_[A-Za-z0-9_-]{36,}|tfp_[A-Za-z0-9_.=-]{40,}"
        r"|sl\.(?:u\.)?[A-Za-z0-9_-]{60,}|pat-(?:na|eu)[0-9]-"
        + _UUID
        + r"|rdme_[a-z0-9]{60,}|fio-u-[A-Za-z0-9_=-]{60,}"
        r"|CFPAT-[A-Za-z0-9_-]{40,}|[0-9]/[0-9]{15,17}(?:/[0-9]{15,17})?:[0-9a-f]{32}|s-s4t2(?:ud|af)-[0-9a-f]{64}"
        r"|dnkey-[a-z0-9=_-]{26}-[a-z0-9=_-]{52}|[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk\b|b_[A-Za-z0-9=_-]{44}\b|p8e?-[a-z0-9]{32}\b"
        r"|(?:sc|ext|scauth|authress)_[A-Za-z0-9]{5,30}\.[A-Za-z0-9]{4,6}\.acc[_-][A-Za-z0-9-]{10,32}\.[A-Za-z0-9+/_=-]{30,120}",
        "li" + "n_api_" + body(40),
        "ATA" + "TT3" + body(180, URL_SAFE),
        "pa" + "t" + body(14) + "." + body(64, HEX),
        "pa" + "t-na1-" + uuid(),
        "rd" + "me_" + body(70, LOWER_ALNUM),
        "p8" + "e-" + body(32, LOWER_ALNUM),
        misses=("lin_api_key_name", "ntn_page", "pattern.of", "figd_", "sl.so", "secret_of_success", "b_side"),
    ),
    format_rule(
        "social-token",  # Facebook, Twitter, LinkedIn, Mapbox, RapidAPI
        r"EAA[MC][A-Za-z0-9]{80,}|A{22}[A-Za-z0-9%]{60,}|sk\.eyJ[A-Za-z0-9_-]{40,}\.[A-Za-z0-9_-]{20,}|pk\.[A-Za-z0-9]{60}\.[A-Za-z0-9]{22}"
        r"|[0-9a-f]{10}msh[0-9a-f]{15}p1[0-9a-f]{5}jsn[0-9a-f]{12}|WPL_AP1\.[A-Za-z0-9+/=.]{16,}",
        "EA" + "AM" + body(150),
        "A" * 22 + body(85, ALNUM),
        "s" + "k.ey" + "J" + body(60) + "." + body(22),
        misses=("EAAM is", "A" * 40, "sk.eyJ"),
    ),
)
