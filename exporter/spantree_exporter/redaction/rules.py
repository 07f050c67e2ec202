"""What counts as a secret and what becomes of it: the rules that spantree has, and a person's own in a TOML file.

    key rules     by what an attribute, a field of JSON, a parameter or a header is called: its value is the secret
    text rules    by what a text looks like, wherever it stands

    mask          <redacted> in its place
    hash          <redacted:0123456789abcdef>, a keyed hash: equal secrets stay equal; none can be tried without the key
    drop          nothing in its place: an attribute goes as a whole

Every pattern is linear in the length of what it reads. Those here are written so (a repetition begins only where the
one before cannot, or is short); those of people are run by RE2, which has no other way.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from spantree_exporter.errors import ConfigError
from spantree_exporter.redaction.verify import has_digit_or_case, is_basic, is_card, is_no_word

Mode: TypeAlias = Literal["mask", "hash", "drop"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)

SETTING: Final = "SPANTREE_REDACT"
HASH_KEY: Final = "SPANTREE_REDACT_HASH_KEY"
OFF: Final = "off"
DEFAULT: Final = "default"

# A key that can be guessed makes the hashes of guessable secrets readable.
_HASH_KEY_CHARS: Final = 16
_OWN_RULES_MAX: Final = 200
_OWN_CHARS_MAX: Final = 1_000
_FILE_BYTES_MAX: Final = 2**20


@dataclass(frozen=True, slots=True)
class KeyRule:
    """A key is a secret's if it ends with `words`, or, with `whole`, if it is that; a regular expression, any case."""

    kind: str
    words: str
    mode: Mode | None = None
    whole: bool = False
    plural: bool = True


@dataclass(frozen=True, slots=True)
class TextRule:
    """A text is a secret where `pattern` matches, of which only the group `s` goes if there is one.

    `scan` is in RE2's syntax, over bytes, and matches within every text that `pattern` does: it may begin and end
    anywhere; one of `stems` is in all of them, in lower case (none: not known). `verify` has the last word, where there
    is one. `own`: a person's, for RE2.
    """

    kind: str
    pattern: str
    scan: str
    stems: tuple[bytes, ...] = ()
    mode: Mode | None = None
    mask: str = "<redacted>"
    verify: Callable[[str], bool] | None = None
    own: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """All that is applied. `keep` are keys (`*` for anything) that are never a secret's."""

    keys: tuple[KeyRule, ...]
    texts: tuple[TextRule, ...]
    keep: tuple[str, ...] = ()
    mode: Mode = "mask"
    hash_key: bytes = b""

    def mode_of(self, rule: KeyRule | TextRule) -> Mode:
        """What is done where `rule` says nothing else."""
        return rule.mode or self.mode


KEY_RULES: Final = (
    KeyRule(
        "password",
        r"pass(?:[._-]?word|wd|[._-]?phrase|code)|pwd|(?:db|user|root|admin|smtp|mail|ldap|ftp|redis|mysql|pg)[._-]?pass",
    ),
    KeyRule("secret", r"secret"),
    # Not "tokens": those are counted.
    KeyRule("token", r"token", plural=False),
    KeyRule("api_key", r"(?:api|subscription|license|auth)[._-]?key"),
    KeyRule("private_key", r"(?:access|private|secret|signing|encryption|decryption|account|ssh|master|hmac)[._-]?key"),
    KeyRule("credential", r"credential"),
    KeyRule("authorization", r"authorization"),
    KeyRule("cookie", r"cookie|jsessionid|phpsessid"),
    KeyRule("jwt", r"jwt"),
)
"""What keys end with; a plural, a number and some words may follow (key_words.py)."""

SESSION: Final = KeyRule("session", r"session[._-]?id")
"""For what leaves this machine: in spans it is what joins the turns of a conversation."""

# A place where a key of a well-known shape may begin: no word goes on, or the end of an escaped line end does.
_BEGINS: Final = r"(?:(?<![\w-])|(?<=\\[nrt]))"
# White space, and how JSON and texts within it have it.
_SPACE: Final = r"(?:\s|\\+[nrt])"
_SIGNATURES: Final = r"(?:sig|signature|awsaccesskeyid|x-(?:amz|goog)-(?:signature|credential|security-token))"

