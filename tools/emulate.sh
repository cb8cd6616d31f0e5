#!/usr/bin/env bash
# `make emulate CHECK=REGEX`: `pareto check REGEX` on an emulated Sapphire Rapids, for kernels whose
# instructions this machine lacks. Bochs boots Debian's kernel with nothing but the program on it,
# about a hundred times slower than the machine: a variant takes minutes, and times mean nothing.
# Needs Debian and root for a few packages; leaves the rest under build/emulate. BOCHS_REPOSITORY:
# another place to clone Bochs from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ -n ${1-} && $# == 1 ]] || { echo "usage: make emulate CHECK=REGEX, as of pareto check" >&2; exit 2; }
regex=$1
packages=(xorriso isolinux syslinux-common cpio busybox-static)
repository=${BOCHS_REPOSITORY:-https://github.com/bochs-emu/Bochs.git}
revision=783b58fd6d9bae598a07c59719122322fa0edce6
top=$PWD/build/emulate
mkdir -p "$top"

say() { printf 'emulate: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# What this revision gets wrong for us: products of signed bytes in tiles, the upper half of
# vcvtne2ps2bf16, and extended feature disable, without which Linux leaves AMX off.
mend_bochs() {
  sed -Ei 's/Bit32s\(([xy])byte/Bit32s((Bit8s)\1byte/g' avx/amx.cc
  sed -Ei 's/(bfloat16\(op1\.vmm32u\(n)\)/\1 - DWORD_ELEMENTS(len))/' avx/avx512_bf16.cc
  sed -Ei '0,/^class BX_CPU_C;/s//extern Bit64u xfd, xfd_error;\n&/' cpu.h
  sed -Ei '0,/^#define LOG_THIS/s//Bit64u xfd, xfd_error;\n&/
    s/(XTILECFG_MASK \| BX_XCR0_XTILEDATA_MASK\)\)) != 0\)/\1 != 0 || xfd != 0)/
    /::BxNoAMX/,/ASSERT/s/^ *BX_ASSERT/  if (xfd) { xfd_error = xfd; exception(BX_NM_EXCEPTION, 0); }\n&/' proc_ctrl.cc
  sed -Ei 's/^ *msr_desc\[BX_MSR_XSS\]/  msr_desc[BX_MSR_IA32_XFD] = new MSR_Descriptor("XFD", BX_ISA_AMX);\n  msr_desc[BX_MSR_IA32_XFD_ERROR] = new MSR_Descriptor("XFD_ERR", BX_ISA_AMX);\n&/
    /::rdmsr\(/,/^}/s/^ *case BX_MSR_XSS:/    case BX_MSR_IA32_XFD: val64 = xfd; break;\n    case BX_MSR_IA32_XFD_ERROR: val64 = xfd_error; break;\n&/
    /::wrmsr\(/,/^}/s/^ *case BX_MSR_XSS:/    case BX_MSR_IA32_XFD: xfd = val_64; handleAvxModeChange(); break;\n    case BX_MSR_IA32_XFD_ERROR: xfd_error = val_64; break;\n&/' msr.cc
  sed -Ei 's/^( *leaf->eax \|= \(1<<3\);)$/\1\n    leaf->eax |= is_cpu_extension_supported(BX_ISA_AMX) ? 1 << 4 : 0;/
    s/= (xsave_restore\[subfunction\]\.attr);/= \1 | (subfunction == 18 ? 4 : 0);/' cpuid.cc
}

build_bochs() {
  [[ -x $top/bochs ]] && return 0
  say "building Bochs ($revision)"
  rm -rf "$top/source"
  git clone -q --no-checkout "$repository" "$top/source"
  git -C "$top/source" checkout -q "$revision" -- bochs ':!bochs/bios/OVMF'
  (cd "$top/source/bochs/cpu" && mend_bochs)
  (
    cd "$top/source/bochs"
    ./configure --enable-x86-64 --enable-cpu-level=6 --enable-avx --enable-evex --enable-amx \
      --enable-repeat-speedups --enable-handlers-chaining --enable-fast-function-calls \
      --enable-pci --enable-long-phy-address --with-nogui --disable-docbook CXXFLAGS=-O3
    make -j"$(nproc)"
  ) >"$top/build.log" 2>&1 || { tail -n 20 "$top/build.log" >&2; fail "Bochs does not build"; }
  cp "$top/source/bochs/bochs" "$top/bochs"
}

