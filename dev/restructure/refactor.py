"""refactor.py ROOT MAP [--write]: move, merge and rename modules and top-level names of ci_buildx by a map.

MAP lines:  mod OLD NEW          (short names without ci_buildx.; several OLD of one NEW are merged in this order)
            doc NEW text...      (docstring of a merged module)
            name OLDMOD:OLD NEW  (top-level name; OLDMOD in old coordinates)
"""
import sys, pathlib, collections, re, subprocess
import libcst as cst
from libcst.metadata import MetadataWrapper, ScopeProvider, ImportAssignment, GlobalScope, QualifiedNameProvider, ParentNodeProvider, Assignment, ClassScope

P = "ci_buildx."
root = pathlib.Path(sys.argv[1]); mapfile = sys.argv[2]; WRITE = "--write" in sys.argv
modmap = {}; order = collections.defaultdict(list); docs = {}; names = {}
for raw in open(mapfile):
    line = raw.split("  #")[0].strip()
    if not line or line.startswith("#"): continue
    w = line.split(None, 2)
    if w[0] == "mod": modmap[P + w[1]] = P + w[2].strip(); order[P + w[2].strip()].append(P + w[1])
    elif w[0] == "doc": docs[P + w[1]] = w[2]
    elif w[0] == "name":
        m, n = w[1].rsplit(":", 1); names[(P + m, n)] = w[2].strip()
    elif w[0] == "data": pass
    else: sys.exit(f"map: {raw}")

files = {}
modules = {}
for d in ("ci_buildx", "tests", "bench", "bundle", "devcluster"):
    for p in sorted((root / d).rglob("*.py")):
        rel = p.relative_to(root)
        m = ".".join(rel.with_suffix("").parts)
        m = m.removesuffix(".__init__")
        files[m] = p
        if d == "ci_buildx": modules[m] = p
errors = []
for m in modmap:
    if m not in modules: errors.append(f"map: no module {m}")
def newmod(m): return modmap.get(m, m)
merged = {n for n, o in order.items()}
def newname(m, n): return names.get((m, n), n)

def last(m): return m.rsplit(".", 1)[1]
PACKAGES = {m for m in modules if modules[m].name == "__init__.py"}

def bound_names(tree):
    out = set()
    class V(cst.CSTVisitor):
        def visit_Name(self, node): out.add(node.value)
    tree.visit(V()); return out

def dotted(s):
    parts = s.split("."); e = cst.Name(parts[0])
    for x in parts[1:]: e = cst.Attribute(e, cst.Name(x))
    return e

