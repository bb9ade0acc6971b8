# Sourced: sets `target`, Rust's name of what $program is built for on the platform $1, which is named as OCI names it, or as Rust does.
case $1 in
linux/ | linux/amd64) target=x86_64-unknown-linux-gnu ;;
linux/arm64) target=aarch64-unknown-linux-gnu ;;
*-*-*) target=$1 ;;
*)
    echo "no target for the platform $1" >&2
    exit 1
    ;;
esac

# The shim goes into every group that needs it: with musl it is half as large. Where the target is not to be had it is built as vkc is.
if [ "$program" = vkc-shim ]; then
    small=$(echo "$target" | sed 's/-gnu$/-musl/')
    if [ -d "$(rustc --print sysroot)/lib/rustlib/$small" ] || { command -v rustup >/dev/null && rustup target add "$small" >&2; }; then
        target=$small
    fi
fi
