"""Keys without a prefix of their own: random values next to the name of who gave them out."""

from structllm.redaction import checks
from structllm.redaction.packs.examples import HEX, LOWER_ALNUM, body
from structllm.redaction.packs.shapes import IS, QUOTED, pair_of
from structllm.redaction.rule import Rule, Sample

# Names that mean little else. Whatever is named after them and looks random is theirs.
_VENDORS = (
    "adafruit|airtable|alchemy|algolia|alibaba|aliyun|amplitude|ansible|artifactory|asana|assemblyai|atlassian|"
    "auth0|azure|beamer|bitbucket|bitrise|bittrex|braintree|brevo|buildkite|cerebras|checkr|circleci|clearbit|"
    "clickhouse|clojars|cloudflare|cloudinary|cockroach|codecov|cohere|coinbase|coingecko|coinmarketcap|confluence|"
    "confluent|contentful|cryptocompare|datadog|deepgram|deepl|deepseek|digitalocean|discord|disqus|docusign|"
    "doppler|droneci|dropbox|duffel|dynatrace|easypost|elevenlabs|etherscan|etsy|eventbrite|facebook|fastly|"
    "figma|finicity|finnhub|firebase|fireworks|flickr|flutterwave|flyio|foursquare|freshbooks|freshdesk|"
    "gitbook|github|gitlab|gitter|glassnode|gocardless|grafana|groq|hashicorp|helius|helicone|heroku|hubspot|"
    "huggingface|infracost|infura|instagram|ipinfo|ipstack|jenkins|jfrog|jira|kaggle|klaviyo|kraken|kucoin|"
    "launchdarkly|linkedin|litellm|mailchimp|mailgun|mailjet|mapbox|mattermost|maxmind|meraki|"
    "messagebird|messari|mistral|mixpanel|moonshot|moralis|mongo(?:db)?|nansen|netlify|newrelic|new-relic|nexmo|ngrok|"
    "npm|nylas|nytimes|okta|onelogin|opencage|openai|opensea|openweather(?:map)?|optimizely|pagerduty|"
    "paypal|paystack|pinata|pinecone|pipedrive|plaid|planetscale|plivo|portkey|posthog|postmark|"
    "pubnub|pulumi|pusher|quandl|quicknode|rabbitmq|rapidapi|recaptcha|reddit|rollbar|"
    "rubygems|runpod|salesforce|sauce ?labs|sendbird|sendgrid|sendinblue|sentry|serpapi|serper|shippo|shodan|"
    "shopify|sidekiq|slack|snowflake|snyk|solscan|sonar(?:qube|cloud)?|sourcegraph|splunk|spotify|squarespace|"
    "strapi|stripe|sumologic|supabase|tableau|tavily|telegram|tiingo|togetherai|travis(?:ci)?|trello|"
    "twelvedata|twilio|twitch|twitter|typeform|upstash|vercel|virustotal|vonage|weaviate|weights?andbiases|wandb|"
    "wolfram|woocommerce|wordpress|yandex|youtube|zapier|zendesk|zerion|zoho|alpha ?vantage|eodhd"
    "|tradier|robinhood|"
    "oanda|saxo|binance|bybit|okx|bitfinex|bitget|bitmex|bitstamp|deribit|alpaca|huobi|htx|mexc|hyperliquid|phemex"
)
# Names that are words as well: only with a role behind them, `linear_token`.
_WORDS = (
    "linear|segment|polygon|elastic|gemini|notion|square|harness|drone|docker|redis|postgres|lob|looker|sinch|zoom|readme|"
    "postman|adobe|octopus|voyage|stability|replicate|prefect|bamboo|intercom|fly|together|sumo"
)
_ROLES = r"(?:key|token|secret|pat|api|auth|access|client|cred(?:s|ential)?|pass|pw|sid|dsn|license|app)"
_ROLE = rf"(?:[a-z0-9_ .-]*{_ROLES}[a-z0-9]{{0,12}}(?:[_ .-]?(?:id|value|string|key|token))?)"
_VALUE = r"([A-Za-z0-9][A-Za-z0-9+/=_.~-]{9,})"

VENDOR_KEYS = (
    Rule(
        "vendor-key",
        rf"(?i)(?:(?:{_VENDORS}){_ROLE}?|(?:{_WORDS}){_ROLE})"
        rf"(?:{IS}|(?-i: is ))(?:{QUOTED}|{_VALUE})",
        (
            Sample(body(32, HEX), "DATADOG_API_KEY={}"),
            Sample(body(32, LOWER_ALNUM), 'var fastlyToken string = "{}"'),
            Sample(body(40), 'cohere: "{}"'),
            Sample(body(24, LOWER_ALNUM), "my finnhub key is {} today"),
            Sample(body(32, LOWER_ALNUM), "etherscan api: {}"),
        ),
        (
            "slack channel: general-2024",
            "stripe: ok",
            "linear: slope=0.0012345678",
            "github commit: " + body(40, HEX),
            "openai model: gpt-4o-2024-08-06",
            "kraken order id: O" + body(6),
            "docker image: sha256-" + body(10, HEX),
            "polygon address: 0x" + body(40, HEX),
        ),
        checks.is_vendor_token,
    ),
    Rule(
        "vendor-pair",
        pair_of(rf"(?:{_VENDORS}|{_WORDS})[a-z0-9_.-]*{_ROLES}[a-z0-9_]{{0,12}}"),
        (
            Sample(body(32, LOWER_ALNUM), "setProperty('FASTLY_API', '{}')"),
            Sample(body(32, LOWER_ALNUM), "<asanaClient>\n  {}\n</asanaClient>"),
        ),
        ("('slack_app', 'bot')", "<stripeKey></stripeKey>"),
        checks.is_vendor_token,
    ),
)