results = {}
def process(m, path):
    src = path.read_text()
    if "ci_buildx" not in src and m not in modules: return src, None
    tree = cst.parse_module(src)
    w = MetadataWrapper(tree, unsafe_skip_copy=True)
    scopes = w.resolve(ScopeProvider)
    parents = w.resolve(ParentNodeProvider)
    here = newmod(m) if m in modules else None
    allscopes = {s for s in scopes.values() if s is not None}
    glob = next(s for s in allscopes if isinstance(s, GlobalScope))
    rename = {}      # id(Name node) -> new name str
    attrs = {}       # id(Attribute node) -> replacement expr
    strings = {}     # id(SimpleString) -> new
    # own top-level names
    if m in modules:
        for a in glob.assignments:
            if isinstance(a, ImportAssignment) or not isinstance(a, Assignment): continue
            nn = newname(m, a.name)
            if nn != a.name:
                node = a.node
                if isinstance(node, (cst.FunctionDef, cst.ClassDef)): rename[id(node.name)] = nn
                elif isinstance(node, cst.Name): rename[id(node)] = nn
                else:
                    errors.append(f"{m}: cannot rename {a.name} at {type(node).__name__}")
                for acc in a.references:
                    n = acc.node
                    while isinstance(n, cst.Attribute): n = n.value
                    if isinstance(n, cst.Name): rename[id(n)] = nn
    words = bound_names(tree)
    # imports: collect per ImportFrom node new statements
    newimports = {}   # id(ImportFrom) -> list of (module, name, asname)
    aliasfor = {}     # new module -> alias in this file
    def alias(N, asname):
        if asname: return asname
        if N in aliasfor: return aliasfor[N]
        a = last(N)
        taken = set(aliasfor.values()) | othernames
        if a in taken:
            p2 = N.split(".")
            a = f"{p2[-2]}_{p2[-1]}"
        aliasfor[N] = a
        return a
    # names that are not module bindings of ours (params, locals, functions, symbols): used to see collisions
    modbindings = set(); symbolnames = set()
    infos = []
    for s in allscopes:
        for a in s.assignments:
            if isinstance(a, ImportAssignment) and isinstance(a.node, cst.ImportFrom) and a.node.module is not None:
                mod = cst.parse_module("").code_for_node(a.node.module)
                if not mod.startswith("ci_buildx"): symbolnames.add(a.name); continue
                for al in a.node.names:
                    asname = al.asname.name.value if al.asname else None
                    local = asname or al.name.value
                    if local != a.name: continue
                    full = f"{mod}.{al.name.value}"
                    if full in modules: modbindings.add(local); infos.append((s, a, al, "mod", full, None, asname))
                    else: infos.append((s, a, al, "sym", mod, al.name.value, asname))
            else:
                symbolnames.add(a.name)
    othernames = symbolnames | {newname(x[4], x[5]) for x in infos if x[3] == "sym" and not x[6]}
    if m in modules:
        # all top-level names of merged partner modules count too
        for partner in order.get(here, []):
            if partner != m and partner in toplevel: othernames |= {newname(partner, n) for n in toplevel[partner]}
    seen = set()
    for s, a, al, kind, mod, sym, asname in infos:
        node = a.node
        if kind == "mod":
            N = newmod(mod)
            inside = N == here
            refs = list(a.references)
            needalias = False
            for acc in refs:
                n = acc.node
                name = n
                while isinstance(name, cst.Attribute): name = name.value
                par = parents.get(name)
                if isinstance(par, cst.Attribute) and par.value is name:
                    x = par.attr.value
                    xx = newname(mod, x)
                    if inside: attrs[id(par)] = cst.Name(xx)
                    else:
                        needalias = True
                        attrs[id(par)] = cst.Attribute(cst.Name(alias(N, asname)), cst.Name(xx))
                else:
                    if inside: errors.append(f"{m}: bare module {mod} used inside {N}")
                    else: rename[id(name)] = alias(N, asname); needalias = True
                    # setattr(module, "name", ...)
                    arg = par
                    if isinstance(arg, cst.Arg):
                        call = parents.get(arg)
                        if isinstance(call, cst.Call) and len(call.args) > 1 and call.args[0] is arg and isinstance(call.args[1].value, cst.SimpleString):
                            t = call.args[1].value; v = t.evaluated_value
                            if newname(mod, v) != v: strings[id(t)] = f'"{newname(mod, v)}"'
            if not inside:
                al_ = alias(N, asname)
                pkg, l = N.rsplit(".", 1)
                newimports.setdefault(id(node), []).append((pkg, l, al_ if al_ != l else None))
            else: newimports.setdefault(id(node), [])
        else:
            N = newmod(mod); ss = newname(mod, sym); inside = N == here and m in modules
            for acc in a.references:
                n = acc.node
                while isinstance(n, cst.Attribute): n = n.value
                if isinstance(n, cst.Name):
                    target = ss if inside or not asname else asname
                    if n.value != target: rename[id(n)] = target
            if not inside: newimports.setdefault(id(node), []).append((N, ss, asname))
            else: newimports.setdefault(id(node), [])

    # class names inside quoted annotations and __all__
    texts_ = {}
    if m in modules:
        for n_ in toplevel[m]:
            if newname(m, n_) != n_: texts_[n_] = newname(m, n_)
    for s_, a_, al_, kind_, mod_, sym_, as_ in infos:
        if kind_ == "sym" and not as_ and newname(mod_, sym_) != sym_: texts_[sym_] = newname(mod_, sym_)
    class S(cst.CSTVisitor):
        depth = 0
        def gen(self, n): return isinstance(n.value, cst.Name) and (n.value.value in ("list","dict","tuple","type","set","frozenset") or n.value.value[:1].isupper())
        def visit_Subscript(self, n): self.depth += self.gen(n)
        def leave_Subscript(self, n): self.depth -= self.gen(n)
        def visit_Annotation(self, n): self.depth += 1; self.ann += 1
        def leave_Annotation(self, n): self.depth -= 1; self.ann -= 1
        def visit_AnnAssign(self, n): self.depth += 1
        def leave_AnnAssign(self, n): self.depth -= 1
        def visit_Call(self, n):
            if isinstance(n.func, cst.Name) and n.func.value in ("cast", "TypeVar"): self.depth += 1
        def leave_Call(self, n):
            if isinstance(n.func, cst.Name) and n.func.value in ("cast", "TypeVar"): self.depth -= 1
        ann = 0
        def visit_Name(self, n):
            if self.ann and n.value in texts_ and n.value.lstrip("_")[:1].isupper() and id(n) not in rename and not isinstance(parents.get(n), cst.Attribute): rename[id(n)] = texts_[n.value]
        def visit_Assign(self, n):
            t = n.targets[0].target
            if isinstance(t, cst.Name) and t.value == "__all__": self.depth += 100
        def leave_Assign(self, n):
            t = n.targets[0].target
            if isinstance(t, cst.Name) and t.value == "__all__": self.depth -= 100
        def visit_SimpleString(self, n):
            if id(n) in strings or n.prefix: return
            v = n.evaluated_value
            if not isinstance(v, str) or not re.fullmatch(r"[\w\[\], |.]+", v): return
            parts = re.findall(r"\w+", v)
            if not any(p in texts_ for p in parts): return
            if self.depth >= 100 or (self.depth and any(p in texts_ and p.lstrip("_")[:1].isupper() for p in parts)):
                strings[id(n)] = '"' + re.sub(r"\w+", lambda q: texts_.get(q.group(0), q.group(0)), v) + '"'
    w.module.visit(S())
    topimports = set()
    for st in w.module.body:
        if isinstance(st, cst.SimpleStatementLine):
            for b in st.body:
                if id(b) in newimports: topimports |= set(newimports[id(b)])
    for key, lst in newimports.items():
        pass
    def is_top(line): return isinstance(parents.get(line), cst.Module)
    class T(cst.CSTTransformer):
        def leave_Name(self, o, u):
            return u.with_changes(value=rename[id(o)]) if id(o) in rename else u
        def visit_Attribute(self, o): return id(o) not in attrs
        def leave_Attribute(self, o, u):
            if id(o) in attrs: return attrs[id(o)].with_changes(lpar=o.lpar, rpar=o.rpar)
            return u
        def visit_ImportFrom(self, o): return False
        def leave_SimpleString(self, o, u): return u.with_changes(value=strings[id(o)]) if id(o) in strings else u
        def leave_SimpleStatementLine(self, o, u):
            if len(o.body) == 1 and isinstance(o.body[0], cst.ImportFrom) and id(o.body[0]) in newimports:
                out = []
                for k, (pkg, n, asn) in enumerate(sorted(set(newimports[id(o.body[0])]) - (set() if is_top(o) else topimports), key=str)):
                    st = cst.ImportFrom(module=dotted(pkg), names=[cst.ImportAlias(cst.Name(n), asname=cst.AsName(cst.Name(asn)) if asn else None)])
                    out.append(cst.SimpleStatementLine([st], leading_lines=u.leading_lines if k == 0 else []))
                return cst.FlattenSentinel(out) if out else cst.RemoveFromParent()
            return u
        def leave_IndentedBlock(self, o, u):
            if not u.body: return u.with_changes(body=[cst.SimpleStatementLine([cst.Pass()])])
            return u
        def leave_If(self, o, u):
            if isinstance(o.test, cst.Name) and o.test.value == "TYPE_CHECKING" and all(isinstance(b, cst.SimpleStatementLine) and len(b.body)==1 and isinstance(b.body[0], cst.Pass) for b in u.body.body):
                return cst.RemoveFromParent()
            return u
    new = w.module.visit(T())
    code = new.code
    own = {n_: newname(m, n_) for n_ in toplevel[m] if newname(m, n_) != n_} if m in modules else {}
    if own: code = re.sub(r"(:(?:func|class|data|exc):`)(" + "|".join(map(re.escape, own)) + r")`", lambda q: q.group(1) + own[q.group(2)] + "`", code)
    return code, new

