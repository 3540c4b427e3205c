"""Requests to GraphQL that ask for nothing and are made to cost: each must be refused at once and in few words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Make = Callable[[], bytes]


def _body(query: str, variables: Any = None, **more: Any) -> bytes:
    return json.dumps({"query": query, "variables": variables or {}, **more}).encode()


def _many(pattern: str, count: int) -> str:
    return " ".join(pattern.replace("%", str(number)) for number in range(count))


def _nested(opening: str, closing: str, levels: int) -> str:
    return opening * levels + closing * levels


_FILTER = "query ($f: CustomerFilter) { customers(filters: $f) { totalCount } }"
_LONG = "x" * 1_800

# Name → the body. What is small stays within the budget of strangers and is refused later than what is large.
DOCUMENTS: dict[str, Make] = {
    # input objects and lists
    "319 unknown filters": lambda: _body("{customers(filters:{%s}){totalCount}}" % _many("emai%:1", 319)),
    "9,000 unknown filters": lambda: _body("{customers(filters:{%s}){totalCount}}" % _many("emai%:1", 9_000)),
    "25 unknown filters": lambda: _body("{customers(filters:{%s}){totalCount}}" % _many("emai%:1", 25)),
    "25 wrong list items": lambda: _body("{orders(filters:{pk:{inList:[%s]}}){totalCount}}" % _many('"%"', 25)),
    "400 list items": lambda: _body("{orders(filters:{pk:{inList:[%s]}}){totalCount}}" % _many("1", 400)),
    "lists in lists": lambda: _body("{nodes(ids:%s){id}}" % _nested("[", "]", 100)),
    "lists in lists, without end": lambda: _body("{nodes(ids:%s){id}}" % _nested("[", "]", 900)),
    "filters in filters": lambda: _body(
        "{customers(filters:%s1%s){totalCount}}" % ("{AND:" * 24, "}" * 24)
    ),
    # fields, aliases, depth
    "490 equal fields": lambda: _body("{%s}" % _many("hello", 490)),
    "60 equal fields": lambda: _body("{%s}" % _many("hello", 60)),
    "40 unknown fields": lambda: _body("{%s}" % _many("helo%", 40)),
    "15 aliases that disagree": lambda: _body("{%s}" % _many("a:hello a:__typename", 7)),
    "aliases": lambda: _body("{%s}" % _many("a%:hello", 80)),
    "one endless alias": lambda: _body("{%s:customers{totalCount}}" % _LONG),
    "two endless unknown fields": lambda: _body("{%s %s}" % (_LONG[:900], _LONG[:900] + "y")),
    "three nodes without a right": lambda: _body("{%s}" % _many('node(id:"x%"){id}', 3)),
    "twelve refused fields": lambda: _body("{%s}" % _many('a%:customer(id:"x"){id}', 12)),
    "braces": lambda: _body(_nested("{a", "}", 30)),
    "braces without end": lambda: _body(_nested("{a", "}", 900)),
    "deep conflicts": lambda: _body("{%s %s}" % (_nested("a{b:c ", "}", 7), _nested("a{b:d ", "}", 7))),
    # fragments
    "a fragment bomb": lambda: _body(
        "{...F8}fragment F0 on Query{hello}" + "".join(
            f"fragment F{n} on Query{{...F{n - 1} ...F{n - 1}}}" for n in range(1, 9)
        )
    ),
    "fragments in a circle": lambda: _body(
        "{...F0}" + "".join(f"fragment F{n} on Query{{...F{(n + 1) % 9}}}" for n in range(9))
    ),
    "a fragment of itself": lambda: _body("{...F}fragment F on Query{...F ...F ...F ...F ...F}"),
    "80 fragments": lambda: _body("{hello}" + _many("fragment F% on Query{hello}", 80)),
    "fragments on unknown types": lambda: _body("{hello}" + _many("fragment F% on Qury%{a}", 9)),
    "unknown spreads": lambda: _body("{%s}" % _many("...F%", 60)),
    "80 inline fragments": lambda: _body("{%s}" % _many("...on Query{hello}", 45)),
    # directives, variables, operations
    "directives": lambda: _body("{hello %s}" % _many("@skip(if:false)", 40)),
    "25 unknown directives": lambda: _body("{hello %s}" % _many("@ski%", 25)),
    "160 unknown types": lambda: _body("query(%s){hello}" % _many("$a%:Custmer%", 160)),
    "25 unknown types": lambda: _body("query(%s){hello}" % _many("$a%:Custmer%", 25)),
    "25 variables nobody uses": lambda: _body("query(%s){hello}" % _many("$a%:Int", 25)),
    "100 operations": lambda: _body(_many("query Q%{hello}", 100), operationName="Q1"),
    "ten operations of one name": lambda: _body(_many("query Q{hello}", 10), operationName="Q"),
    "an operation that is not there": lambda: _body("query Q{hello}", operationName="x" * 3_000),
    "a list for an operation's name": lambda: _body("query Q{hello}", operationName=["Q"] * 700),
    "types defined": lambda: _body(_many("type T%{a:Int}", 10)),
    "unknown arguments": lambda: _body("{customers(%s){totalCount}}" % _many("firs%:1", 28)),
    "unknown enum values": lambda: _body(
        "{orders(filters:{status:{inList:[%s]}}){totalCount}}" % _many("PENDIN%", 24)
    ),
    "a type in lists in lists": lambda: _body(
        "query($n:%sInt%s){customers(first:$n){totalCount}}" % ("[" * 110, "]" * 110)
    ),
    "variables with deep defaults": lambda: _body("query(%s){hello}" % _many("$a%:[[[Int]]]=[[[1]]]", 9)),
    "a fragment and nothing else": lambda: _body("fragment F on Query{hello}"),
    "a subscription": lambda: _body("subscription{hello}"),
    # tokens
    "comments": lambda: _body("{hello}" + "#\n" * 900),
    "a comment": lambda: _body("{hello}#" + "x" * 9_000),
    "an endless number": lambda: _body("{customers(first:%s){totalCount}}" % ("9" * 1_900)),
    "an endless fraction": lambda: _body("{customers(first:1.%s){totalCount}}" % ("9" * 1_900)),
    "an endless exponent": lambda: _body("{customers(first:1e%s){totalCount}}" % ("9" * 1_900)),
    "an endless text": lambda: _body('{node(id:"%s"){id}}' % _LONG),
    "an endless block": lambda: _body('{node(id:"""%s"""){id}}' % ("\n x" * 600)),
    "a block of quotes": lambda: _body('{node(id:"""%s"""){id}}' % ('\\"""' * 450)),
    "escapes": lambda: _body('{node(id:"%s"){id}}' % ("\\u0041" * 320)),
    "escapes of half characters": lambda: _body('{node(id:"%s"){id}}' % ("\\ud800" * 320)),
    "a text without end": lambda: _body('{node(id:"%s' % _LONG),
    "what is no character": lambda: _body("{hello \x00\x01\ud800}"),
    "a document of 90,000 letters": lambda: _body("{%s}" % ("x" * 90_000)),
    # JSON
    "JSON in JSON": lambda: b"[" * 3_900,
    "a batch": lambda: b"[" + b",".join([_body("{hello}")] * 90) + b"]",
    "an endless number in JSON": lambda: (
        b'{"query":"query($n:Int){customers(first:$n){totalCount}}","variables":{"n":' + b"9" * 3_900 + b"}}"
    ),
    "an endless fraction in JSON": lambda: b'{"query":"{ordrs}","variables":{"a":0.' + b"9" * 3_900 + b"}}",
    "a document that is a number": lambda: b'{"query":' + b"7" * 3_900 + b"}",
    "a document that is a list": lambda: b'{"query":["{hello}"]}',
    "variables that are a list": lambda: _body("{hello}", ["x"] * 700),
    "blanks around the JSON": lambda: b" " * 3_900 + b"{]",
    "a number that is a whole world": lambda: b'{"query":"query($n:Int){customers(first:$n){totalCount}}","variables":'
    b'{"n":1e308}}',
    "the same key again and again": lambda: b"{" + b'"query":"{helo}",' * 200 + b'"query":"{helo}"}',
    # variables
    "a wrong variable, large": lambda: _body(_FILTER, {"f": {"email": {"exact": ["x" * 40] * 80}}}),
    "a variable with unknown fields": lambda: _body(_FILTER, {"f": {f"emai{n}": 1 for n in range(300)}}),
    "a variable with a deep value": lambda: b'{"query":"query($f:CustomerFilter){customers(filters:$f){totalCount}}",'
    b'"variables":{"f":' + b'{"AND":' * 400 + b"1" + b"}" * 400 + b"}}",
    "a text for a number": lambda: _body("query($n:Int){customers(first:$n){totalCount}}", {"n": "9" * 3_900}),
    "a list of wrong items": lambda: _body(
        "query($i:[ID!]!){nodes(ids:$i){id}}", {"i": [{"a": "b" * 20}] * 110}
    ),
    "half characters in variables": lambda: _body(
        "query($i:[ID!]!){nodes(ids:$i){id}}", {"i": ["\ud800" * 50] * 12}
    ),
    # what strangers may not ask
    "the schema": lambda: _body("{__schema{types{name fields{name type{name ofType{name ofType{name}}}}}}}"),
    "a page of everything": lambda: _body(
        "{customers(first:100){edges{node{id orders(first:50){edges{node{id items{edges{node{id}}}}}}}}}}"
    ),
    "a large mutation": lambda: _body(
        "mutation($i:BulkCreateCustomersInput!){bulkCreateCustomers(input:$i){created}}",
        {"i": {"customers": [{"name": "x", "email": "x@example.com"}] * 75}},
    ),
}  # fmt: skip
