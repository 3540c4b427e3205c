#!/usr/bin/env bash
# Build the documentation site of this tree's version into site/VERSION, beside the versions that are there.
#
#   VENV   what requirements-release.lock installs: default .venv-release
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${VENV:-.venv-release}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
page=docs/index.html

# -W: a link that leads nowhere, a page that is in no contents, a docstring that cannot be read fail the build.
"$venv/bin/python" -m sphinx --builder html --fail-on-warning --keep-going --quiet \
    --conf-dir docs/_site --doctree-dir ".cache/docs/$version" . "site/$version"

# A reader without a way to the internet must see the same pages.
foreign=$(grep -rnoE '<(script|link|img|iframe)[^>]* (src|href)="(https?:)?//[^"]*"' "site/$version" --include='*.html' || true)
if [[ -n $foreign ]]; then
    printf 'These pages load something from another host:\n%s\n' "$foreign" >&2
    exit 1
fi

mapfile -t versions < <(find site -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort --version-sort --reverse)
printf 'const CRONS_VERSIONS = [%s];\n' "$(printf '"%s", ' "${versions[@]}" | sed 's/, $//')" >site/versions.js
for place in site "site/$version"; do
    target=$page
    [[ $place != site ]] || target=${versions[0]}/$page
    printf '<!doctype html>\n<title>crons</title>\n<meta http-equiv="refresh" content="0; url=%s">\n<a href="%s">Documentation of crons</a>\n' \
        "$target" "$target" >"$place/index.html"
done
echo "site/index.html: $(printf '%s ' "${versions[@]}")"
