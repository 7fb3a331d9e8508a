-- Health of nimfleet's kinds and of NVIDIA's NIM and NeMo kinds, for Argo CD: on the hub, on a cluster with the spoke, and on one with
-- NVIDIA's operator, which sets no condition Ready on some kinds.
local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is(kind, truth)
  return conditions[kind] ~= nil and conditions[kind].status == truth
end

local function says(...)
  for _, kind in ipairs({...}) do
    if is(kind, "True") or (kind == "Ready" and conditions[kind] ~= nil) then
      return conditions[kind].message
    end
  end
  for _, kind in ipairs({"NIM_CACHE_RECONCILE_FAILED", "NIM_BUILD_RECONCILE_FAILED"}) do
    if is(kind, "True") then
      return conditions[kind].message
    end
  end
  return status.state or "its controller has said nothing yet"
end

if obj.metadata.deletionTimestamp ~= nil then
  return {status = "Progressing", message = "is being deleted: " .. says("DeletionHeld", "Held", "Ready")}
end

-- What is said of another generation than the one that was applied does not count.
local ready = conditions.Ready
local observed = status.observedGeneration or (ready ~= nil and ready.observedGeneration) or nil
if observed ~= nil and observed ~= 0 and observed ~= obj.metadata.generation then
  return {status = "Progressing", message = "its controller has not seen the last change yet"}
end

if is("Stalled", "True") or is("Failed", "True") or status.state == "Failed" or status.phase == "Degraded" then
  return {status = "Degraded", message = says("Stalled", "Failed", "Degraded", "Ready")}
end
if is("Connected", "Unknown") then
  return {status = "Degraded", message = says("Ready")}
end
if is("Reconciled", "False") then
  return {status = "Degraded", message = conditions.Reconciled.message}
end
if is("Ready", "True") or (ready == nil and status.state == "Ready") then
  return {status = "Healthy", message = says("Ready")}
end
return {status = "Progressing", message = says("Reconciling", "Ready")}
