// For the tests of services.

// For the tests of adapters.
export { cacheConformance } from './cache-conformance'
export type { ConformanceTools } from './conformance'
export { queueConformance } from './queue-conformance'
export type { TestJobs } from './test-jobs'
export { createTestJobs } from './test-jobs'
export type { TestProgress } from './test-progress'
export { createTestProgress } from './test-progress'
