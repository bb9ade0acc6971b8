#!/bin/sh
# Writes the licences of all that is linked into a program: packaging/licences.sh PLATFORM [PROGRAM]. First what is in it, then each
# text once.
set -eu
export LC_ALL=C
cd "$(dirname "$0")/.."
program=${2:-vkc}
. packaging/target.sh
package=virtual-kubelet-connector
[ "$program" = vkc ] || package=$program
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One line for each crate that is not the project's own: name, version, licence.
cargo tree --locked --package "$package" --edges normal --target "$target" --prefix none --format '{p} {l}' |
    grep -v ' (/' | sed -e 's/ (proc-macro)//' -e 's/ ([*])$//' | sort -u >"$work/crates"
echo "The program $program contains the following crates:"
echo
sed 's/^/    /' "$work/crates"
echo
case $target in
*-linux-musl)
    libc='musl' text=packaging/musl.copyright
    echo 'and the standard library of Rust (MIT OR Apache-2.0; https://www.rust-lang.org) and musl (MIT; https://musl.libc.org), both linked'
    echo 'statically.'
    ;;
*)
    libc='GNU C Library' text=/usr/share/doc/libc6/copyright
    echo 'and the standard library of Rust (MIT OR Apache-2.0; https://www.rust-lang.org), and, where it is linked statically'
    echo 'for Linux, the GNU C Library (LGPL-2.1-or-later), whose source is that of Debian. Anybody can link it anew from its source.'
    ;;
esac

sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
mkdir "$work/texts"
while read -r name version _; do
    for dir in "$sources"/*/"$name-${version#v}"; do
        find "$dir" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'unlicense*' \) | sort |
            while read -r file; do
                sum=$(sha256sum <"$file" | cut -c1-64)
                cp "$file" "$work/texts/$sum.text"
                echo "$name $version" >>"$work/texts/$sum.crates"
            done
    done
done <"$work/crates"
[ ! -f "$text" ] || { cp "$text" "$work/texts/0.text"; echo "$libc" >"$work/texts/0.crates"; }
for text in "$work"/texts/*.text; do
    [ -f "$text" ] || { echo "no licence texts under $sources" >&2; exit 1; }
    printf '\n\n======== '
    sort -u "${text%.text}.crates" | paste -sd, - | sed 's/,/, /g'
    echo
    cat "$text"
done
