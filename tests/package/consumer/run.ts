// A first job through every entry of the package: started by a service, served over HTTP, followed by the client.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAfterJobs, type ProgressReporter, withAfterJobs } from 'after-jobs'
import { watchJob } from 'after-jobs/client'
import { createJobHandler, createNodeHandler } from 'after-jobs/http'
import { createTestJobs } from 'after-jobs/testing'

async function main(): Promise<void> {
  const jobs = createAfterJobs()
  class CityService extends withAfterJobs({ jobs, auto: ['create'] }) {
    async create(name: string) {
      return { id: 1, name }
    }
    async afterCreateJob(id: number, _token: string, progress: ProgressReporter) {
      for await (const street of progress.each(['Main Street', 'Side Street'])) progress.label(street)
      return { result: { id } }
    }
  }
  const service = new CityService()
  const token = service.getJobToken(await service.create('Lyon')) ?? ''

  const handler = createJobHandler(jobs)
  const fetch = (url: string, init: RequestInit) => handler(new Request(url, init))
  const overFetch = await watchJob(token, { basePath: 'http://localhost/jobs', fetch }).done

  const server = createServer(createNodeHandler(jobs)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const overNode = await watchJob(`http://127.0.0.1:${port}/jobs/status/${token}`).done
  server.close()
  server.closeAllConnections()

  const testJobs = createTestJobs()
  class TestService extends withAfterJobs({ jobs: testJobs }) {
    afterCreateJob() {}
  }
  const testToken = (await new TestService().executeJob('after', 'create', 1)) ?? ''
  await testJobs.runNext()
  const inTest = await testJobs.settled(testToken)

  process.stdout.write(JSON.stringify([overFetch, overNode, inTest]))
}

main()
