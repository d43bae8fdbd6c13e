"""Secrets that can be told by their form alone: a prefix their issuer gave them.

What `detect-secrets` knows is taken from it; `OWN` holds the kinds that it lacks, or knows in an
older form. A form is tried only where one of its anchors, in lower case, is in the text: searching
a literal costs a hundredth of trying a pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from warnings import catch_warnings, simplefilter

from rune_engine.privacy.placeholders import is_placeholder
from rune_engine.privacy.spans import Span


@dataclass(frozen=True, slots=True)
class Form:
    """One pattern; `group` is the part of a match that is the secret, 0 the whole of it."""

    kind: str
    pattern: re.Pattern[str]
    anchors: tuple[str, ...]
    group: int = 0

    def spans(self, text: str) -> Iterator[Span]:
        """Every secret of this form."""
        for match in self.pattern.finditer(text):
            start, end = match.span(self.group)
            found = text[start:end]
            # Some of the library's patterns take the quote or the space around a value along.
            start += len(found) - len(found.lstrip(" \t\r\n\"'=:"))
            end -= len(found) - len(found.rstrip(" \t\r\n\"'"))
            if start < end and not is_placeholder(text[start:end]):
                yield Span(start, end, self.kind)


def _own(kind: str, pattern: str, *anchors: str, group: int = 0, flags: int = re.ASCII) -> Form:
    return Form(kind, re.compile(pattern, flags), anchors, group)


_START = r"(?<![A-Za-z0-9])"
_END = r"(?![A-Za-z0-9])"

OWN = (
    _own("anthropic-key", _START + r"sk-ant-[A-Za-z0-9_-]{20,}", "sk-ant-"),
    _own("openrouter-key", _START + r"sk-or-v1-[a-f0-9]{32,}", "sk-or-v1-"),
    _own("openai-key", _START + r"sk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,}", "sk-"),
    _own("openai-key", _START + r"sk-[A-Za-z0-9]{32,}" + _END, "sk-"),
    # Bounded, as the library's is not: that one takes quadratic time on a hostile text.
    _own("openai-key", r"sk-[A-Za-z0-9_-]{0,120}T3BlbkFJ[A-Za-z0-9_-]{16,120}", "t3blbkfj"),
    _own("google-api-key", _START + r"AIza[A-Za-z0-9_-]{35}", "aiza"),
    _own("google-oauth-secret", _START + r"GOCSPX-[A-Za-z0-9_-]{24,}", "gocspx-"),
    _own("google-oauth-token", _START + r"ya29\.[A-Za-z0-9_-]{20,}", "ya29."),
    _own("huggingface-token", _START + r"(?:hf|api_org)_[A-Za-z0-9]{30,}", "hf_", "api_org_"),
    _own("digitalocean-token", _START + r"do[opr]_v1_[a-f0-9]{40,}", "_v1_"),
    _own("databricks-token", _START + r"dapi[a-f0-9]{32}(?:-\d{1,2})?" + _END, "dapi"),
    _own("npm-token", _START + r"npm_[A-Za-z0-9]{36,}", "npm_"),
    _own("npm-token", r"_authToken\s*=\s*([A-Za-z0-9_+/=.-]{16,})", "_authtoken", group=1),
    _own("pypi-token", _START + r"pypi-[A-Za-z0-9_-]{50,}", "pypi-"),
    _own("github-token", _START + r"github_pat_[A-Za-z0-9_]{22,}", "github_pat_"),
    _own("slack-token", _START + r"xox[a-z]-[A-Za-z0-9-]{10,}", "xox"),
    _own("slack-token", _START + r"xapp-\d-[A-Za-z0-9-]{10,}", "xapp-"),
    _own("stripe-key", _START + r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}", "k_live_", "k_test_"),
    _own("stripe-key", _START + r"whsec_[A-Za-z0-9+/=]{24,}", "whsec_"),
    _own("shopify-token", _START + r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}", "shp"),
    _own("vault-token", _START + r"hv[sbr]\.[A-Za-z0-9_-]{24,}", "hvs.", "hvb.", "hvr."),
    _own("terraform-token", r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{40,}", ".atlasv1."),
    _own("newrelic-key", _START + r"NR(?:AK|JS|II)-[A-Za-z0-9_-]{19,}", "nrak-", "nrjs-", "nrii-"),
    _own("grafana-token", _START + r"gl(?:sa|c)_[A-Za-z0-9+/_=]{32,}", "glsa_", "glc_"),
    _own("linear-key", _START + r"lin_(?:api|oauth)_[A-Za-z0-9]{32,}", "lin_"),
    _own("notion-token", _START + r"ntn_[A-Za-z0-9]{40,}", "ntn_"),
    _own("figma-token", _START + r"figd_[A-Za-z0-9_-]{32,}", "figd_"),
    _own("postman-key", _START + r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}", "pmak-"),
    _own("pulumi-token", _START + r"pul-[a-f0-9]{40}", "pul-"),
    _own("doppler-token", _START + r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{30,}", "dp."),
    _own("age-key", _START + r"AGE-SECRET-KEY-1[0-9A-Z]{40,}", "age-secret-key-1"),
    _own("fly-token", _START + r"(?:FlyV1 )?fm[12][A-Za-z]?_[A-Za-z0-9+/=_-]{40,}", "fm1", "fm2"),
    _own("supabase-token", _START + r"sb[ps]_[A-Za-z0-9_]{36,}", "sbp_", "sbs_"),
    _own("planetscale-token", _START + r"pscale_(?:tkn|pw|oauth)_[\w.=-]{32,}", "pscale_"),
    _own("atlassian-token", _START + r"ATATT3[A-Za-z0-9_=-]{100,}", "atatt3"),
    _own("groq-key", _START + r"gsk_[A-Za-z0-9]{40,}", "gsk_"),
    _own("xai-key", _START + r"xai-[A-Za-z0-9]{60,}", "xai-"),
    _own("replicate-token", _START + r"r8_[A-Za-z0-9]{37}", "r8_"),
    _own("langsmith-key", _START + r"lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}", "lsv2_"),
    _own("mailgun-key", _START + r"key-[0-9a-f]{32}" + _END, "key-"),
    # The colon first: the library's pattern begins with digits, which are everywhere.
    _own("telegram-token", r":(?<=\d{8}:)([A-Za-z0-9_-]{35})(?![A-Za-z0-9_-])", ":", group=1),
    _own("json-web-token", _START + r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}(?:\.[\w-]*)?", "eyj"),
    _own(
        "azure-key", r"Account(?:Key|Secret)\s*=\s*([A-Za-z0-9+/]{40,}={0,2})", "account", group=1
    ),
    _own(
        "azure-key",
        r"SharedAccess(?:Key|Signature)\s*=\s*([^\s;\"']{20,})",
        "sharedaccess",
        group=1,
    ),
    _own("azure-key", r"[?&;]sig=([A-Za-z0-9%+/]{40,}(?:%3D|=){0,2})", "sig=", group=1),
    _own(
        "bearer-token",
        r"\bbearer[ \t]+(?=[A-Za-z._~+/=-]{0,200}\d)([A-Za-z0-9._~+/-]{12,}={0,2})",
        "bearer",
        group=1,
        flags=re.ASCII | re.I,
    ),
    _own(
        "authorization-header",
        r"\bauthorization[\"']?\s{0,2}[:=,]\s{0,2}[bf]?[\"']?(?:basic|token|digest|apikey)[ \t]+"
        r"([A-Za-z0-9._~+/-]{8,}={0,2})",
        "authorization",
        group=1,
        flags=re.ASCII | re.I,
    ),
    _own(
        "password",
        r"\bcurl\b[^\n|;]{0,300}?\s(?:-u|--user)[ =]?[\"']?[^\s:\"']{1,80}:"
        r"(?=\S*[A-Za-z])([^\s\"']{4,200})",
        "curl",
        group=1,
    ),
    _own(
        "password",
        r"\b(?:mysql\w*|mariadb\w*|sshpass|(?:docker|podman|helm registry|oc) login)\b"
        r"[^\n|;]{0,200}?\s-p[ =]?[\"']?([^\s\"'-][^\s\"']{3,200})",
        "mysql",
        "mariadb",
        "sshpass",
        " login ",
        group=1,
    ),
    _own("password", r"\blogin\s+\S{1,80}\s+password\s+(\S{4,200})", "login", group=1),
    _own(
        "password",
        r"\bidentified\s+by\s+(?:password\s+)?'([^'\n]{4,200})'",
        "identified",
        group=1,
        flags=re.ASCII | re.I,
    ),
    _own(
        "url-password",
        r"://[^\s:/@\"'<>]{0,200}:([^\s/@\"'<>]{1,200})@[A-Za-z0-9._\[{$-]",
        "://",
        group=1,
    ),
)
"""What `detect-secrets` 1.5 lacks, or finds only in part."""

_GITHUB = ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")
_GITLAB = (
    "glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "gr1348941", "glcbt-", "glimt-", "glptt-",
    "glagent-", "gloas-",
)  # fmt: skip
_LIBRARY: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("aws.AWSKeyDetector", "aws-key", "inner", ("akia", "asia", "a3t", "abia", "acca", "aws")),
    ("artifactory.ArtifactoryDetector", "artifactory-token", "whole", ("akc",)),
    ("azure_storage_key.AzureStorageKeyDetector", "azure-key", "whole", ("accountkey=",)),
    ("cloudant.CloudantDetector", "cloudant-key", "inner", ("cloudant",)),
    ("discord.DiscordBotTokenDetector", "discord-token", "whole", (".",)),
    ("github_token.GitHubTokenDetector", "github-token", "whole", _GITHUB),
    ("gitlab_token.GitLabTokenDetector", "gitlab-token", "whole", _GITLAB),
    ("mailchimp.MailchimpDetector", "mailchimp-key", "whole", ("-us",)),
    ("pypi_token.PypiTokenDetector", "pypi-token", "whole", ("pypi-",)),
    ("sendgrid.SendGridDetector", "sendgrid-key", "whole", ("sg.",)),
    ("slack.SlackDetector", "slack-token", "whole", ("xox", "hooks.slack.com")),
    ("softlayer.SoftlayerDetector", "softlayer-key", "inner", ("softlayer",)),
    ("square_oauth.SquareOAuthDetector", "square-secret", "whole", ("sq0csp-",)),
    ("stripe.StripeDetector", "stripe-key", "whole", ("k_live_",)),
    ("twilio.TwilioKeyDetector", "twilio-key", "whole", ("ac", "sk")),
)
"""Detector, kind, which part of a match is the secret, anchors.