# first pass: toplevel names
toplevel = {}
import ast
for m, p in modules.items():
    t = ast.parse(p.read_text()); s = set()
    for n in t.body:
        if isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)): s.add(n.name)
        elif isinstance(n, (ast.Assign, ast.AnnAssign)):
            for q in (n.targets if isinstance(n, ast.Assign) else [n.target]):
                for z in ast.walk(q):
                    if isinstance(z, ast.Name): s.add(z.id)
    toplevel[m] = s
for (m, n), v in names.items():
    if m not in toplevel: errors.append(f"name: no module {m}")
    elif n not in toplevel[m]: errors.append(f"name: {m} has no {n}")
for N, olds in order.items():
    seen = {}
    for o in olds:
        for n in toplevel.get(o, ()):
            f = newname(o, n)
            if f in seen and seen[f] != o: errors.append(f"conflict in {N}: {f} of {seen[f]} and {o}")
            seen[f] = o
if "--check" in sys.argv:
    print("\n".join(errors) or "map ok"); sys.exit(bool(errors))

out = {}
for m, p in files.items():
    code, _ = process(m, p)
    out[m] = code

def split_module(code):
    """(docstring, future, imports, typing imports, body) as texts."""
    t = ast.parse(code); lines = code.splitlines(keepends=True)
    doc = None; imports = []; typed = []; body = []
    prev_end = 0
    for i, n in enumerate(t.body):
        start = min([n.lineno] + [d.lineno for d in getattr(n, "decorator_list", [])])
        text = "".join(lines[prev_end:n.end_lineno]); prev_end = n.end_lineno
        if i == 0 and isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) and isinstance(n.value.value, str): doc = n.value.value
        elif isinstance(n, ast.ImportFrom) and n.module == "__future__": pass
        elif isinstance(n, (ast.Import, ast.ImportFrom)): imports.append(text.strip("\n"))
        elif isinstance(n, ast.If) and isinstance(n.test, ast.Name) and n.test.id == "TYPE_CHECKING" and all(isinstance(b, (ast.Import, ast.ImportFrom)) for b in n.body):
            for b in n.body: typed.append("".join(lines[b.lineno-1:b.end_lineno]).rstrip("\n"))
        else: body.append(text)
    tail = "".join(lines[prev_end:])
    return doc, imports, typed, "".join(body) + tail

