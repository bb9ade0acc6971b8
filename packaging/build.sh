#!/bin/sh
# Builds a program that ships: packaging/build.sh PLATFORM PROFILE OUTPUT [PROGRAM], such as linux/arm64 release vkc, and
# linux/arm64 shim vkc-shim vkc-shim
#
# --target is always given, also for the machine's own: only then the flags below are not for procedural macros and build
# scripts, which cannot be static (rust-lang/cargo#4423). No path of the building machine gets into the binary.
set -eu
cd "$(dirname "$0")/.."
profile=$2 output=$3 program=${4:-vkc}
. packaging/target.sh
cargo_home=${CARGO_HOME:-$HOME/.cargo}
target_dir=${CARGO_TARGET_DIR:-$PWD/target}

if command -v rustup >/dev/null && ! rustup target list --installed | grep -qx "$target"; then
    rustup target add "$target"
fi
host=$(rustc -vV | sed -n 's/^host: //p')
if [ "$target" = aarch64-unknown-linux-gnu ] && [ "$target" != "$host" ]; then
    command -v aarch64-linux-gnu-gcc >/dev/null || {
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    }
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
fi

# With musl nothing of the machine is linked.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld

RUSTFLAGS="--remap-path-prefix=$PWD=vkc --remap-path-prefix=$cargo_home=cargo --remap-path-prefix=$target_dir=target"
case $target in
*-linux-*) RUSTFLAGS="$RUSTFLAGS -C target-feature=+crt-static" ;;
esac
export RUSTFLAGS
# For the C and assembler of ring.
export CFLAGS="-ffile-prefix-map=$cargo_home=cargo -ffile-prefix-map=$target_dir=target"
package=virtual-kubelet-connector
[ "$program" = vkc ] || package=$program
cargo build --locked --profile "$profile" --package "$package" --bin "$program" --target "$target" --target-dir "$target_dir"

folder=$profile
[ "$profile" != dev ] || folder=debug
mkdir -p "$(dirname "$output")"
for suffix in '' .exe; do
    built=$target_dir/$target/$folder/$program$suffix
    [ ! -f "$built" ] || cp "$built" "$output"
done