TEXT_RULES: Final = (
    TextRule(
        "url_credentials",
        r"""(?i):(?:\\{0,8}/){2}[^\s/:@?#"'<>\\]{0,200}:(?P<s>[^\s/?#"'<>]{1,4000})@""",
        r"""(?i::(?:\\*/){2}[^\s/?#"'<>@]*@)""",
        stems=(b"@",),
    ),
    TextRule(
        "url_credentials",
        r"""(?i)https?:(?:\\{0,8}/){2}(?P<s>[^\s/:@?#"'<>\\]{16,4000})@""",
        r"""(?i::(?:\\*/){2}[^\s/?#"'<>@]*@)""",
        stems=(b"@",),
    ),
    TextRule(
        "url_signature",
        rf"""(?i)[?&]{_SIGNATURES}=(?P<s>[^&\s#"'<>\\]+)""",
        rf"(?i:(?:[?&]|\\u0026){_SIGNATURES}=)",
        stems=(b"sig=", b"signature=", b"keyid=", b"-credential=", b"-token="),
    ),
    TextRule(
        "bearer",
        r"(?i)bearer(?:\s|\\[nrt]|%20){1,4}(?P<s>[\w.~+/=-]{8,})",
        r"(?i:bearer(?:\s|\\+[nrt]|%20)+[\w.~+/=-]{8})",
        stems=(b"bearer",),
        verify=is_no_word,
    ),
    TextRule(
        "basic",
        r"(?i)basic(?:\s|\\[nrt]|%20){1,4}(?P<s>[a-z0-9+/]{8,}={0,2})",
        r"(?i:basic(?:\s|\\+[nrt]|%20)+[a-z0-9+/]{8})",
        stems=(b"basic",),
        verify=is_basic,
    ),
    # As statements make accounts: CREATE USER a IDENTIFIED BY 'x', ALTER ROLE a PASSWORD 'x', PASSWORD('x').
    TextRule(
        "password",
        r"(?i)(?<![\w-])(?:password|identified(?:\s{1,8}with\s{1,8}[\w\"'`]{1,80})?\s{1,8}by(?:\s{1,8}password)?)"
        r"(?:\s{1,8}\(?|\()\s{0,8}[en]?'(?P<s>(?:[^'\\]|''|\\.){1,4000})",
        rf"(?i:(?:password|identified{_SPACE}+(?:with{_SPACE}+[\w\"'`\\]+{_SPACE}+)?by)(?:{_SPACE}+\(?|\(){_SPACE}*[en]?')",
        stems=(b"password", b"identified"),
    ),
    TextRule("jwt", _BEGINS + r"eyJ[\w-]{6,}+\.[\w-]{4,}+(?:\.[\w-]*+){0,3}", r"eyJ[\w-]{6}", (b"eyj",)),
    TextRule("aws_key", _BEGINS + r"(?:AKIA|ASIA)[0-9A-Z]{12,}", r"(?:AKIA|ASIA)[0-9A-Z]{12}", (b"akia", b"asia")),
    TextRule(
        "github_token",
        _BEGINS + r"(?:gh[pousr]_|github_pat_)\w{16,}|" + _BEGINS + r"glpat-[\w-]{16,}",
        r"gh[pousr]_\w{16}|github_pat_\w{16}|glpat-[\w-]{16}",
        stems=(b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-"),
    ),
    TextRule(
        "slack_token",
        _BEGINS + r"(?:xox[abeoprs]-|xapp-)[\w-]{8,}|hooks\.slack\.com/services/(?P<s>[\w/]{8,})",
        r"(?:xox[abeoprs]-|xapp-)[\w-]{8}|hooks\.slack\.com/services/[\w/]{8}",
        stems=(b"xox", b"xapp-", b"hooks.slack.com"),
    ),
    # OpenAI, Anthropic, Stripe and those who do as they do.
    TextRule(
        "sk_key",
        _BEGINS + r"[srp]k[-_][\w-]{16,}",
        r"[srp]k[-_][\w-]{16}",
        stems=(b"sk-", b"sk_", b"rk-", b"rk_", b"pk-", b"pk_"),
        verify=has_digit_or_case,
    ),
    TextRule(
        "google_key",
        _BEGINS + r"(?:AIza[\w-]{30,}|ya29\.[\w-]{20,})",
        r"AIza[\w-]{30}|ya29\.[\w-]{20}",
        stems=(b"aiza", b"ya29."),
    ),
    TextRule(
        "service_key",
        _BEGINS + r"(?:hf_|npm_|lin_api_|glsa_|whsec_|sntrys_|dop_v1_|shp(?:at|ca|pa|ss)_|spt_)\w[\w+/=-]{15,}|"
        + _BEGINS + r"pypi-[\w-]{40,}|" + _BEGINS + r"SG\.[\w-]{16,}\.[\w-]{16,}|"
        + _BEGINS + r"AGE-SECRET-KEY-1[0-9A-Z]{20,}",
        r"(?:hf_|npm_|lin_api_|glsa_|whsec_|sntrys_|dop_v1_|shp(?:at|ca|pa|ss)_|spt_)\w[\w+/=-]{15}"
        r"|pypi-[\w-]{40}|SG\.[\w-]{16}|AGE-SECRET-KEY-1",
        stems=(
            b"hf_", b"npm_", b"lin_api_", b"glsa_", b"whsec_", b"sntrys_", b"dop_v1_", b"shp", b"spt_", b"pypi-",
            b"sg.", b"age-secret-key-1",
        ),
        verify=has_digit_or_case,
    ),
)  # fmt: skip
"""Besides these: private keys in PEM, and key and value in one text (text.py)."""

PEM: Final = TextRule(
    "pem", r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY", r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY", (b"private key",)
)
CARD: Final = TextRule("card", r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.])", r"[0-9](?:[ -]?[0-9]){12}", verify=is_card)
EMAIL: Final = TextRule(
    "email",
    r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}",
    r"[\w.+-]@[\w-]+\.[\w-]",
    stems=(b"@",),
    mask="<email>",
)
NUMBER: Final = TextRule("number", r"\b\d(?:[ -]?\d){12,18}\b", r"[0-9](?:[ -]?[0-9]){12}", mask="<number>")
"""Cards and accounts, for what leaves this machine."""

