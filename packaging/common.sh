# What the scripts in this folder share; they source it.
#
# Owns: the version, the file names of packages, and the files every package is made of, which install.sh puts in place.
# Invariant: the same sources and the same binary make the same package, byte for byte.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -1)
# The time stamp of the files in a package: the day of the release.
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
    day=$(sed -n "s/^## \[$version\] - //p" "$root/CHANGELOG.md")
    SOURCE_DATE_EPOCH=$(date -u -d "${day:-1970-01-01}" +%s)
fi
export SOURCE_DATE_EPOCH

# How hard to compress, from 1 to 9.
LEVEL=${LEVEL:-9}

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

usage() {
    printf 'usage: %s\n' "$*" >&2
    exit 2
}

need() {
    command -v "$1" >/dev/null || fail "$1 is missing (Debian: apt-get install $2)"
}

# A folder that goes away with the script.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Fails unless a binary is a wsp of this version.
check_binary() {
    [[ -f $1 && -x $1 ]] || fail "no program at '$1'"
    local found
    found=$("$1" --version) || fail "'$1 --version' failed"
    [[ $found == "wsp $version" ]] || fail "'$1' is $found, but the sources are of $version"
}

# Prints the target that a binary was built for.
target_of() {
    "$1" version | sed -n 's/^target  *//p'
}

# Puts a binary with its man pages and completions below a prefix.
stage() {
    "$root/install.sh" --binary "$1" --prefix "$2" >"$scratch/install.log" || {
        cat "$scratch/install.log" >&2
        fail "install.sh failed"
    }
    chmod -R u=rwX,go=rX "$2"
}

# Prints the crates that a binary contains, with their licences, and the text of each licence once.
third_party() {
    local crates name number folder file digest rule at=0
    crates=$(cd "$root" && cargo tree --locked --edges normal --prefix none --format '{p} {l}' | sed 's/ (\*)$//' |
        grep -v '^wscat-plus ' | sort -u) || fail "cargo tree failed"
    printf 'wsp contains these crates, under these licences. The texts of the licences follow.\n\n%s\n' "$crates"
    local files=() owners=() order=()
    while read -r name number _; do
        for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$name-${number#v}"; do
            # Crates of that name may hold sources of C libraries in folders of their own.
            case $name in
            *-sys | *-src) set -- "$folder"/{,*/,*/*/}{LICEN[CS]E,COPYING,NOTICE}* ;;
            *) set -- "$folder"/{LICEN[CS]E,COPYING,NOTICE}* ;;
            esac
            for file in "$@"; do
                [[ -f $file ]] || continue
                files+=("$file")
                owners+=("$name")
            done
        done
    done <<<"$crates"
    ((${#files[@]} > 0)) || fail "the sources of the crates are missing: run 'cargo fetch --locked'"
    local -A texts=() users=()
    while read -r digest _; do
        [[ -n ${texts[$digest]:-} ]] || order+=("$digest")
        texts[$digest]=${files[at]}
        case ", ${users[$digest]:-}, " in
        *", ${owners[at]}, "*) ;;
        *) users[$digest]+="${users[$digest]:+, }${owners[at]}" ;;
        esac
        at=$((at + 1))
    done < <(sha256sum "${files[@]}")
    printf -v rule '%79s' ''
    for digest in "${order[@]}"; do
        printf '\n%s\n%s:\n\n' "${rule// /=}" "${users[$digest]}"
        cat "${texts[$digest]}"
    done
}

# Writes a folder below $scratch as a .tar.gz file.
pack() {
    tar --create --directory "$scratch" --sort=name --owner=0 --group=0 --numeric-owner \
        --mtime="@$SOURCE_DATE_EPOCH" "$1" | gzip "-${LEVEL}n" >"$2"
}
