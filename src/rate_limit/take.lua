-- Takes from all the buckets or from none: GCRA as src/rate_limit/gcra.rs has it, in the same doubles.
--
-- KEYS: the buckets, one or two. ARGV: the cost, then the quota a minute of each. Answers with the levels before, from
-- which the caller follows by the same formula whether it was taken.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cost = tonumber(ARGV[1])
local levels = {}
local fits = true
for i, key in ipairs(KEYS) do
  local quota = tonumber(ARGV[i + 1])
  local used, at = string.match(redis.call('GET', key) or '', '^(%S+) (%S+)$')
  local level = 0
  -- What was written more than a window in the future is from before the clock was set back.
  if used and at - now <= 60000000 then
    local drained = math.max(now - at, 0) * quota / 60000000
    level = math.max(math.min(tonumber(used), quota) - drained, 0)
  end
  levels[i] = level
  fits = fits and level + cost <= quota + 1e-6
end
if fits and cost > 0 then
  for i, key in ipairs(KEYS) do
    -- After a window all of it has drained.
    redis.call('SET', key, string.format('%.17g %.0f', levels[i] + cost, now), 'PX', 60000)
  end
end
for i, level in ipairs(levels) do
  levels[i] = string.format('%.17g', level)
end
return levels
