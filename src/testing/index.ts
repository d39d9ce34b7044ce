// For the tests of services.

export { createTestJobs, type TestJobs } from './test-jobs'
export { createTestProgress, type TestProgress } from './test-progress'

// For the tests of adapters.

export { type CacheConformanceOptions, cacheConformance } from './cache-conformance'
export type { ConformanceTools } from './conformance'
export { queueConformance } from './queue-conformance'
