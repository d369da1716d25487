-- Makes wrk end with one line of JSON instead of its own tables; times in microseconds.
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"bytes":%d,"duration":%d,"errors":%d,"status_errors":%d,' ..
    '"p50":%.1f,"p99":%.1f,"p999":%.1f}\n',
    summary.requests, summary.bytes, summary.duration,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
