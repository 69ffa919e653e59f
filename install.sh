#!/bin/sh
# Builds wsp from this source tree and installs it, without root.
#
# Owns: finding the toolchain, choosing the system's OpenSSL or a built one, the release build, and the files below the
# prefix, which packaging/ asks it for. Leaves the tests to tests/run. Running it again is harmless; --uninstall removes
# what it put there, no more.
set -eu

main() {
    root=$(cd "$(dirname "$0")" && pwd)
    prefix=${PREFIX:-${HOME:-}/.local}
    features=
    choose_features=no
    uninstall=no
    binary=
    while [ $# -gt 0 ]; do
        case $1 in
        --prefix | --features | --binary)
            [ $# -ge 2 ] || usage_error "$1 needs a value"
            set_option "$1" "$2"
            shift
            ;;
        --prefix=* | --features=* | --binary=*) set_option "${1%%=*}" "${1#*=}" ;;
        --uninstall) uninstall=yes ;;
        -h | --help)
            help
            return
            ;;
        *) usage_error "unknown argument '$1'" ;;
        esac
        shift
    done
    case $prefix in
    /.local | '') usage_error "HOME is not set: say where to install with --prefix DIR" ;;
    /*) ;;
    *) prefix=$PWD/$prefix ;;
    esac
    if [ "$uninstall" = yes ]; then
        remove
        return
    fi
    if [ -n "$binary" ]; then
        built=$binary
    else
        check_tools
        choose_kafka
        choose_openssl
        build
    fi
    put_in_place
    round_trip
    say ""
    say "Installed: $prefix/bin/wsp"
    check_path
}

help() {
    cat <<'TEXT'
Builds wsp and installs it with its man pages and completions. Needs no root.

  ./install.sh                        into ~/.local
  ./install.sh --prefix /opt/wsp      elsewhere; PREFIX=/opt/wsp ./install.sh does the same
  ./install.sh --features ''          a lean build: none of the optional features
  ./install.sh --uninstall            removes what it installed

Options:
  --prefix DIR       where to install [default: $PREFIX, else ~/.local]
  --features LIST    build with these cargo features only, separated by commas [default: `kafka,nats,postgres,tui`];
                     `kafka`, `nats` and `postgres` are what relay can speak to, `tui` is the dashboard, and
                     `vendored` builds OpenSSL from source instead of using the system's
  --binary FILE      install this wsp instead of building one
  --uninstall        remove the files again, and nothing else
  -h, --help         this help
TEXT
}

say() {
    printf '%s\n' "$*"
}

fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

usage_error() {
    printf 'install.sh: %s\n' "$*" >&2
    printf "hint: './install.sh --help' lists the options\n" >&2
    exit 2
}

set_option() {
    case $1 in
    --prefix)
        [ -n "$2" ] || usage_error "--prefix needs a directory"
        prefix=$2
        ;;
    --features)
        features=$2
        choose_features=yes
        ;;
    --binary)
        if [ ! -f "$2" ] || [ ! -x "$2" ]; then
            usage_error "--binary needs a program, but '$2' cannot be run"
        fi
        binary=$2
        ;;
    esac
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# Names what is missing and how each system installs it. Newer systems package a Rust that is new enough; rustup has
# one for all of them.
missing() {
    printf 'install.sh: missing: %s\n' "$1" >&2
    cat >&2 <<'TEXT'
These commands install all that the build needs:
  Debian, Ubuntu:  sudo apt-get install rustup gcc g++ pkg-config libssl-dev perl make && rustup default stable
  Fedora:          sudo dnf install rust cargo gcc gcc-c++ pkgconf-pkg-config openssl-devel perl-core make
  Alpine:          sudo apk add rust cargo gcc g++ bash musl-dev pkgconf openssl-dev perl make
  Arch:            sudo pacman -S --needed rust base-devel openssl pkgconf perl
  macOS:           xcode-select --install; brew install rust
Where the packaged Rust is older than 1.90: https://rustup.rs
TEXT
    exit 1
}

check_tools() {
    if ! has cargo; then
        PATH=${CARGO_HOME:-${HOME:-}/.cargo}/bin:$PATH
        export PATH
    fi
    has cargo || missing "cargo and rustc, the Rust toolchain (1.90 or newer)"
    has rustc || missing "rustc, the Rust compiler (1.90 or newer)"
    # From the source tree, where a toolchain file would be heeded by the build too.
    version=$(cd "$root" && rustc --version | sed -n 's/^rustc \([0-9][0-9.]*\).*/\1/p')
    major=${version%%.*}
    minor=${version#*.}
    minor=${minor%%.*}
    if [ -z "$version" ] || [ "$major" -lt 1 ] || { [ "$major" -eq 1 ] && [ "$minor" -lt 90 ]; }; then
        missing "Rust 1.90 or newer (this is rustc ${version:-of an unknown version}; 'rustup update' may be enough)"
    fi
    has "${CC:-cc}" || missing "a C compiler (${CC:-cc})"
}

# librdkafka is built from source, for which C alone is not enough.
choose_kafka() {
    without=
    has "${CXX:-c++}" || has g++ || without="a C++ compiler"
    has make || without=${without:+$without and }make
    has bash || without=${without:+$without and }bash
    [ -n "$without" ] || return 0
    case $choose_features,$features, in
    yes,*kafka,*) missing "$without, to build librdkafka (or --features nats,postgres,tui, which does without Kafka)" ;;
    no,*)
        say "Kafka: left out, because $without is missing here; the rest is built"
        choose_features=yes
        features=nats,postgres,tui
        ;;
    esac
}

