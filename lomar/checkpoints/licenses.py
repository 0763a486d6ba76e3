"""Identifiers of licences that model cards on the Hugging Face Hub may have."""

import re
from difflib import get_close_matches

OTHER = 'other:'  # before the name of a licence that the hub does not list
NAMED = re.compile(rf'{OTHER}[a-z0-9][a-z0-9.+-]*')
# https://huggingface.co/docs/hub/repositories-licenses, without `unknown` and `other`.
LICENSES = frozenset(
    re.findall(
        r'\S+',
        """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m
    bigscience-bloom-rail-1.0 bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear
    bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0
    cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0
    cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
    creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2
    fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 grok2-community h-research
    intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3
    llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 open-mdw openrail openrail++ osl-3.0
    pddl postgresql unlicense wtfpl zlib
    """,
    )
)


def checked_license(text: str) -> str:
    """Return an identifier of the hub, or other:NAME, in lower case.

    Raises:
        ValueError: the text is neither.
    """
    name = text.strip().lower()
    if name in LICENSES or NAMED.fullmatch(name):
        return name
    near = get_close_matches(re.sub(r'[\s_]+', '-', name), sorted(LICENSES))
    hint = f'; similar: {", ".join(near)}' if near else ''
    raise ValueError(
        f'licence {text!r} found{hint}; allowed: an identifier of the Hugging Face Hub, such as '
        f'apache-2.0 (https://huggingface.co/docs/hub/repositories-licenses), or {OTHER}NAME'
    )


def license_entries(license: str) -> dict[str, str]:
    """Return the entries of a model card for an identifier, or for other:NAME."""
    if license.startswith(OTHER):
        return dict(license='other', license_name=license.removeprefix(OTHER))
    return dict(license=license)
