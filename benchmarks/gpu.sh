#!/usr/bin/env bash
# What one session on a GPU should bring home, within ten minutes: does memdet work there, how fast, how exact.
#
# benchmarks/gpu.sh [--dry-run] [--out DIR]
#
# Writes DIR/WHAT-DEVICE.json (DIR is results/benchmarks): doctor, quick (the quick suite), sd-scale (every detector at the size of Stable
# Diffusion 1.4 with random weights), throughput, numerics. --dry-run runs the same lines on the CPU with tiny sizes, into a folder that is
# shown. Steps that do not fit into the ten minutes are cut. PYTHON names the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
dry='' out=''
while (($#)); do
    case $1 in
        --dry-run) dry=1 ;;
        --out)
            [[ -n ${2:-} ]] || { echo "benchmarks/gpu.sh: --out takes a directory" >&2 && exit 2; }
            out=$(realpath -m -- "$2")
            shift
            ;;
        *) echo "usage: benchmarks/gpu.sh [--dry-run] [--out DIR]" >&2 && exit 2 ;;
    esac
    shift
done
python=${PYTHON:-$([[ -x .venv/bin/python ]] && echo .venv/bin/python || echo python3)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1

if [[ -n $dry ]]; then
    device=cpu name=cpu-dry-run shape=tiny out=${out:-$(mktemp -d)}
    quick=(mixture-2d --detector wen2024 --seeds 1) timed=(wen2024)
    sizes=(2) dtypes=(float32) rounds=(--rounds 3 --seconds 0.1) audited=(--items 2 --dtype bfloat16 --attention math)
else
    name=$("$python" -c 'import re, torch; print(re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()))' 2> /dev/null) \
        || { echo "benchmarks/gpu.sh: no CUDA device works here; --dry-run runs the same lines on the CPU" >&2 && exit 1; }
    device=cuda shape=stable_diffusion out=${out:-results/benchmarks}
    quick=(--suite quick) timed=(wen2024 jeon2025 curvature-gap)
    sizes=(1 8) dtypes=(float32 bfloat16) rounds=(--rounds 5 --seconds 6) audited=(--items 16)
fi
# Those that are dear by default in smaller variants, then all others.
detectors=(p-laplace@directions=8 invmm@steps=5 curvature-map@probes=2 lhsd@probes=2,krylov=3 carlini2023-tiled-l2@generations=2
    ren2024-entropy@sink=any ren2024-layer-entropy@layer=1,sink=any copy-similarity@embedding=pixel '*')
mkdir -p "$out"
limit=570 failed=()
step() { # NAME COMMAND...: within what is left of the time; a failure does not keep the others from being tried
    local what=$1 began=$SECONDS
    shift
    printf '\n== %s (%ds)\n' "$what" "$SECONDS"
    timeout --kill-after=5 $((limit > SECONDS ? limit - SECONDS : 1)) "$@" || failed+=("$what")
    printf '   %ds\n' $((SECONDS - began))
}
options() { # NAME VALUE...: the option, once a value
    local option=$1 value
    for value in "${@:2}"; do printf '%s\n%s\n' "--$option" "$value"; done
}
memdet=("$python" -m memdet)
mapfile -t detectors < <(options detector "${detectors[@]}")
mapfile -t sizes < <(options batch-size "${sizes[@]}")
mapfile -t dtypes < <(options dtype "${dtypes[@]}")
mapfile -t timed < <(options detector "${timed[@]}")

step doctor bash -c '"$@" > '"$(printf %q "$out/doctor-$name.json")" doctor "${memdet[@]}" doctor --offline --device "$device" --format json
step "quick suite" "${memdet[@]}" run "${quick[@]}" --device "$device" --out "$work/quick" --quiet
step "record of it" "$python" -m benchmarks.gpu "$work/quick" "$out/quick-$name.json" --baseline results/quick/reference
step "a pipeline of random weights" "$python" -m benchmarks.gpu --make "$shape" "$work"
step "every detector" "${memdet[@]}" run --model "$work/model" --samples "$work/samples.jsonl" --steps 10 --seeds 1 --batch-size 2 \
    --device "$device" "${detectors[@]}" --out "$work/scale" --quiet
step "record of it" "$python" -m benchmarks.gpu "$work/scale" "$out/sd-scale-$name.json"
step throughput "${memdet[@]}" bench --model "$work/model" "${timed[@]}" "${sizes[@]}" "${dtypes[@]}" "${rounds[@]}" --no-memory \
    --device "$device" --quiet --format json --out "$out/throughput-$name.json"
step numerics "${memdet[@]}" bench numerics "${audited[@]}" --detector jeon2025 --detector curvature-gap --device "$device" \
    --format json --out "$out/numerics-$name.json"

printf '\n%ds; records in %s\n' "$SECONDS" "$out"
if ((${#failed[@]})); then
    printf 'failed: %s\n' "$(IFS=,; echo "${failed[*]}")" >&2
    exit 1
fi