# Uses the system's OpenSSL where its headers are, else has cargo build one.
choose_openssl() {
    case ,$features, in
    *,vendored,*)
        say "OpenSSL: built from source, as asked"
        check_vendored
        return
        ;;
    esac
    if [ "$(uname -s)" = Darwin ]; then
        say "TLS: the one of macOS"
    elif [ -n "${OPENSSL_DIR:-}" ]; then
        say "OpenSSL: the one in OPENSSL_DIR, $OPENSSL_DIR"
    elif { has pkg-config || has pkgconf; } && "$(command -v pkg-config || command -v pkgconf)" --exists openssl; then
        say "OpenSSL: the system's"
    elif headers_without_pkg_config; then
        say "OpenSSL: the system's (found without pkg-config)"
    else
        say "OpenSSL: no headers of the system's were found, so it is built from source, which takes some minutes more"
        features=${features:+$features,}vendored
        check_vendored
    fi
}

# The build asks pkg-config for OpenSSL; where there is none, it is told what the compiler knows.
headers_without_pkg_config() {
    printf '#include <openssl/ssl.h>\n' | "${CC:-cc}" -E - >/dev/null 2>&1 || return 1
    library=$("${CC:-cc}" -print-file-name=libssl.so 2>/dev/null) || return 1
    case $library in
    /*) ;;
    *) return 1 ;;
    esac
    [ -d /usr/include/openssl ] || return 1
    OPENSSL_LIB_DIR=$(cd "$(dirname "$library")" && pwd)
    OPENSSL_INCLUDE_DIR=/usr/include
    export OPENSSL_LIB_DIR OPENSSL_INCLUDE_DIR
}

check_vendored() {
    has make || missing "make, to build OpenSSL (or the OpenSSL headers)"
    has perl || missing "perl, to build OpenSSL (or the OpenSSL headers)"
    perl -MFindBin -MIPC::Cmd -MFile::Compare -MFile::Copy -e 1 2>/dev/null ||
        missing "perl's standard modules, to build OpenSSL (or the OpenSSL headers)"
}

build() {
    target=${CARGO_TARGET_DIR:-$root/target}
    unset CARGO_BUILD_TARGET
    set -- build --release --locked --bin wsp --target-dir "$target"
    [ "$choose_features" = no ] || set -- "$@" --no-default-features
    [ -z "$features" ] || set -- "$@" --features "$features"
    say "Building: cargo $*"
    (cd "$root" && cargo "$@") || fail "the build failed; what cargo says is above"
    built=$target/release/wsp
    case $built in
    /*) ;;
    *) built=$root/$built ;;
    esac
}

# Where the things other than the binary go: source and target below the prefix, a pair a line.
other_files() {
    for page in "$root"/man/wsp*.1; do
        say "man/${page##*/} share/man/man1/${page##*/}"
    done
    say "completions/wsp.bash share/bash-completion/completions/wsp"
    say "completions/_wsp share/zsh/site-functions/_wsp"
    say "completions/wsp.fish share/fish/vendor_completions.d/wsp.fish"
    for name in wsp-alerts.yml wsp-dashboard.json; do
        say "src/observe/monitoring/$name share/wscat-plus/monitoring/$name"
    done
}

# Copies beside the target and renames, so that a running program or an interrupted copy does no harm.
put() {
    mkdir -p "$(dirname "$2")" || fail "cannot make $(dirname "$2")"
    new=$2.new.$$
    if ! { cp "$1" "$new" && chmod "$3" "$new" && mv -f "$new" "$2"; }; then
        rm -f "$new"
        fail "cannot write $2"
    fi
}

put_in_place() {
    put "$built" "$prefix/bin/wsp" 755
    other_files | while read -r from to; do
        put "$root/$from" "$prefix/$to" 644
    done
}

remove() {
    set -- "$prefix/bin/wsp"
    while read -r _ to; do
        set -- "$@" "$prefix/$to"
    done <<LIST
$(other_files)
LIST
    for file in "$@"; do
        if [ -e "$file" ]; then
            rm -f "$file" || fail "cannot remove $file"
            say "Removed: $file"
        fi
    done
    # These folders are of its own.
    rmdir "$prefix/share/wscat-plus/monitoring" "$prefix/share/wscat-plus" 2>/dev/null || :
}

# The installed program talks to itself on loopback.
round_trip() {
    wsp=$prefix/bin/wsp
    files=$(mktemp -d)
    server=
    trap 'end_round_trip' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    "$wsp" listen 127.0.0.1:0 --echo --port-file "$files/port" 2>"$files/log" &
    server=$!
    tries=0
    until [ -s "$files/port" ]; do
        tries=$((tries + 1))
        if [ $tries -gt 100 ] || ! kill -0 "$server" 2>/dev/null; then
            cat "$files/log" >&2
            fail "'wsp listen' did not start"
        fi
        # Not every sleep knows fractions.
        sleep 0.1 2>/dev/null || sleep 1
    done
    url=ws://127.0.0.1:$(cat "$files/port")
    reply=$(echo "hello from wsp" | "$wsp" connect "$url" -n 1 --timeout 10s) || fail "'wsp connect $url' failed"
    [ "$reply" = "hello from wsp" ] || fail "the reply was '$reply'"
    end_round_trip
    trap - EXIT INT TERM
    say ""
    say "A round trip with it on loopback:"
    say "  \$ wsp listen 127.0.0.1:0 --echo &"
    say "  listening on $url/"
    say "  \$ echo 'hello from wsp' | wsp connect $url"
    say "  $reply"
}

end_round_trip() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || :
        wait "$server" 2>/dev/null || :
        server=
    fi
    rm -rf "$files"
}

check_path() {
    case :${PATH:-}: in
    *":$prefix/bin:"*) ;;
    *)
        say "Note: $prefix/bin is not in PATH. Add it, for example in ~/.profile:"
        say "  export PATH=\"$prefix/bin:\$PATH\""
        ;;
    esac
}

main "$@"