DEFAULT_RULES: Final = Rules(KEY_RULES, (PEM, *TEXT_RULES))
LEAVING_RULES: Final = Rules((*KEY_RULES, SESSION), (PEM, *TEXT_RULES, EMAIL, NUMBER))
"""For what is sent to a service of somebody else's."""

KINDS: Final = tuple(dict.fromkeys(rule.kind for rule in (*KEY_RULES, PEM, *TEXT_RULES, CARD, EMAIL)))


def rules_of(setting: str, hash_key: str = "") -> Rules | None:
    """The rules that SPANTREE_REDACT and SPANTREE_REDACT_HASH_KEY ask for; None for "off".

    Raises ConfigError with every fault of a file at once.
    """
    setting = setting.strip()
    if setting.lower() == OFF:
        return None
    key = hash_key.encode()
    if hash_key and len(hash_key) < _HASH_KEY_CHARS:
        raise ConfigError([f"{HASH_KEY} has {len(hash_key)} characters; give {_HASH_KEY_CHARS} or more, at random"])
    if setting.lower() in ("", DEFAULT):
        return replace(DEFAULT_RULES, hash_key=key)
    return _from_file(Path(setting), key)


def _from_file(path: Path, hash_key: bytes) -> Rules:
    try:
        if path.stat().st_size > _FILE_BYTES_MAX:
            raise ConfigError([f"{path} of {SETTING} is larger than {_FILE_BYTES_MAX} bytes"])
        told = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(
            [f'{SETTING} is "{path}", which cannot be read ({error.strerror}); give off, default or a file of rules']
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path} of {SETTING} is no TOML: {error}"]) from error
    return rules_from(told, hash_key, str(path))


