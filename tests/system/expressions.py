"""Random template expressions and data, for the comparison with jinja2. Everything follows from the seed."""

WORDS = ["", "a", "b", "Hello World", "  pad  ", "x,y,,z", "line1\nline2\r\n\nline4", "héllo wörld", "日本語テキスト", "😀 smile",
         "<b>&\"quoted\" 'single'</b>", "tab\there", "UPPER lower", "12", "-3.5", " 42 ", "1_000", "0x1f", "<|im_start|>user",
         "back\\slash", "trailing \n", "nul\x00byte", "\u2028sep\xa0nbsp", "it's", "aXbXc", "%s and %d", "{} {0}", "a-b_c d"]
KEYS = ["role", "content", "name", "a", "b", "items", "value", "type", "Key"]
TESTS = ["string", "number", "mapping", "sequence", "iterable", "none", "defined", "undefined", "boolean", "true", "false",
         "integer", "float", "odd", "even", "lower", "upper", "divisibleby(3)", "eq(2)", "ne('a')", "gt(1)", "in([1, 'a'])",
         "callable"]
FILTERS = ["length", "trim", "string", "upper", "lower", "capitalize", "title", "tojson", "list", "first", "last", "int",
           "float", "abs", "sort", "unique | list", "reverse", "join", "join(', ')", "items | list", "dictsort", "sum", "max",
           "min", "default('dflt')", "default('dflt', true)", "replace('a', 'Z')", "replace('l', '')", "indent(2)",
           "indent(3, true, true)", "tojson(indent=2)", "tojson(ensure_ascii=true)", "tojson(sort_keys=true)",
           "tojson(separators=(',', ':'))", "batch(2) | list", "slice(3) | list", "map('string') | list",
           "map('length') | list", "map(attribute='a') | list", "map(attribute='a', default=0) | list", "select | list",
           "reject('none') | list", "select('string') | list", "selectattr('a') | list", "rejectattr('a', 'none') | list",
           "selectattr('a', 'eq', 1) | list", "groupby('a')", "truncate(7)", "truncate(7, true)", "truncate(9, false, '~', 0)",
           "wordcount", "round", "round(1)", "round(1, 'floor')", "e", "safe", "count", "center(12)", "format(1, 2)",
           "sort(reverse=true)", "sort(case_sensitive=true)", "sort(attribute='a')", "urlencode", "trim('a')", "int(5, 16)",
           "attr('a')", "reverse | list", "unique(attribute='a') | list", "max(attribute='a')"]
METHODS = ["upper()", "lower()", "strip()", "lstrip()", "rstrip()", "split()", "split(',')", "split(' ', 1)", "rsplit(None, 1)",
           "rsplit('X', 1)", "splitlines()", "splitlines(true)", "title()", "capitalize()", "swapcase()", "find('l')",
           "rfind('l')", "count('l')", "count('')", "startswith('a')", "endswith(('z', 'd'))", "replace('l', 'LL')",
           "replace('', '.')", "replace('l', '', 1)", "strip('ad ')", "isdigit()", "isalpha()", "isalnum()", "isspace()",
           "isupper()", "islower()", "zfill(8)", "ljust(8, '.')", "rjust(8)", "center(9, '*')", "partition('l')",
           "rpartition('l')", "removeprefix('He')", "removesuffix('ld')", "index('l')", "find('l', 3)", "find('', 2, 1)",
           "startswith('l', 2)", "join(['p', 'q'])", "get('a')", "get('zz', 'none')", "items() | list", "keys() | list",
           "values() | list", "copy()", "format(1, 2)", "content", "a", "name.foo", "index(1)", "count(1)", "find('é')"]

JOINS = ["", "(', ')", "(1)", "(none)"]
ROUNDS = ["abs", "round", "round(1)", "float", "int", "string | int", "round(2, 'ceil')"]
LIST_FILTERS = ["list", "reverse | list", "map('string') | list", "sort", "unique | list", "select | list", "map('string') | sort(reverse=true)", "batch(2, 0) | list", "slice(2) | list", "reject('none') | list", "map('upper') | list", "map('string') | map('length') | list"]
DICT_LISTS = ["items | list", "dictsort", "list", "dictsort(by='value')", "dictsort(reverse=true)"]
SPLITS = ["split()", "split('a')", "split('l', 1)", "rsplit(none, 1)", "rsplit('l', 1)", "splitlines()", "splitlines(true)", "partition('l')", "rpartition(' ')"]
OBJECTS = ["map(attribute='a') | list", "selectattr('a', 'eq', 1) | list", "rejectattr('a', 'gt', 1) | list", "groupby('a')", "sort(attribute='a')", "sort(attribute='b,a')", "map(attribute='b') | unique | list", "selectattr('b') | map(attribute='a') | list", "sort(attribute='b', reverse=true)"]


