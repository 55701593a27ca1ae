# Shared by the scripts beside it: sourced, with the working directory at the project's root.

weights="${XDG_CACHE_HOME:-$HOME/.cache}/timbre/DeepFilterNet3_onnx.tar.gz"
weights_sha256=c94d91f70911001c946e0fabb4aa9adc37045f45a03b56008cb0c8244cb63616

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
    say "$*"
    exit 1
}

has_sha256() { # FILE SUM
    [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$2" ]
}

# Debian's tools before others of the same name: another Python's meson may lack its modules.
tool() {
    if [ -x "/usr/bin/$1" ]; then echo "/usr/bin/$1"; else command -v "$1" || die "$1 is missing; run scripts/setup"; fi
}

# Configures a build folder once; ninja itself notices changed build files later.
configure() { # FOLDER [MESON OPTION...]
    local folder="$1"
    shift
    [ -f "$folder/build.ninja" ] && return
    rm -rf "$folder"
    if ! "$(tool meson)" setup "$folder" . "$@" >"$folder.log" 2>&1; then
        tail -n 30 "$folder.log" >&2
        die "meson could not configure $folder (all of it: $folder.log)"
    fi
    mv "$folder.log" "$folder/configure.log"
}

# The one place that says the version is meson.build.
project_version() {
    sed -n "s/^ *version: '\([0-9.]*\)',$/\1/p" meson.build | head -n 1
}