final = {}
removed = set()
for m, code in out.items():
    if m in modules and m in modmap:
        N = newmod(m); removed.add(files[m])
        final.setdefault(N, []).append((order[N].index(m), m, code))
    else: pass
texts = {}
for N, parts in final.items():
    parts.sort()
    olds_here = [x[1] for x in parts]
    if len(parts) == 1:
        code = parts[0][2]
        if N in docs:
            d, i, t, b = split_module(code)
            code = code.replace(d, docs[N], 1) if d else code
        texts[N] = code; continue
    doc = None; imports = []; typed = []; bodies = []
    for _, m, code in parts:
        d, i, t, b = split_module(code)
        doc = doc or d; imports += i; typed += t; bodies.append(b.strip("\n"))
    top = set()
    for i in imports:
        for n in ast.parse(i.strip()).body:
            for a in n.names: top.add(a.asname or a.name)
    keep = []
    for t in typed:
        n = ast.parse(t.strip()).body[0]
        left = [a for a in n.names if (a.asname or a.name) not in top]
        if left: n.names = left; keep.append("    " + ast.unparse(n))
    if keep and not any("TYPE_CHECKING" in i for i in imports): imports.append("from typing import TYPE_CHECKING")
    code = f'"""{docs.get(N, doc)}"""\n\nfrom __future__ import annotations\n\n' + "\n".join(dict.fromkeys(imports)) + "\n\n"
    if keep: code += "if TYPE_CHECKING:\n" + "\n".join(dict.fromkeys(keep)) + "\n\n"
    code += "\n\n\n".join(b for b in bodies if b) + "\n"
    texts[N] = code