def data(rng, depth=0):
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind in (0, 1):
        return rng.choice(WORDS)
    if kind == 2:
        return rng.choice([0, 1, 2, 3, -1, -7, 10, 255, 100000])
    if kind == 3:
        return rng.choice([0.0, 1.0, -2.5, 0.1, 1e16, 1e-7, 3.14159, 123456.789, 1e22])
    if kind == 4:
        return rng.choice([True, False])
    if kind == 5:
        return None
    if kind == 6:
        if rng.random() < 0.5:  # of one kind, so that it can be sorted
            same = rng.randrange(3)
            n = rng.randrange(5)
            if same == 0:
                return [rng.choice(WORDS) for _ in range(n)]
            if same == 1:
                return [rng.randrange(-5, 6) for _ in range(n)]
            return [{"a": rng.choice([1, 2, 3]), "b": rng.choice(WORDS)} for _ in range(n)]
        return [data(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(KEYS): data(rng, depth + 1) for _ in range(rng.randrange(4))}


def variables(rng):
    """Names whose first letter tells their type: s, i, l, d; and some of any type."""
    v = {f"s{i}": rng.choice(WORDS) for i in range(3)}
    v.update({f"i{i}": rng.choice([0, 1, 2, 3, -1, -7, 10, 255, 2.5, -0.1, True]) for i in range(3)})
    v["l_words"] = [rng.choice(WORDS) for _ in range(rng.randrange(6))]
    v["l_numbers"] = [rng.randrange(-9, 10) for _ in range(rng.randrange(6))]
    v["l_objects"] = [{"a": rng.randrange(4), "b": rng.choice(WORDS)} for _ in range(rng.randrange(5))]
    v["d"] = {rng.choice(KEYS): rng.choice(WORDS) for _ in range(rng.randrange(5))}
    v["d_any"] = {rng.choice(KEYS + ["Ünï", "k y"]): data(rng, 1) for _ in range(rng.randrange(4))}
    v.update({n: data(rng) for n in "xyz"})
    return v


def literal(rng):
    return rng.choice(["1", "2", "0", "-3", "7", "2.5", "1e3", "'a'", "'l'", "''", "\"it's\"", "true", "false", "none", "[1, 2, 3]",
                       "['b', 'a']", "{'a': 1}", "(1, 'x')", "[]", "{}", "'\\n\\t\\u00e9'", "'a' 'b'", "range(4)", "missing",
                       "1_0", "0x1F", "()", "(5,)"])


def of_type(rng, names, kind, depth):
    """An expression that is most likely a str, int, list or dict: wild ones mostly end in errors."""
    def sub(k=None):
        return of_type(rng, names, k or kind, depth + 1)

    if rng.random() < 0.04:
        return expression(rng, names, depth + 1)
    if depth > 3:
        if kind == "str":
            return rng.choice([n for n in names if n[0] == "s"] + ["'lit'", "'a' 'b'", "''"])
        if kind == "int":
            return rng.choice([n for n in names if n[0] == "i"] + ["1", "3", "-2"])
        if kind == "list":
            return rng.choice([n for n in names if n[0] == "l"] + ["[3, 1, 2]", "['b', 'a', 'B']", "range(4)", "[]"])
        return rng.choice([n for n in names if n[0] == "d"] + ["{'a': 1, 'b': 'x'}", "{}"])
    if kind == "str":
        return rng.choice([
            lambda: f"({sub()}).{rng.choice(METHODS[:10] + METHODS[12:14] + METHODS[21:27] + METHODS[32:36])}",
            lambda: f"({sub()}) | {rng.choice(['trim', 'upper', 'lower', 'capitalize', 'title', 'string', 'indent(2)', 'e', 'safe', 'truncate(7)', 'truncate(9, true)', 'center(12)', 'urlencode', 'reverse', 'indent(3, true, true)'])}",
            lambda: f"(({sub()}) | replace({sub()}, {sub()}))",
            lambda: f"({sub()} {rng.choice(['+', '~'])} {sub()})",
            lambda: f"({sub()} ~ {sub(rng.choice(['int', 'list', 'dict']))})",
            lambda: f"({sub()} * {rng.randrange(-1, 4)})",
            lambda: f"(({sub()})[{rng.choice(['', '1', '-3', '2', '0'])}:{rng.choice(['', '5', '-1', '100'])}{rng.choice(['', ':2', ':-1', ':-3'])}])",
            lambda: f"(({sub(rng.choice(['list', 'dict', 'str', 'int']))}) | tojson{rng.choice(['', '(indent=2)', '(ensure_ascii=true)', '(indent=1, sort_keys=true)'])})",
            lambda: f"(({sub('list')}) | join{rng.choice(JOINS)})",
            lambda: f"('%s|%5s|%-4s|%r' % ({sub()}, {sub('int')}, {sub('int')}, {sub()}))",
            lambda: f"('{{}}-{{1}}-{{0}}'.format({sub()}, {sub('list')}) )".replace("{}-{1}", "{0}-{1}"),
            lambda: f"({sub()} if {sub('int')} else {sub()})",
        ])()
    if kind == "int":
        return rng.choice([
            lambda: f"({sub()} {rng.choice(['+', '-', '*', '//', '%', '/'])} {sub()})",
            lambda: f"(({sub(rng.choice(['str', 'list', 'dict']))}) | length)",
            lambda: f"(({sub('str')}).{rng.choice(['find', 'rfind', 'count'])}({sub('str')}))",
            lambda: f"({sub(rng.choice(['str', 'int']))} {rng.choice(['==', '!='])} {sub()})",
            lambda: f"({sub()} {rng.choice(['<', '<=', '>', '>='])} {sub()})",
            lambda: f"({sub('str')} {rng.choice(['<', '>=', 'in', 'not in', '=='])} {sub('str')})",
            lambda: f"({sub('list')} {rng.choice(['<', '==', '!='])} {sub('list')})",
            lambda: f"({sub('str')} {rng.choice(['in', 'not in'])} {sub(rng.choice(['list', 'dict']))})",
            lambda: f"({sub(rng.choice(['str', 'int', 'list', 'dict']))} is {rng.choice(['', 'not '])}{rng.choice(TESTS[:13])})",
            lambda: f"(({sub('str')}) | {rng.choice(['int', 'float', 'wordcount', 'int(7)', 'int(3, 16)', 'float(1)'])})",
            lambda: f"(({sub()}) | {rng.choice(ROUNDS)})",
            lambda: f"({sub()} {rng.choice(['and', 'or'])} {sub()})",
            lambda: rng.choice(["-", "+", "not "]) + f"({sub()})",
        ])()
    if kind == "list":
        return rng.choice([
            lambda: f"(({sub()}) | {rng.choice(LIST_FILTERS)})",
            lambda: f"({sub()} + {sub()})" if rng.random() < 0.7 else f"({sub()} * 2)",
            lambda: f"(({sub()})[{rng.choice(['', '1', '-2'])}:{rng.choice(['', '3', '-1'])}{rng.choice(['', ':2', ':-1'])}])",
            lambda: f"(({sub('dict')}) | {rng.choice(DICT_LISTS)})",
            lambda: f"(({sub('str')}).{rng.choice(SPLITS)})",
            lambda: f"(({sub('str')}) | list)",
            lambda: f"[{sub('str')}, {sub('int')}, {sub()}]",
            lambda: f"(l_objects | {rng.choice(OBJECTS)})",
        ])()
    return rng.choice([
        lambda: f"{{'a': {sub('int')}, {sub('str')}: {sub('list')}}}",
        lambda: f"dict({sub()}, z={sub('str')})",
        lambda: f"({sub()}).copy()",
        lambda: f"({sub()} if {sub('int')} else {sub()})",
        lambda: f"dict({sub()} | dictsort)",
    ])()


def expression(rng, names, depth=0):
    def sub():
        return expression(rng, names, depth + 1)

    if depth > 3 or rng.random() < 0.15:
        return rng.choice(names) if rng.random() < 0.7 else literal(rng)
    if rng.random() < 0.8:
        return of_type(rng, names, rng.choice(["str", "str", "int", "list", "dict"]), depth)
    kind = rng.randrange(16)
    if kind <= 3:
        return f"({sub()}) | {rng.choice(FILTERS)}"
    if kind <= 5:
        return f"({sub()}).{rng.choice(METHODS)}"
    if kind == 6:
        return f"({sub()} {rng.choice(['+', '-', '*', '/', '//', '%', '~', '**'])} {sub()})"
    if kind == 7:
        return f"({sub()} {rng.choice(['==', '!=', '<', '<=', '>', '>=', 'in', 'not in'])} {sub()})"
    if kind == 8:
        return f"({sub()} {rng.choice(['and', 'or'])} {sub()})"
    if kind == 9:
        return f"({sub()} if {sub()} else {sub()})"
    if kind == 10:
        return f"({sub()} is {rng.choice(['', 'not '])}{rng.choice(TESTS)})"
    if kind == 11:
        part = [rng.choice(["", str(rng.randrange(-4, 5))]) for _ in range(2)]
        step = rng.choice(["", "", ":2", ":-1", ":-2", ":3"])
        return f"({sub()})[{part[0]}:{part[1]}{step}]"
    if kind == 12:
        return f"({sub()})[{rng.choice(['0', '-1', '1', '2', repr(rng.choice(KEYS)), sub()])}]"
    if kind == 13:
        return rng.choice([f"not {sub()}", f"-{sub()}", f"[{sub()}, {sub()}]", f"{{'a': {sub()}, 'b': {sub()}}}", f"({sub()}, {sub()})"])
    if kind == 14:
        return f"({sub()}) | {rng.choice(FILTERS)} | {rng.choice(FILTERS)}"
    return f"({sub()} {rng.choice(['+', '~', '==', '-', '*'])} {sub()} {rng.choice(['+', '~', '-', '*', '<'])} {sub()})"


def template(rng, names):
    """A few statements around expressions."""
    def sub():
        return expression(rng, names, 2)

    parts = []
    for _ in range(rng.randrange(1, 5)):
        dash, dash2 = rng.choice(["", "-", "", "+"]), rng.choice(["", "-", ""])
        space = rng.choice(["", " ", "\n", "  \n  ", "x\n   "])
        kind = rng.randrange(9)
        if kind == 0:
            parts.append(f"{space}{{%{dash} if {sub()} {dash2}%}}{space}yes{space}{{%{dash} else %}}no{space}{{% endif {dash2}%}}{space}")
        elif kind == 1:
            parts.append(f"{{%{dash} for x in {sub()} {dash2}%}}{space}[{{{{ loop.index }}}}/{{{{ loop.first }}}}{{{{ loop.last }}}} {{{{ x }}}}]{{% else %}}empty{{% endfor %}}")
        elif kind == 2:
            parts.append(f"{space}{{% set v = {sub()} {dash2}%}}{space}{{{{ v }}}}")
        elif kind == 3:
            parts.append(f"{{% set ns = namespace(n=0) %}}{{% for x in range(3) %}}{{% set ns.n = ns.n + x %}}{{% set q = x %}}{{% endfor %}}{{{{ ns.n }}}}{{{{ q }}}}{{{{- {sub()} {dash2}}}}}{space}")
        elif kind == 4:
            parts.append(f"{{% macro m(p, q={sub()}) {dash2}%}}{space}<{{{{ p }}}}|{{{{ q }}}}>{{% endmacro %}}{{{{ m({sub()}) }}}}{{{{ m(1, q=2) }}}}")
        elif kind == 5:
            parts.append(f"{space}{{#{dash} comment {dash2}#}}{space}")
        elif kind == 6:
            parts.append(f"{{% set b %}}{space}{{{{ {sub()} }}}}{{% endset %}}{{{{ b | trim | length }}}}{{{{ b }}}}")
        elif kind == 7:
            parts.append(f"{{% for x in {sub()} if x %}}{{% if loop.index > 2 %}}{{% break %}}{{% endif %}}{{{{ loop.previtem }}}}{{{{ x }}}}{{{{ loop.nextitem }}}}{space}{{% endfor %}}")
        else:
            parts.append(f"{space}{{% filter upper %}}{{{{ {sub()} }}}}{space}{{% endfilter %}}")
    return "".join(parts)
