#!/usr/bin/env bash
# The kernels' tests on a CPU that this machine does not have, in the emulator Bochs (docs/emulation.md):
#
#     KERNEL=/path/to/vmlinuz crates/squeeze-kernels/tools/emulate.sh [FILTER | --skip NAME]...
#
# BOCHS is the emulator (`bochs`), CPU its model (`sapphire_rapids`), WITHOUT what to leave out of the model's features (`la57`: 5-level
# paging, with which it stops), LIMIT the most seconds (3600). The exit status is that of the tests; 124 when time ran out, 125 when
# the emulated machine stopped without one.
set -euo pipefail
if [ ! -f "${KERNEL:-}" ]; then
    echo "KERNEL must name a Linux image, such as vmlinuz of Debian's package linux-image-amd64: see docs/emulation.md" >&2
    exit 2
fi
kernel=$(realpath "$KERNEL")
cd "$(dirname "$0")/../../.."
for tool in "${BOCHS:=bochs}" genisoimage busybox cpio; do
    command -v "$tool" > /dev/null || { echo "$tool is missing: see docs/emulation.md" >&2; exit 2; }
done

RUSTFLAGS="-C target-feature=+crt-static" cargo test -p squeeze-kernels --lib --release --no-run \
    --target x86_64-unknown-linux-gnu --target-dir target/emulated
tests=$(ls -t target/emulated/x86_64-unknown-linux-gnu/release/deps/squeeze_kernels-* | grep -v '\.d$' | head -n 1)

work=$(mktemp -d)
emulator=
trap 'if [ "$emulator" ]; then kill "$emulator" 2> /dev/null || true; fi; rm -rf "$work"' EXIT
mkdir -p "$work"/root/{bin,dev,proc,tmp} "$work"/disc/isolinux
cp "$(command -v busybox)" "$work"/root/bin/busybox
strip -o "$work"/root/tests "$tests"
cat > "$work"/root/init <<END
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
exec > /dev/ttyS0 2>&1
/bin/busybox grep -m 1 flags /proc/cpuinfo | /bin/busybox tr ' ' '\n' | /bin/busybox grep -E 'fma|avx|amx' | /bin/busybox tr '\n' ' '
/tests --test-threads 1 $*
echo "status of the tests: \$?"
/bin/busybox sleep 1
/bin/busybox poweroff -f
END
chmod +x "$work"/root/init
(cd "$work"/root && find . | cpio --quiet -o -H newc | gzip -1) > "$work"/disc/initrd
cp "$kernel" "$work"/disc/linux
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work"/disc/isolinux/
# 580 is FSRM: Bochs has it without ERMS, and then a copy of Linux 6.1 never ends.
cat > "$work"/disc/isolinux/isolinux.cfg <<END
DEFAULT tests
LABEL tests
 KERNEL /linux
 APPEND initrd=/initrd console=ttyS0,115200 panic=-1 mitigations=off nokaslr tsc=reliable clearcpuid=580
END
genisoimage -quiet -R -o "$work"/disc.iso -b isolinux/isolinux.bin -c isolinux/boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$work"/disc
# What Bochs writes of itself each second can wait for its own lock for ever, so `info` is ignored.
cat > "$work"/bochsrc <<END
cpu: model=${CPU:-sapphire_rapids}, count=1, ips=100000000, reset_on_triple_fault=0, exclude_features="${WITHOUT:-la57}"
memory: guest=2048, host=2048
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0-master: type=cdrom, path=$work/disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/serial
log: $work/log
panic: action=fatal
info: action=ignore
clock: sync=none
display_library: nogui
END
touch "$work"/serial
nice timeout "${LIMIT:-3600}" "$BOCHS" -q -f "$work"/bochsrc > "$work"/bochs 2>&1 &
emulator=$!
tail -n +1 -f --pid=$emulator "$work"/serial | sed -u 's/\r$//; /^\[/d; /^ *$/d' &
code=0
while kill -0 $emulator 2> /dev/null; do
    sleep 1
    if grep -aq "Kernel panic" "$work"/serial; then kill $emulator; fi
done
wait $emulator || code=$?
status=$(tr -d '\r' < "$work"/serial | sed -n 's/.*status of the tests: \([0-9]*\).*/\1/p')
if [ -z "$status" ]; then
    tail -n 20 "$work"/serial "$work"/bochs >&2
    [ $code = 124 ] && exit 124
    exit 125
fi
exit "$status"
