// Adds to each line what the npm package says that the answer costs. It knows no tiers: those lines have `null`.
const { calcPrice, extractUsage, findProvider } = require('@pydantic/genai-prices')
const lines = require('fs').readFileSync(0, 'utf8').trimEnd().split('\n')
for (const text of lines) {
  const line = JSON.parse(text)
  const { provider: providerId, flavor, at, response } = line
  const provider = findProvider({ providerId })
  const tier = response.service_tier ?? response.usage?.service_tier
  const { usage, model } = extractUsage(provider, response, flavor)
  const isOrdinary = [undefined, 'standard', 'default'].includes(tier)
  const price = isOrdinary ? calcPrice(usage, model, { providerId, timestamp: new Date(at) }) : null
  console.log(JSON.stringify({ ...line, npm: price && price.total_price }))
}