def rules_from(told: Mapping[str, Any], hash_key: bytes = b"", where: str = "the rules of redaction") -> Rules:
    """The rules that a file says. Raises ConfigError with every fault at once."""
    reader = _Reader(dict(told), where)
    mode = reader.mode(reader.told, "the file") or "mask"
    with_defaults = reader.flag("defaults", True)
    extra = [rule for name, rule in (("cards", CARD), ("emails", EMAIL)) if reader.flag(name, False)]
    without = set(reader.texts("without"))
    if unknown := sorted(without - set(KINDS)):
        reader.fault(f'without names "{", ".join(unknown)}"; there are {", ".join(KINDS)}')
    keep = reader.texts("keep")
    keys = tuple(rule for rule in KEY_RULES if with_defaults and rule.kind not in without)
    texts = tuple(rule for rule in (PEM, *TEXT_RULES) if with_defaults and rule.kind not in without)
    own_keys, own_texts = reader.own_keys(), reader.own_texts()
    reader.no_more()
    rules = Rules((*own_keys, *keys), (*texts, *extra, *own_texts), tuple(keep), mode, hash_key)
    modes = [rules.mode_of(rule) for rule in rules.keys] + [rules.mode_of(rule) for rule in rules.texts]
    if not hash_key and "hash" in modes:
        reader.fault(f"a mode is hash and {HASH_KEY} is not set; give it {_HASH_KEY_CHARS} random characters or more")
    if reader.faults:
        raise ConfigError(reader.faults)
    return rules


class _Reader:
    """What a file says, taken out one by one; what is left at the end is a mistake."""

    def __init__(self, told: dict[str, Any], where: str) -> None:
        self.told = told
        self.faults: list[str] = []
        self._where = where

    def fault(self, text: str) -> None:
        self.faults.append(f"{self._where}: {text}")

    def mode(self, told: dict[str, Any], what: str) -> Mode | None:
        given = told.pop("mode", None)
        if given is None:
            return None
        for mode in MODES:
            if given == mode:
                return mode
        self.fault(f'the mode of {what} is "{given}"; give {", ".join(MODES)}')
        return None

    def flag(self, name: str, default: bool) -> bool:
        given = self.told.pop(name, default)
        if not isinstance(given, bool):
            self.fault(f"{name} is {given!r}; give true or false")
            return default
        return given

    def texts(self, name: str) -> list[str]:
        given = self.told.pop(name, [])
        if not isinstance(given, list) or not all(isinstance(one, str) and one for one in given):
            self.fault(f"{name} is {given!r}; give a list of texts")
            return []
        return given

    def own_keys(self) -> list[KeyRule]:
        found = []
        for name, match, mode in self._own("key"):
            words = "".join("[\\w.-]{0,60}" if part == "*" else _literal(part) for part in _split(match))
            found.append(KeyRule(name, words, mode, whole=True))
        return found

    def own_texts(self) -> list[TextRule]:
        from spantree_exporter.redaction.linear import pattern_fault, without_places

        found = []
        for name, match, mode in self._own("pattern"):
            if fault := pattern_fault(match):
                self.fault(f'the pattern "{name}" {fault}')
            else:
                found.append(TextRule(name, match, without_places(match), mode=mode, own=True))
        return found

    def _own(self, table: str) -> list[tuple[str, str, Mode | None]]:
        given = self.told.pop(table, [])
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            self.fault(f"{table} is no list of tables; write [[{table}]]")
            return []
        if len(given) > _OWN_RULES_MAX:
            self.fault(f"{len(given)} rules of [[{table}]]; at most {_OWN_RULES_MAX} are taken")
            return []
        found = []
        for one in given:
            entry = dict(one)
            name, match = entry.pop("name", None), entry.pop("match", None)
            mode = self.mode(entry, f"[[{table}]] {name}")
            if not isinstance(name, str) or not name.replace("_", "").isalnum() or len(name) > 40:
                self.fault(f"a name of [[{table}]] is {name!r}; give letters, digits and _")
            elif not isinstance(match, str) or not match.strip("* ") or len(match) > _OWN_CHARS_MAX:
                self.fault(f"match of [[{table}]] {name} is {str(match)[:40]!r}; give a text of up to 1000 characters")
            elif entry:
                self.fault(f"[[{table}]] {name} has {', '.join(entry)}; there are name, match, mode")
            else:
                found.append((name, match, mode))
        return found

    def no_more(self) -> None:
        if self.told:
            self.fault(
                f"{', '.join(self.told)} is not known; there are mode, defaults, cards, emails, without, keep, "
                "[[key]], [[pattern]]"
            )


def _split(glob: str) -> list[str]:
    return [part for piece in glob.replace("*", "\x00*\x00").split("\x00") if (part := piece)]


def _literal(text: str) -> str:
    # For Python's `re` and RE2, over the bytes of UTF-8.
    return "".join(
        chr(one) if (chr(one).isalnum() and one < 128) or one == ord("_") else f"\\x{one:02x}" for one in text.encode()
    )
