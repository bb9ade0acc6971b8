-- Health of a VirtualKubeletConnector for Argo CD. An object under deletion is Progressing before this is asked.
local health = {}

if obj.spec ~= nil and obj.spec.suspend == true then
  health.status = "Suspended"
  health.message = "The connector is suspended"
  return health
end

health.status = "Progressing"
health.message = "Waiting for the operator"

if obj.status == nil or obj.status.conditions == nil then
  return health
end
-- What the status says is about an older spec.
if obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions) do
  conditions[condition.type] = condition
end
local ready = conditions["Ready"]
local stalled = conditions["Stalled"]
local reconciling = conditions["Reconciling"]

if stalled ~= nil and stalled.status == "True" then
  health.status = "Degraded"
  health.message = stalled.message
elseif ready == nil or ready.status == "Unknown" then
  return health
elseif ready.status == "True" then
  health.status = "Healthy"
  health.message = ready.message
elseif reconciling ~= nil and reconciling.status == "True" then
  health.message = reconciling.message
else
  health.status = "Degraded"
  health.message = ready.message
end
return health
