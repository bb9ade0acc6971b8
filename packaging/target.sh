# Sourced: sets `target`, Rust's name of the platform $1, which is named as OCI names it, or as Rust does.
case $1 in
linux/ | linux/amd64) target=x86_64-unknown-linux-gnu ;;
linux/arm64) target=aarch64-unknown-linux-gnu ;;
*-*-*) target=$1 ;;
*)
    echo "no target for the platform $1" >&2
    exit 1
    ;;
esac
