-- What wrk sends, by the name of the scenario that it is given behind `--`.
local start = '{"resourceId":"97c8b0c5@latest","context":{"config":{"delivery":"api"},"subject":{"padding":"%s"}}}'
local submit = '{"instanceId":"k3J_w1xQe7ZpT0aBvYcD9s","context":{"subject":{"documents":[{"side1Image":"%s"}]}}}'

local scenarios = {
  -- A start of 1 KiB.
  small = { path = "/v2/captain/journey/start", body = start:format(string.rep("x", 924)) },
  -- A photo of a document in base64: 5 MiB.
  upload = { path = "/v2/captain/journey/interaction/submit", body = submit:format(string.rep("QUJD", 1310720)) },
}

function init(args)
  wrk.method = "POST"
  wrk.path = scenarios[args[1]].path
  wrk.body = scenarios[args[1]].body
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Accept"] = "application/json"
  wrk.headers["User-Agent"] = "legacy-client/1.0"
end

-- A line that a program reads.
function done(summary, latency)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  print(string.format("RESULT %d %d %d %d %d", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), errors.status + broken))
end
