#!/usr/bin/env bash
# Builds the addon against the CUDA libtorch of a Python, runs the tests that a device can change, and bench/gpu/bench.mjs; ends within --minutes.
# Needs: an NVIDIA GPU with its driver, PyTorch with CUDA, g++. No network, no nvcc. Node and the npm packages may come in a folder that
# bench/gpu/pack.mjs made elsewhere (--pack), for machines that have neither.
#   bench/gpu/run.sh [--minutes 9] [--python python3] [--pack .gpu-pack] [--only build,tests,bench,suite] [--rehearse] [-- options of bench.mjs]
# `tests` are those of operators and goldens, `suite` all others that a device can change, as far as the time goes. --only knows two more parts: endure (1,000 steps; killed and resumed) and allocate (32 billion weights on one card).
# --rehearse goes through all of it on the processor, with a tiny model: to try the script where there is no GPU.
set -uo pipefail
began=$SECONDS
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root" || exit 1
minutes=9 python=python3 pack=.gpu-pack only=build,tests,bench,suite rehearse=
while [ $# -gt 0 ]; do
  case $1 in
    --minutes) minutes=$2; shift 2 ;;
    --python) python=$2; shift 2 ;;
    --pack) pack=$2; shift 2 ;;
    --only) only=$2; shift 2 ;;
    --rehearse) rehearse=yes; shift ;;
    --) shift; break ;;
    *) echo "$0: unknown option $1; see its head" >&2; exit 2 ;;
  esac
done
left() { echo $((minutes * 60 - (SECONDS - began))); }
say() { printf '\n== %s (%d s of %d)\n' "$1" $((SECONDS - began)) $((minutes * 60)); }
# Whether a part is wanted, and there is time for it.
wants() {
  [[ ",$only," == *",$1,"* ]] || return 1
  [ "$(left)" -ge 10 ] || { echo "left out for want of time: $1"; return 1; }
}

say 'machine'
REHEARSE=$rehearse "$python" - <<'PYTHON' || exit 3
import importlib.util, os, sys
try:
    import torch
except ImportError:
    sys.exit("this Python has no PyTorch: name one that has with --python")
print("torch", torch.__version__, "CUDA", torch.version.cuda)
if os.environ["REHEARSE"]:
    print("a rehearsal: everything runs on the processor")
elif not torch.cuda.is_available():
    sys.exit("PyTorch sees no GPU here: the tests and the bench of the device need one. What needs none: npm test, and node test/device/stand-in.mjs")
else:
    properties = torch.cuda.get_device_properties(0)
    print(f"{properties.name}, {properties.total_memory / 2**30:.1f} GiB, compute capability {properties.major}.{properties.minor}")
for name in ["trl", "transformers", "peft", "datasets", "liger_kernel", "flash_attn"]:
    print(f"  {name}: {'yes' if importlib.util.find_spec(name) else 'no'}")
PYTHON
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=driver_version,memory.used,clocks.max.sm --format=csv,noheader
command -v g++ >/dev/null || { echo 'g++ is missing: the addon cannot be built' >&2; exit 3; }
export LIBTORCH=${LIBTORCH:-$("$python" -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])')}

if [ -d "$pack" ]; then
  say "unpacking $pack"
  for archive in "$pack"/*.tar.xz; do "$python" -m tarfile -e "$archive" "$root" || exit 3; done
  chmod +x "$root/build/node/node" && PATH=$root/build/node:$PATH
fi
command -v node >/dev/null || { echo 'node is missing: make a pack with bench/gpu/pack.mjs on a machine that has it' >&2; exit 3; }
node --version

if wants build; then
  say 'building the addon'
  node scripts/setup.mjs --only addon || exit 4
  [ -d dist ] || node scripts/setup.mjs --only typescript || exit 4
  node bin/prospect.js doctor || exit 4
fi

failed=0
if [ -n "$rehearse" ]; then
  export PROSPECT_TEST_DEVICE=cpu
  set -- --groups tiny --device cpu "$@"
fi
# The files whose paths hold one of these.
run_tests() {
  timeout "$(left)" node node_modules/vitest/vitest.mjs run --config vitest.device.config.ts --reporter=default "$@" 2>&1 | grep -vE '^ +.*✓'
  case ${PIPESTATUS[0]} in
    0) ;;
    124) echo 'the time is over: the files that come after were not run' ;;
    *) failed=1; echo 'TESTS FAILED' ;;
  esac
}
if wants tests; then
  say 'tests on the device: operators, steps, goldens'
  run_tests test/device/ test/train/golden test/train/optimizer test/model/golden
fi

if wants bench; then
  say 'bench'
  node bench/gpu/bench.mjs --python "$python" --seconds $(($(left) - 15)) "$@" || failed=1
fi

if wants suite; then
  say 'the other tests on the device'
  run_tests invariance adapter-gradients frequencies peft infer/golden architectures objectives sample leak exactness
fi

if wants endure; then
  say 'a thousand steps, and a run that is killed'
  timeout "$(left)" node bench/gpu/endure.mjs --python "$python" ${rehearse:+--device cpu --shape tiny --steps 50} || failed=1
fi

if wants allocate; then
  say '32 billion weights'
  timeout "$(left)" node bench/gpu/allocate.mjs ${rehearse:+--device cpu --shape tiny --tokens 256} || failed=1
fi
say 'done'
exit $failed
