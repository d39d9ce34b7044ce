import { PGlite } from '@electric-sql/pglite'
import { postgresQueue } from 'after-jobs/postgres'
import { queueConformance } from 'after-jobs/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { describeWithPostgres, makeName, usePostgres } from './support/suite'

describeWithPostgres('the queue in PostgreSQL', {}, () => {
  const postgres = usePostgres()
  const schema = makeName()
  queueConformance({ test, expect }, () => postgresQueue({ url: postgres.url, schema, name: makeName() }))
})

describe('the queue in PGlite', { timeout: 60_000 }, () => {
  let pglite: PGlite
  beforeAll(async () => {
    pglite = await PGlite.create()
  }, 60_000)
  afterAll(() => pglite.close())
  queueConformance({ test, expect }, () => postgresQueue({ pglite, name: makeName() }))
})
