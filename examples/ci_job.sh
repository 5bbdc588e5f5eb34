#!/bin/sh
# A CI job: play recordings to a client that knows nothing of sseguard, one in five of them broken on purpose, and fail
# if the client asked for something that was never recorded. The seed makes every run the same.
# Usage: ci_job.sh FOLDER COMMAND…    The command finds the provider in OPENAI_BASE_URL.
set -eu
folder=$1
shift

sseguard check "$folder" # damaged recordings, or secrets in them, end the job here

output=$(mktemp)
sseguard replay "$folder" --speed 0 --match model --strict --chaos cut=0.1,empty=0.1 --seed 7 >"$output" &
provider=$!
trap 'kill "$provider" 2>/dev/null || true; rm -f "$output"' EXIT

until base_url=$(sed -n 's/.*OPENAI_BASE_URL=\([^ ]*\).*/\1/p' "$output") && [ -n "$base_url" ]; do
    kill -0 "$provider" # it has ended without a word: so does the job
    sleep 0.1
done

OPENAI_BASE_URL=$base_url OPENAI_API_KEY=any "$@"

kill -INT "$provider"
wait "$provider" # 1 if there was a request that no recording answered
