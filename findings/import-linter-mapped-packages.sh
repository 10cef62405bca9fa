#!/bin/sh
# import-linter leaves out packages that setuptools maps to another folder, and keeps its contract.
#
# One would guess: with `package_dir = shop.web = web`, `import shop.web` works, so a contract about
# `shop` covers `shop.web` too; or import-linter says that it cannot find that module.
#
# What happens: its graph (grimp) is made of the files below the folder of `shop` alone. The mapped
# package is not in it, and arrows to it are dropped. A `forbidden` contract that an import of
# `shop.web` breaks is reported as kept, with exit code 0 and no warning.
#
# Why it matters: projects with a mapped layout (here AI4OS's api/ at the top of the tree) get a
# green architecture check that looks at half of their code. A check that reads the mapping from
# setup.cfg, as `tests/test_architecture.py` does, sees all of it.
#
# Needs Python 3.10 or newer and a package index. Exits 1 where the behaviour has changed.
set -eu
version=${1:-2.5}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "import-linter==$version" \
    "grimp==3.20" "setuptools==80.9.0"
mkdir -p "$folder/project/shop" "$folder/project/web"
cd "$folder/project"
: > shop/__init__.py
: > web/__init__.py
echo 'PRICES = {"pear": 2}' > shop/core.py
# the core imports the face: what the contract forbids
echo 'from shop.web.page import TITLE' > shop/wrong.py
echo 'TITLE = "shop"' > web/page.py
echo 'import shop.core' > web/uses.py
cat > setup.cfg <<'CFG'
[metadata]
name = shop
version = 1

[options]
packages =
    shop
    shop.web
package_dir =
    shop = shop
    shop.web = web
CFG
cat > pyproject.toml <<'TOML'
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
TOML
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-build-isolation -e .
cat > .importlinter <<'INI'
[importlinter]
root_package = shop

[importlinter:contract:1]
name = the core does not know the web page
type = forbidden
source_modules = shop.wrong
forbidden_modules = shop.web
INI
echo "Python's view: shop.web.page.TITLE = $("$folder/venv/bin/python" -c \
    'from shop.web.page import TITLE; import shop.wrong; print(TITLE)')"
cat > show.py <<'PY'
import grimp

graph = grimp.build_graph("shop")
print("modules in the graph:", ", ".join(sorted(graph.modules)))
print("modules of shop.web in it:", sum(name.startswith("shop.web") for name in graph.modules))
PY
"$folder/venv/bin/python" show.py | tee graph.txt
set +e
"$folder/venv/bin/lint-imports" > lint.txt 2>&1
code=$?
set -e
cat lint.txt
echo "exit code of lint-imports: $code"
if [ "$code" = 0 ] && grep -q "1 kept, 0 broken" lint.txt && grep -q "in it: 0" graph.txt; then
    echo "as described: the broken contract is reported as kept"
else
    echo "the behaviour has changed"
    exit 1
fi