Left out: public addresses (no secret), and those whose ground the rest of this package covers
more widely (basic authentication, Telegram, OpenAI, the npm and IBM assignments, JWT, the first
lines of keys).
"""


def spans(text: str, lowered: str) -> Iterator[Span]:
    """Every secret of a known form, the most telling form first; `lowered` is the text in lower
    case."""
    present = {
        number for anchor, numbers in _by_anchor() if anchor in lowered for number in numbers
    }
    for number in sorted(present):
        yield from all_forms()[number].spans(text)


@cache
def all_forms() -> tuple[Form, ...]:
    """Every form, the most telling first; imports `detect-secrets` at the first call."""
    return (*OWN, *(form for row in _LIBRARY for form in _from_library(*row)))


@cache
def _by_anchor() -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Every anchor once, with the places of its forms."""
    places: dict[str, list[int]] = {}
    for number, form in enumerate(all_forms()):
        for anchor in form.anchors:
            places.setdefault(anchor, []).append(number)
    return tuple((anchor, tuple(numbers)) for anchor, numbers in places.items())


def _from_library(path: str, kind: str, part: str, anchors: tuple[str, ...]) -> Iterator[Form]:
    module, name = path.split(".")
    with catch_warnings():
        # What its imports warn of would be a log line, which waits for these forms.
        simplefilter("ignore")
        detector = getattr(import_module(f"detect_secrets.plugins.{module}"), name)
    for pattern in detector.denylist:
        group = 1 if part == "inner" and pattern.groups else 0
        yield Form(kind, pattern, anchors, group)
