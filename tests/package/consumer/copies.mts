// One process can hold both builds, when a dependency requires what the application imports.
import { createRequire } from 'node:module'
import * as esm from 'after-jobs'

const cjs = createRequire(import.meta.url)('after-jobs') as typeof esm

const jobs = esm.createAfterJobs()
class CityService extends esm.withAfterJobs({ jobs, tokenScope: 'instance' }) {
  afterCreateJob() {
    throw new cjs.JobError('The city does not exist')
  }
}
const token = (await new CityService().executeJob('after', 'create', 1)) ?? ''
const { status, message } = await jobs.settled(token)
const error = new cjs.AfterJobsError('CLOSED', 'closed')
const areTwo = !(error instanceof esm.AfterJobsError)
process.stdout.write(JSON.stringify({ areTwo, isKnown: esm.AfterJobsError.is(error), status, message }))