fetch_kernel() {
  [[ -f $top/vmlinuz ]] && return 0
  local package
  package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}')
  say "fetching $package"
  rm -rf "$top"/kernel "$top"/*.deb
  (cd "$top" && apt-get download -qq "$package") || fail "apt-get download $package failed"
  dpkg -x "$top"/*.deb "$top/kernel"
  cp "$top"/kernel/boot/vmlinuz-* "$top/vmlinuz"
}

# A root file system in memory: busybox, the program and the libraries that it names.
write_disk() {
  local root=$run/root disk=$run/disk
  mkdir -p "$root"/{bin,proc,sys,dev,tmp,lib64} "$disk/isolinux"
  cp /bin/busybox "$root/bin/busybox"
  ln -s busybox "$root/bin/sh"
  strip -s -o "$root/bin/pareto" build/pareto
  local library
  ldd build/pareto | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
  printf '%s' "$regex" >"$root/regex"
  cat >"$root/init" <<'INIT'
#!/bin/busybox sh
for name in proc sysfs:sys devtmpfs:dev tmpfs:tmp; do busybox mount -t "${name%:*}" none "/${name#*:}"; done
echo "emulated: start"
{ HOME=/tmp pareto check "$(busybox cat /regex)" 2>&1; echo "emulated: exit $?"; } | busybox cat
busybox poweroff -f
INIT
  chmod +x "$root/init"
  (cd "$root" && find . | cpio -o -H newc --quiet >"$disk/initrd")
  cp "$top/vmlinuz" "$disk/"
  cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$disk/isolinux/"
  # Fast string copies of this kernel do not survive that revision of Bochs.
  cat >"$disk/isolinux/isolinux.cfg" <<'BOOT'
DEFAULT linux
TIMEOUT 1
LABEL linux
 KERNEL /vmlinuz
 APPEND initrd=/initrd console=ttyS0,115200 loglevel=3 panic=-1 mitigations=off clearcpuid=fsrm,erms
BOOT
  xorriso -as mkisofs -quiet -o "$run/disk.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$disk" 2>"$run/xorriso.log" ||
    { cat "$run/xorriso.log" >&2; fail "no disk image"; }
}

boot() {
  local bios=$top/source/bochs/bios
  cat >"$run/bochsrc" <<BOCHS
display_library: nogui
memory: guest=3072, host=3072
romimage: file=$bios/BIOS-bochs-latest
vgaromimage: file=$bios/VGABIOS-lgpl/VGABIOS-lgpl-latest.bin
cpu: model=sapphire_rapids, count=1, ips=50000000, ignore_bad_msrs=1
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=$run/disk.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$run/console.txt
log: $run/bochs.log
panic: action=fatal
error: action=report
info: action=ignore
BOCHS
  "$top/bochs" -q -f "$run/bochsrc" >"$run/bochs.out" 2>&1 </dev/null || true
}

[[ -x build/pareto ]] || fail "build/pareto is not there: make build"
dpkg -s "${packages[@]}" >/dev/null 2>&1 ||
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null ||
  fail "as root: apt-get install ${packages[*]}"
build_bochs
fetch_kernel
run=$(mktemp -d "$top/run.XXXXXX")
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$run"' EXIT
write_disk
touch "$run/console.txt"
say "running; minutes a variant"
boot &
tail --pid=$! -n +1 -f "$run/console.txt" | stdbuf -oL tr -d '\r' |
  sed -un '/^emulated: start/,/^emulated: exit/p'
wait
code=$(tr -d '\r' <"$run/console.txt" | sed -n 's/^emulated: exit \([0-9]*\)$/\1/p')
[[ -n $code ]] || { tail -n 5 "$run/bochs.log" >&2; fail "the emulated machine stopped before the end"; }
exit "$code"