print("\n".join(errors))
if not WRITE: sys.exit(bool(errors))
for m, code in out.items():
    if not (m in modules and m in modmap):
        if files[m].read_text() != code: files[m].write_text(code)
for p in removed: p.unlink()
for N, code in texts.items():
    p = root / (N.replace(".", "/") + ".py")
    if (root / N.replace(".", "/")).is_dir(): p = root / N.replace(".", "/") / "__init__.py" if N in PACKAGES else p
    p.parent.mkdir(parents=True, exist_ok=True)
    q = p.parent
    while q != root / "ci_buildx":
        if not (q / "__init__.py").exists() and not (P[:-1] == q.name): (q / "__init__.py").write_text(docs.get(".".join(q.relative_to(root).parts), "") and f'"""{docs[".".join(q.relative_to(root).parts)]}"""\n')
        q = q.parent
    p.write_text(code)
# data files beside modules follow their package
for line in open(mapfile):
    w = line.split()
    if w and w[0] == "data":
        a, b = root / "ci_buildx" / w[1], root / "ci_buildx" / w[2]
        if a.exists(): b.parent.mkdir(parents=True, exist_ok=True); a.rename(b)
for d in sorted((root / "ci_buildx").rglob("*"), reverse=True):
    if d.is_dir() and d.name != "__pycache__":
        left = [x for x in d.iterdir() if x.name != "__pycache__"]
        if [x.name for x in left] == ["__init__.py"] and any(o.startswith(".".join(d.relative_to(root).parts) + ".") for o in modmap):
            left[0].unlink(); 
            import shutil; shutil.rmtree(d)
# texts elsewhere
pairs = sorted(((a, b) for a, b in modmap.items() if a != b), key=lambda x: -len(x[0]))
rx = re.compile(r"(?<![\w.])(" + "|".join(re.escape(a) for a, _ in pairs) + r")(?![\w])(?:\.(\w+))?") if pairs else None
rp = re.compile(r"(?<![\w])(" + "|".join(re.escape(a.replace(".", "/")) for a, _ in pairs) + r")\.py\b") if pairs else None
mm = dict(pairs)
def sub(mt):
    a, s = mt.group(1), mt.group(2)
    b = mm[a]
    return b + (f".{newname(a, s)}" if s else "")
tracked = subprocess.run(["git", "-C", str(root), "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True).stdout.split("\n")
for f in tracked:
    p = root / f
    if p.suffix not in (".py", ".md", ".toml", ".yml", ".yaml", ".js", ".proto", ".sh") and p.name not in ("Makefile", "release", "run"): continue
    if not p.is_file(): continue
    t = orig_ = p.read_text()
    if p.suffix == ".py":
        def fi(mt):
            mod_, ns = mt.group(1), mt.group(2)
            full = [x.strip() for x in ns.split(",")]
            out_ = []
            for x in full:
                if f"{mod_}.{x}" in modmap: out_.append((modmap[f"{mod_}.{x}"].rsplit(".",1)))
                else: out_.append([modmap.get(mod_, mod_), newname(mod_, x)])
            return "; ".join(f"from {a} import {b}" for a, b in out_)
        import ast as _ast
        real = set()
        for n_ in _ast.walk(_ast.parse(t)):
            if isinstance(n_, (_ast.Import, _ast.ImportFrom)): real |= set(range(n_.lineno, (n_.end_lineno or n_.lineno) + 1))
        t = "\n".join(l if i_ in real else re.sub(r"from (ci_buildx[\w.]*) import (\w+(?:, \w+)*)", fi, l) for i_, l in enumerate(t.split("\n"), 1))
        # only strings/comments: import statements are already new, and new names never equal a whole old dotted import there
        n = "\n".join(l if i_ in real else rx.sub(sub, l) for i_, l in enumerate(t.split("\n"), 1))
    else: n = rx.sub(sub, t)
    n = rp.sub(lambda mt: mm[mt.group(1).replace("/", ".")].replace(".", "/") + ".py", n)
    if n != orig_: p.write_text(n)
print("written")
