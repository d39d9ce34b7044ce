// In a bundle, too, a process that serves requests refuses to guess whose token is meant.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { AfterJobsError, withAfterJobs } from 'after-jobs'

class CityService extends withAfterJobs() {
  afterCreateJob() {}
}

async function main(): Promise<void> {
  const service = new CityService()
  const token = await service.executeJob('after', 'create', 1)
  const isSame = token !== undefined && service.getJobToken() === token

  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(server, 'connection')
  client.destroy()
  server.close()

  let code: string | undefined
  try {
    service.getJobToken()
  } catch (error) {
    if (AfterJobsError.is(error)) code = error.code
  }
  process.stdout.write(JSON.stringify({ isSame, code }))
}

main()
