import { describe, expect, test } from 'vitest'
import { memoryQueue } from '../../src/memory/queue'
import { queueConformance } from '../../src/testing/queue-conformance'

describe('memoryQueue', () => {
  queueConformance({ test, expect }, () => memoryQueue({ autoStart: false }))
})
