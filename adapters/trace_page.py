"""A trace as one page of HTML that opens off line: nothing is loaded, nothing runs, everything is escaped."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any, Final

from broker.clock import ist, parse_time

Name = Callable[[str], str]
_STYLE: Final = """
:root {
  color-scheme: light; --ink: #1d2733; --soft: #5b6876; --line: #dde3ea;
  --good: #14683a; --bad: #a3161b; --warn: #7a5200;
}
body {
  font: 15px/1.5 system-ui, "Noto Sans", sans-serif; color: var(--ink);
  margin: 2rem auto; max-width: 80rem; padding: 0 1.5rem;
}
h1 { font-size: 1.6rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
code { font-size: .85em; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.verdict { border-left: .4rem solid; border-radius: .25rem; padding: .7rem 1rem; margin: 1.2rem 0; font-weight: 600; }
.good { color: var(--good); background: #e9f6ee; }
.bad { color: var(--bad); background: #fdecec; }
.warn { color: var(--warn); background: #fff6e0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .7rem .4rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); white-space: nowrap; }
.time, .entry, .event { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.bad, td.good, td.warn { padding-left: .5rem; white-space: nowrap; }
tr.fault td { background: #fdecec; }
@media print { body { margin: 0; max-width: none; } tr { break-inside: avoid; } }
"""


def page(said: Mapping[str, Any], name: Name) -> str:
    """The page of what ``casebridge trace --json`` says; ``name`` gives an agency's name."""
    digest = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    audit = said.get("audit")
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
        '<meta name="viewport" content="width=device-width"><meta name="referrer" content="no-referrer">',
        f"<title>Trace of case {escape(said['caseName'])}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>Case {escape(said['caseName'])}</h1>",
        f'<p class="soft">casebridge trace · reference <code>{escape(said["case"])}</code></p>',
        _verdict(said, audit),
        *(_audit(audit, name) if audit is not None else []),
        _messages(said["messages"], name),
        _roles(said["roles"], name),
        _grants(said["grants"], name),
        _findings(said.get("findings") or [], name),
        "</main></body></html>\n",
    ]
    return "\n".join(parts)


def _verdict(said: Mapping[str, Any], audit: Mapping[str, Any] | None) -> str:
    if audit is None:
        return _box("warn", "As one agency knows it. Records and proofs are told to auditors.")
    lines, log = audit["lines"], audit["log"]
    count = sum(line["fault"] is not None for line in lines) + len(said.get("findings") or [])
    if count:
        return _box(
            "bad", f"{count} {'thing' if count == 1 else 'things'} on this page must be asked about: see below."
        )
    if not audit["notarized"]:
        return _box("warn", "The audit topic is empty: no notary runs, so nothing is proved.")
    if log is None:
        return _box("warn", "Every signature verifies. Places in the log were not checked.")
    if not all(line["proof"] in ("proved", "-") for line in lines):
        return _box("warn", f"Every signature verifies; some lines are newer than {log['size']} entries.")
    signed = "Every line verifies: signed by its author and proved in"
    return _box("good", f"{signed} {log['origin']} at {log['size']} entries.")


def _box(kind: str, text: str) -> str:
    return f'<p class="verdict {kind}" role="status">{escape(text)}</p>'


def _audit(audit: Mapping[str, Any], name: Name) -> list[str]:
    log = audit["log"]
    said = "" if log is None else f'<p class="soft">Root of the tree: <code>{escape(log["root"])}</code></p>'
    rows = [_line(line, name) for line in audit["lines"]]
    readings = [
        (event, name(one["agency"]), one["compartment"], one["person"], one["ground"])
        for event, all_ in audit["couldRead"].items()
        for one in all_
    ]
    head = ("time (IST)", "what", "who", "of what, by whom, why", "event", "entry", "proof")
    return [
        "<h2>What the records say</h2>",
        said,
        _rows(head, rows),
        "<h2>Who could read what, by the disclosure ledgers</h2>",
        _table(("event", "agency", "compartment", "person", "ground"), readings),
    ]


def _line(line: Mapping[str, Any], name: Name) -> str:
    fault, entry = line["fault"], line["entry"]
    kind = "bad" if fault else "good" if line["proof"] == "proved" else "warn"
    cells = (
        ("time", _time(line["at"])),
        ("", line["what"]),
        ("", name(line["agency"]) if line["agency"] else "-"),
        ("", ", ".join(one for one in (line["words"], _reason(line), fault) if one)),
        ("event", (line["event"] or "-")[:18]),
        ("entry", "-" if entry is None else str(entry)),
        (kind, "does not verify" if fault else line["proof"]),
    )
    row = "".join(f'<td class="{name_}">{escape(text)}</td>' for name_, text in cells)
    return f'<tr class="fault">{row}</tr>' if fault else f"<tr>{row}</tr>"


def _reason(line: Mapping[str, Any]) -> str:
    """What was read of whom, by which post, for what purpose and on what ground."""
    if not line["compartments"]:
        return ""
    whose = " or ".join(one for one in line["persons"] if one != "-")
    what = ", ".join(line["compartments"]) + (f" of {whose}" if whose else "")
    ground = f", on the ground: {line['ground']}" if line["ground"] else ""
    return f"{what}, by {line['post']} for {line['purpose']}{ground}"


def _messages(messages: Sequence[Mapping[str, Any]], name: Name) -> str:
    rows = [
        (
            _time(one["acceptedAt"]),
            one["type"] if one["variant"] == "-" else f"{one['type']} ({one['variant']})",
            name(one["author"]),
            "+".join(one["sentAs"]),
            one["effect"],
            one["event"],
        )
        for one in messages
    ]
    return "<h2>Messages</h2>" + _table(("accepted (IST)", "message", "from", "as", "effect", "event"), rows)


def _roles(roles: Sequence[Mapping[str, Any]], name: Name) -> str:
    rows = [
        (one["role"], name(one["agency"]), one["person"] or "the case", "holds" if one["holds"] else "ended")
        for one in roles
    ]
    return "<h2>Roles</h2>" + _table(("role", "agency", "for", ""), rows)


def _grants(grants: Sequence[Mapping[str, Any]], name: Name) -> str:
    rows = [
        (
            name(one["by"]),
            name(one["to"]),
            ", ".join(one["compartments"]),
            _time(one["until"]),
            "live" if one["live"] else "ended",
        )
        for one in grants
    ]
    return "<h2>Grants</h2>" + _table(("by", "to", "what", "until (IST)", ""), rows)


def _findings(found: Sequence[Mapping[str, Any]], name: Name) -> str:
    if not found:
        return ""
    rows = [(str(one["check"]), one["finding"], name(one["agency"]), one["event"]) for one in found]
    return "<h2>What does not fit in the ledgers</h2>" + _table(("check", "finding", "ask", "event"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return _rows(head, ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows])


def _rows(head: Sequence[str], rows: Sequence[str]) -> str:
    if not rows:
        return '<p class="soft">None.</p>'
    heads = "".join(f'<th scope="col">{escape(one)}</th>' for one in head)
    return f"<div class='wide'><table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


def _time(text: str) -> str:
    return ist(parse_time(text))[:19]
