# Shared by ./quickstart, ./test and .ci/run: finds what the build needs, and builds.
# Nothing is installed without being root; anyone else gets the one line to type.

pumice_packages="g++ cmake ninja-build pkg-config nlohmann-json3-dev libjpeg62-turbo-dev libpng-dev libwebp-dev zlib1g-dev libpcre2-dev libutf8proc-dev libfreetype-dev fonts-noto-color-emoji"

# need_packages NAME...: returns when all are installed, installs them as root, and otherwise says what to type.
need_packages() {
  if ! command -v dpkg-query > /dev/null; then
    echo "This is not a Debian-like system; make sure that the counterparts of these packages are installed: $*"
    return 0
  fi
  missing=""
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2> /dev/null | grep -q 'install ok installed' || missing="$missing $package"
  done
  [ -z "$missing" ] && return 0
  if [ "$(id -u)" -ne 0 ]; then
    echo "Please install what is missing, then run this again:"
    echo "  sudo apt-get install$missing"
    exit 1
  fi
  echo "Installing:$missing"
  apt-get update -qq > /dev/null || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing > /dev/null
}

# configure DIR [CMAKE FLAGS...]
configure() {
  build=$1
  shift
  launcher="-DPUMICE_PCH=ON"
  command -v ccache > /dev/null && launcher="-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"  # which sees no further than a precompiled header
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release $launcher "$@" > "$build.log" 2>&1 || { cat "$build.log"; exit 1; }
}

# The instruction sets that this machine's kernels need: a build that is not for others compiles no more.
own_isa_levels() {
  levels=portable
  has() { for flag in "$@"; do grep -qw "$flag" /proc/cpuinfo 2> /dev/null || return 1; done; }
  has avx2 fma bmi2 && levels="$levels;avx2"
  has avx2 fma bmi2 avx512f avx512bw avx512cd avx512dq avx512vl && levels="portable;avx512"
  echo "$levels"
}

# The precision in which this machine trains fastest: bf16 where products of it have twice the rate of f32 (tensor/isa.h).
own_precision() {
  if grep -qw avx512_bf16 /proc/cpuinfo 2> /dev/null && grep -qw AuthenticAMD /proc/cpuinfo; then echo bf16; else echo fp32; fi
}

say() { printf '\n== %s\n' "$*"; }
